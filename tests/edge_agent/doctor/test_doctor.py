"""The command as a whole."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from driftprint.clock import SystemClock
from driftprint_edge.commands import Ran, run_command
from driftprint_edge.config import AgentSettings
from driftprint_edge.doctor.examine import examine
from driftprint_edge.doctor.streams import check_stream
from tests.brokers import Mosquitto, free_port
from tests.bundles import inlier_frames, make_bundle
from tests.edge_agent.doctor.findings import OK, PROBLEM, WARNING, verdicts
from tests.edge_agent.machines import make_pi

COMMAND = [sys.executable, "-m", "driftprint", "doctor"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Holds bundles and frames."""
    folder = tmp_path_factory.mktemp("device")
    make_bundle(folder / "toy-1.driftprint")
    make_bundle(folder / "shifted-1.driftprint", name="shifted", golden_shift=0.1)
    np.savez(folder / "frames.npz", x=inlier_frames(3))
    return folder


@pytest.fixture
def configure(folder: Path, tmp_path: Path) -> Callable[..., Path]:
    """Writes an agent.toml, with another broker's port, bundle or line of the stream."""

    def write(port: int, bundle: str = "toy-1", line: str = "") -> Path:
        config = tmp_path / "agent.toml"
        config.write_text(
            f'device = "pi-1"\n[mqtt]\nhost = "127.0.0.1"\nport = {port}\n[store]\npath = "{tmp_path}/state/agent.db"\n'
            f'[[stream]]\nname = "belt"\nbundle = "{folder}/{bundle}.driftprint"\n{line}\n'
            f'[stream.source]\npath = "{folder}/frames.npz"\nframes_per_second = 10\n'
        )
        return config

    return write


def run(*options: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*COMMAND, *map(str, options)], capture_output=True, text=True, timeout=120, check=False)


def found(done: subprocess.CompletedProcess[str]) -> dict[str, str]:
    """The verdicts by name, of a report in JSON."""
    return {finding["name"]: finding["verdict"] for finding in json.loads(done.stdout)["findings"]}


def stream_of(folder: Path, top: dict[str, Any] | None = None, **changes: Any) -> AgentSettings:
    source = {"path": folder / "frames.npz", "frames_per_second": 1}
    stream = {"name": "belt", "bundle": str(folder / "toy-1.driftprint"), "source": source, **changes}
    return AgentSettings.model_validate({"device": "pi", "stream": [stream], **(top or {})})


def stream_verdicts(settings: AgentSettings) -> dict[str, object]:
    return {**verdicts(check_stream(settings.stream[0], settings, SystemClock()))}


def test_without_a_configuration_it_looks_at_the_machine_alone() -> None:
    done = run("--json")
    assert set(found(done)) == {
        "python",
        "architecture",
        "packages",
        "processor",
        "runtime",
        "clock",
        "temperature",
        "speed",
        "power",
        "memory",
        "providers",
    }
    assert done.returncode == (1 if json.loads(done.stdout)["verdict"] == "problem" else 0)


def test_a_device_that_can_do_its_work_ends_with_exit_code_0(
    mosquitto: Mosquitto, configure: Callable[..., Path], tmp_path: Path
) -> None:
    done = run("--json", "--config", configure(mosquitto.port))
    assert done.returncode == 0, done.stdout
    assert "problem" not in found(done).values()
    assert {
        "stream.belt.bundle",
        "stream.belt.providers",
        "stream.belt.source",
        "broker",
        "broker.login",
        "store",
        "store.file_system",
        "evidence",
    } < set(found(done))
    assert not (tmp_path / "state").exists()


def test_a_problem_ends_with_exit_code_1_and_says_what_to_do(configure: Callable[..., Path]) -> None:
    config = configure(free_port(), bundle="shifted-1")
    done = run("--config", config)
    assert done.returncode == 1
    assert done.stderr == ""
    text = " ".join(done.stdout.split())
    assert "stream.belt.bundle shifted-1: golden frame 0 scores 0.2" in text
    assert "2 problem(s)" in text
    assert text.count("->") >= 2
    report = found(run("--json", "--config", config))
    assert (report["stream.belt.bundle"], report["broker"]) == ("problem", "problem")
    assert report["stream.belt.source"] == "ok"


def test_an_unreadable_configuration_ends_with_exit_code_2(tmp_path: Path) -> None:
    done = run("--json", "--config", tmp_path / "none.toml")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"driftprint: {tmp_path}/none.toml: cannot be read")


def test_a_runtime_that_would_kill_the_doctor_is_not_loaded_into_it(
    configure: Callable[..., Path], tmp_path: Path
) -> None:
    def broken(command: Any, seconds: float) -> Ran | None:
        dying = (sys.executable, "-c", "import os; os.kill(os.getpid(), 4)")
        return run_command(dying if "verify" in command else command, seconds)

    findings = {finding.name: finding for finding in examine(configure(1), root=make_pi(tmp_path / "pi"), run=broken)}
    assert findings["runtime"].verdict is PROBLEM
    assert findings["configuration"].verdict is WARNING
    assert not {name for name in findings if name.startswith(("stream", "broker", "providers"))}


def test_the_machine_that_is_looked_at_is_the_one_under_the_root(tmp_path: Path) -> None:
    pi = make_pi(tmp_path, throttled="50005\n", celsius=84.2)
    findings = {finding.name: finding for finding in examine(None, root=pi)}
    assert findings["architecture"].what.startswith("Raspberry Pi 4 Model B Rev 1.4, ")
    assert findings["power"].verdict is PROBLEM
    assert findings["speed"].verdict is WARNING
    assert findings["temperature"].what == "84 degrees Celsius"


def test_a_stream_that_is_as_it_should_be_is_fine(folder: Path) -> None:
    names = ("bundle", "providers", "source")
    assert stream_verdicts(stream_of(folder)) == {f"stream.belt.{name}": OK for name in names}


def test_providers_that_this_machine_lacks_are_a_warning(folder: Path) -> None:
    settings = stream_of(folder, providers=["TensorrtExecutionProvider", "CPUExecutionProvider"])
    warning = list(check_stream(settings.stream[0], settings, SystemClock()))[1]
    assert (warning.name, warning.verdict) == ("stream.belt.providers", WARNING)
    assert warning.what == "TensorrtExecutionProvider cannot be used, it runs on CPUExecutionProvider"


@pytest.mark.parametrize(
    "changes",
    [
        {"bundle": "no-such-bundle"},
        {"providers": ["TensorrtExecutionProvider"]},
        {"providers": ["NoProvider"]},
        {"decision": {"alpha": 0.0001}},
    ],
    ids=str,
)
def test_what_the_agent_would_not_start_on_is_a_problem(folder: Path, changes: dict[str, Any]) -> None:
    assert stream_verdicts(stream_of(folder, **changes)) == {"stream.belt.bundle": PROBLEM, "stream.belt.source": OK}


def test_keys_that_cannot_be_read_are_a_problem_of_every_bundle(folder: Path, tmp_path: Path) -> None:
    settings = stream_of(folder, top={"bundles": {"trusted_keys": tmp_path / "none"}})
    assert stream_verdicts(settings) == {"stream.belt.bundle": PROBLEM, "stream.belt.source": OK}


def test_help_loads_nothing_heavy() -> None:
    program = (
        "import sys\nfrom driftprint.cli import main\nsys.argv = ['driftprint', 'doctor', '--help']\n"
        "try:\n    main()\nfinally:\n"
        "    print(sorted({'numpy', 'onnxruntime', 'paho', 'packaging'} & set(sys.modules)), file=sys.stderr)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "[]\n")
