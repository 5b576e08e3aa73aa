"""agent.toml: what is wrong in it is one line that names the file and the field."""

import subprocess
import sys
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin

import numpy as np
import pytest
from pydantic import BaseModel

from driftprint.clock import SystemClock
from driftprint.errors import DriftprintError
from driftprint.settings import load_settings
from driftprint_edge.config import AgentSettings, default_store_path
from driftprint_edge.opening import check_parts
from driftprint_edge.sources.replay import ReplaySettings
from tests.bundles import inlier_frames, make_bundle

EXAMPLE = Path(__file__).parents[2] / "deploy" / "agent.example.toml"
COMMAND = [sys.executable, "-m", "driftprint", "agent"]
GOOD = """
device = "pi-1"
[[stream]]
name = "belt"
bundle = "{folder}/toy-1.driftprint"
[stream.source]
path = "{folder}/frames.npz"
frames_per_second = 10
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Holds a bundle and frames."""
    folder = tmp_path_factory.mktemp("device")
    make_bundle(folder / "toy-1.driftprint")
    make_bundle(folder / "shifted-1.driftprint", name="shifted", golden_shift=0.1)
    np.savez(folder / "frames.npz", x=inlier_frames(3))
    (folder / "empty").mkdir()
    return folder


def write(folder: Path, *changes: tuple[str, str]) -> Path:
    """An agent.toml, right but for the changes."""
    text = GOOD
    for before, after in changes:
        assert before in text
        text = text.replace(before, after)
    config = folder / "agent.toml"
    config.write_text(text.replace("{folder}", str(folder)))
    return config


def run(config: Path, *options: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [*COMMAND, "--config", str(config), *options], capture_output=True, text=True, timeout=60, check=False
    )


def fields_of(model: type[BaseModel], table: str = "") -> set[str]:
    """All settings with their tables, `stream.source.path`; of several kinds of table those of the first."""
    names = set()
    for name, field in model.model_fields.items():
        kinds = [get_args(kind)[0] if get_origin(kind) is Annotated else kind for kind in get_args(field.annotation)]
        inner = [kind for kind in (field.annotation, *kinds) if isinstance(kind, type) and issubclass(kind, BaseModel)]
        names |= fields_of(inner[0], f"{table}{name}.") if inner else {table + name}
    return names


def named_in(text: str) -> set[str]:
    """Settings that a TOML file gives, be they commented out or not."""
    names, table = set(), ""
    for line in text.splitlines():
        if line.startswith("["):
            table = line.strip("[]") + "."
        key, equals, _ = line.removeprefix("# ").partition(" = ")
        if equals and key.isidentifier():
            names.add(table + key)
    return names


def everything_given(text: str) -> str:
    return "\n".join(
        line.removeprefix("# ") if line.partition(" = ")[0].removeprefix("# ").isidentifier() else line
        for line in text.splitlines()
    )


def test_the_example_names_every_setting_and_no_other() -> None:
    assert named_in(EXAMPLE.read_text()) == fields_of(AgentSettings)


def test_the_example_gives_the_defaults_wherever_there_are_some(tmp_path: Path) -> None:
    """A file with the required fields only says the same."""
    example = load_settings(EXAMPLE, AgentSettings)
    [stream] = example.stream
    assert isinstance(stream.source, ReplaySettings)
    short = tmp_path / "agent.toml"
    short.write_text(
        f'device = "{example.device}"\n[[stream]]\nname = "{stream.name}"\nbundle = "{stream.bundle}"\n'
        f'[stream.source]\npath = "{stream.source.path}"\nframes_per_second = {stream.source.frames_per_second}\n'
    )
    assert load_settings(short, AgentSettings) == example


def test_the_example_is_still_valid_with_everything_set(tmp_path: Path) -> None:
    config = tmp_path / "agent.toml"
    config.write_text(everything_given(EXAMPLE.read_text()))
    settings = load_settings(config, AgentSettings)

    def all_set(model: BaseModel) -> None:
        assert model.model_fields_set == set(type(model).model_fields)
        for name in type(model).model_fields:
            value: Any = getattr(model, name)
            for inner in value if isinstance(value, tuple) else (value,):
                if isinstance(inner, BaseModel):
                    all_set(inner)

    all_set(settings)


def test_every_setting_of_the_example_is_explained() -> None:
    lines = EXAMPLE.read_text().splitlines()
    unexplained = [
        line
        for line, before in zip(lines[1:], lines, strict=False)
        if named_in(line) and not (before.startswith("# ") and before.endswith("."))
    ]
    # How to log in takes two settings, which are explained together.
    assert unexplained == ['# password = "better in the environment"']


def test_the_store_lies_in_the_service_managers_folder_or_the_users(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STATE_DIRECTORY", "/var/lib/driftprint:/var/lib/other")
    assert default_store_path() == Path("/var/lib/driftprint/agent.db")
    monkeypatch.delenv("STATE_DIRECTORY")
    monkeypatch.setenv("XDG_STATE_HOME", "/home/me/state")
    assert default_store_path() == Path("/home/me/state/driftprint/agent.db")
    monkeypatch.delenv("XDG_STATE_HOME")
    monkeypatch.setenv("HOME", "/home/me")
    assert default_store_path() == Path("/home/me/.local/state/driftprint/agent.db")


def test_the_budget_is_shared_by_the_streams(folder: Path) -> None:
    second = '\n[[stream]]\nname = "chute"\nbundle = "digits"\nframes_per_false_alarm = 5000\n'
    second += '[stream.source]\npath = "x"\nframes_per_second = 20\n'
    config = write(folder, ('device = "pi-1"', 'device = "pi-1"\nfalse_alarms_per_day = 0.5'))
    config.write_text(config.read_text() + second)
    settings = load_settings(config, AgentSettings)
    assert settings.frames_per_false_alarm(settings.stream[0]) == 10 * 86_400 / 0.25
    assert settings.frames_per_false_alarm(settings.stream[1]) == 5000


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (('device = "pi-1"', 'device = "pi 1"'), "{config}: device: "),
        (('device = "pi-1"', ""), "{config}: device: missing"),
        (('device = "pi-1"', 'device = "pi-1"\nlog = "x"'), "{config}: log: unknown field"),
        (("frames_per_second = 10", "frames_per_second = 0"), "{config}: stream.0.source.frames_per_second: "),
        (("frames_per_second = 10", "fps = 10"), "{config}: stream.0.source.frames_per_second: missing"),
        (('name = "belt"', 'name = "state"'), "{config}: stream.0.name: a stream may not be named 'state'"),
        (
            ("frames_per_second = 10", 'frames_per_second = 10\nkind = "webcam"'),
            "{config}: stream.0.source: kind is one of replay, camera, rtsp, folder, mqtt, http, socket, got ",
        ),
        (
            ("frames_per_second = 10", 'frames_per_second = 10\nkind = "camera"'),
            "{config}: stream.0.source.path: unknown field",
        ),
        (('device = "pi-1"', "device ="), "{config}: not valid TOML"),
        (("toy-1.driftprint", "other-1.driftprint"), "stream 'belt': {folder}/other-1.driftprint: no such bundle"),
        (("{folder}/toy-1.driftprint", "{folder}/empty"), "stream 'belt': {folder}/empty"),
        (("toy-1.driftprint", "shifted-1.driftprint"), "stream 'belt': shifted-1: golden frame 0 scores "),
        (("frames.npz", "gone.npz"), "stream 'belt': {folder}/gone.npz: no such file or folder"),
        (("frames.npz", "empty"), "stream 'belt': {folder}/empty: no images in this folder"),
        (("frames.npz", "agent.toml"), "stream 'belt': {folder}/agent.toml: expected a folder of images"),
        (
            ('name = "belt"', 'name = "belt"\ndecision = {alpha = 0.0001}'),
            "stream 'belt': decision.alpha: ",
        ),
        (
            ('name = "belt"', 'name = "belt"\nproviders = ["NoProvider"]'),
            "stream 'belt': providers: no execution provider 'NoProvider' is known",
        ),
        (
            ('name = "belt"', 'name = "belt"\nproviders = ["TensorrtExecutionProvider"]'),
            "stream 'belt': providers: none of ['TensorrtExecutionProvider'] is here",
        ),
        (
            ('device = "pi-1"', 'device = "pi-1"\n[mqtt]\nca_file = "{folder}/frames.npz"'),
            "mqtt.ca_file: cannot load the TLS certificates",
        ),
    ],
)
def test_what_is_wrong_is_named(folder: Path, change: tuple[str, str], complaint: str) -> None:
    config = write(folder, change)
    with pytest.raises(DriftprintError) as raised:
        check_parts(load_settings(config, AgentSettings), SystemClock())
    line = str(raised.value)
    assert line.startswith(complaint.format(config=config, folder=folder))
    assert "\n" not in line


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (("frames_per_second = 10", "fps = 10"), "{config}: stream.0.source.frames_per_second: missing"),
        (("toy-1.driftprint", "other-1.driftprint"), "stream 'belt': {folder}/other-1.driftprint: no such bundle"),
        (
            ('device = "pi-1"', 'device = "pi-1"\n[store]\npath = "{folder}/empty"'),
            "{folder}/empty: the store cannot be used",
        ),
    ],
)
def test_the_agent_does_not_start_on_it_but_says_so_in_one_line(
    folder: Path, change: tuple[str, str], complaint: str
) -> None:
    config = write(folder, change)
    ended = run(config)
    assert ended.returncode == 2
    [line] = ended.stderr.splitlines()
    assert line.startswith("driftprint: " + complaint.format(config=config, folder=folder))


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    ended = run(tmp_path / "none.toml")
    assert ended.returncode == 2
    assert ended.stderr.startswith(f"driftprint: {tmp_path}/none.toml: cannot be read (No such file or directory)")


def test_a_check_says_what_it_found_and_makes_no_store(folder: Path) -> None:
    store = folder / "state" / "agent.db"
    config = write(folder, ('device = "pi-1"', f'device = "pi-1"\n[store]\npath = "{store}"'))
    ended = run(config, "--check")
    assert (ended.returncode, ended.stdout) == (0, f"{config}: fine, 1 stream(s) of default/pi-1\n")
    assert not store.parent.exists()


def test_a_check_finds_what_would_keep_the_agent_from_starting(folder: Path) -> None:
    ended = run(write(folder, ("toy-1.driftprint", "shifted-1.driftprint")), "--check")
    assert ended.returncode == 2
    assert "golden frame 0" in ended.stderr
    assert ended.stdout == ""
