import subprocess
from pathlib import Path

import pytest

from tests.server.processes import COMMAND


def run(*args: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*COMMAND, *map(str, args)], capture_output=True, text=True, check=False, timeout=60)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("[http]\nport = 'http'", "http.port"),
        ("[mqtt]\npasword = 'x'", "mqtt.pasword: unknown field"),
        ("[mqtt]\nca_file = '/nowhere/ca.pem'", "mqtt.ca_file"),
        ("[store]\npath = '/proc/nowhere/server.db'", "/proc/nowhere/server.db"),
        ("[fleet", "not valid TOML"),
    ],
)
def test_a_bad_configuration_is_one_line_and_exit_code_2(tmp_path: Path, text: str, complaint: str) -> None:
    config = tmp_path / "server.toml"
    config.write_text(text if "[store]" in text else f"{text}\n")
    done = run("--config", config)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert complaint in done.stderr


def test_a_missing_configuration_is_named(tmp_path: Path) -> None:
    done = run("--config", tmp_path / "none.toml")
    assert done.returncode == 2
    assert str(tmp_path / "none.toml") in done.stderr


def test_check_says_what_was_found_and_ends(tmp_path: Path) -> None:
    config = tmp_path / "server.toml"
    config.write_text(f"[store]\npath = '{tmp_path}/server.db'\n[mqtt]\nhost = 'broker.example'\n")
    done = run("--config", config, "--check")
    assert done.returncode == 0
    assert "fine" in done.stdout
    assert "broker.example:1883" in done.stdout
