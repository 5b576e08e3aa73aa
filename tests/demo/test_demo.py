"""The demo as a newcomer runs it."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from pathlib import Path

from tests.brokers import free_port, wait_for

COMMAND = [sys.executable, "-m", "driftprint", "demo"]


def process_ids(folder: Path) -> dict[str, int]:
    """The processes whose arguments name a file under `folder`, by that file's name."""
    found = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            arguments = (entry / "cmdline").read_bytes().decode().split("\0")
        except OSError:
            continue
        config = next((a for a in arguments if a.startswith(f"{folder}/") and a.endswith(".toml")), None)
        if config is not None:
            found[Path(config).stem] = int(entry.name)
    return found


def test_once_reports_both_changes_without_a_false_alarm(tmp_path: Path) -> None:
    ended = subprocess.run([*COMMAND, "--once", "--folder", tmp_path], capture_output=True, text=True, timeout=120)
    assert ended.returncode == 0, ended.stderr + ended.stdout
    for alert in ("drifting: alert raised", "defocused: alert raised"):
        assert alert in ended.stdout
    assert "clean: alert" not in ended.stdout
    assert re.search(r"page +http://127\.0\.0\.1:\d+/", ended.stdout)
    assert re.search(r"metrics +http://127\.0\.0\.1:\d+/metrics", ended.stdout)
    assert not process_ids(tmp_path), "processes are left running"


def test_once_fails_with_a_reason_when_a_part_is_killed(tmp_path: Path) -> None:
    demo = subprocess.Popen(
        [*COMMAND, "--once", "--folder", tmp_path], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    wait_for(lambda: "agent-clean" in process_ids(tmp_path), what="the agents")
    subprocess.run(["kill", "-KILL", str(process_ids(tmp_path)["agent-clean"])], check=True)
    _, errors = demo.communicate(timeout=60)
    assert demo.returncode == 1
    assert "the agent of clean was ended by SIGKILL" in errors
    assert not process_ids(tmp_path), "processes are left running"


def test_its_processes_end_with_it_even_when_it_is_killed(tmp_path: Path) -> None:
    demo = subprocess.Popen([*COMMAND, "--folder", tmp_path], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_for(lambda: len(process_ids(tmp_path)) == 4, what="server and agents")
    demo.send_signal(signal.SIGKILL)
    demo.wait()
    wait_for(lambda: not process_ids(tmp_path), what="its processes to end")


def test_a_port_that_is_taken_is_named(tmp_path: Path) -> None:
    import socket

    with socket.create_server(("127.0.0.1", free_port())) as taken:
        port = taken.getsockname()[1]
        ended = subprocess.run(
            [*COMMAND, "--once", "--http-port", str(port), "--folder", tmp_path], capture_output=True, text=True
        )
    assert ended.returncode == 2
    assert ended.stderr.strip() == f"driftprint: port {port}: is in use; choose another"
