"""The base install, alone in an environment of its own: what a device gets."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]
VERSIONS = ("3.10", "3.13")
"""The oldest and the newest Python that driftprint promises; tried where the machine has them."""


@pytest.fixture(scope="module", params=["this", *VERSIONS])
def driftprint(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The command, in a virtual environment that holds nothing but the base install."""
    python = sys.executable if request.param == "this" else find_python(request.param)
    folder = tmp_path_factory.mktemp("venv")
    run(python, "-m", "venv", folder)
    lock = ROOT / "requirements.lock"
    run(folder / "bin/python", "-m", "pip", "install", "--quiet", "--constraint", lock, ROOT)
    return folder / "bin/driftprint"


def find_python(version: str) -> str:
    """An interpreter that runs: version managers leave commands behind that do not."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    for candidate in (shutil.which(f"python{version}"), *sorted(pyenv.glob(f"{version}.*/bin/python"))):
        if candidate and subprocess.run([candidate, "--version"], capture_output=True, check=False).returncode == 0:
            return str(candidate)
    pytest.skip(f"there is no Python {version} here")


def run(*command: str | Path) -> subprocess.CompletedProcess[str]:
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done


def test_it_scores_frames(driftprint: Path, tmp_path: Path) -> None:
    frames = np.random.default_rng(0).integers(0, 256, (20, 28, 28), np.uint8)
    np.savez(tmp_path / "noise.npz", x=frames)
    done = run(driftprint, "score", "digits", tmp_path / "noise.npz", "--out", tmp_path / "scores.csv")
    assert len((tmp_path / "scores.csv").read_text().splitlines()) == 21
    assert "outlier ratio" in done.stdout + done.stderr


def test_its_agent_loads_its_streams(driftprint: Path, tmp_path: Path) -> None:
    np.savez(tmp_path / "frames.npz", x=np.zeros((1, 28, 28), np.uint8))
    config = tmp_path / "agent.toml"
    config.write_text(
        f"device = 'pi'\n[store]\npath = '{tmp_path}/agent.db'\n[[stream]]\nname = 'camera'\nbundle = 'digits'\n"
        f"[stream.source]\npath = '{tmp_path}/frames.npz'\nframes_per_second = 1\n"
    )
    assert "1 stream" in run(driftprint, "agent", "--config", config, "--check").stdout


def test_it_holds_nothing_heavy(driftprint: Path) -> None:
    installed = run(driftprint.with_name("python"), "-m", "pip", "list", "--format", "freeze").stdout.lower()
    names = {line.split("==")[0] for line in installed.splitlines()}
    assert "onnxruntime" in names
    assert names.isdisjoint({"torch", "scipy", "pandas", "opencv-python", "opencv-python-headless", "matplotlib"})


def test_its_doctor_runs(driftprint: Path) -> None:
    told = subprocess.run([str(driftprint), "doctor", "--json"], capture_output=True, text=True, check=False).stdout
    verdicts = {finding["name"]: finding["verdict"] for finding in json.loads(told)["findings"]}
    assert (verdicts["runtime"], verdicts["packages"]) == ("ok", "ok")


@pytest.mark.parametrize(
    ("arguments", "extra"),
    [
        (["server"], "server"),
        (["demo", "--once"], "demo"),
        (["export", "x-1.driftprint", "--onnx", "x.onnx", "--inliers", "x"], "onnx"),
        (["score", "digits", "frames.npz", "--plot", "plot.png"], "plot"),
        (["bundle", "verify", "digits", "--trusted", "."], "signing"),
        (["certificates", "init"], "certificates"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_what_it_lacks_it_says_how_to_install(
    driftprint: Path, tmp_path: Path, arguments: list[str], extra: str
) -> None:
    np.savez(tmp_path / "frames.npz", x=np.zeros((1, 28, 28), np.uint8))
    done = subprocess.run(
        [str(driftprint), *arguments], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 2
    assert f"driftprint[{extra}]" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
