"""The agent as a process, for tests over a real broker."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.brokers import DEADLINE_SECONDS, wait_for

COMMAND = [sys.executable, "-m", "driftprint", "agent"]


class AgentProcess:
    """``driftprint agent`` with the reference bundle. It keeps its settings and store over restarts.

    Args:
        folder: for settings, store and log.
        broker_port: where the broker listens.
        device: the device's id.
        frames: a folder of images, replayed over and over.
    """

    def __init__(self, folder: Path, broker_port: int, *, device: str, frames: Path) -> None:
        self.device = device
        self._log = folder / f"agent-{device}.log"
        self._config = folder / f"agent-{device}.toml"
        self._store = folder / f"agent-{device}.db"
        self._broker_port = broker_port
        self._process: subprocess.Popen[bytes] | None = None
        self.watch(frames)

    def watch(self, frames: Path) -> None:
        """Set what it sees from its next start on."""
        self._config.write_text(
            f"site = 'north'\ndevice = '{self.device}'\nhealth_seconds = 0.5\n"
            f"[mqtt]\nhost = '127.0.0.1'\nport = {self._broker_port}\nkeepalive_seconds = 5\n"
            f"[store]\npath = '{self._store}'\n"
            "[[stream]]\nname = 'camera'\nbundle = 'digits'\nreport_seconds = 0.2\n"
            f"[stream.source]\npath = '{frames}'\nframes_per_second = 100\n"
        )

    @property
    def log(self) -> str:
        return self._log.read_text() if self._log.exists() else ""

    @property
    def alert_ids(self) -> list[str]:
        """The alerts it has raised, by its own log."""
        entries: list[dict[str, Any]] = [json.loads(line) for line in self.log.splitlines() if line.startswith("{")]
        return [entry["alert_id"] for entry in entries if entry["event"] == "alert" and entry["status"] == "raised"]

    def start(self) -> None:
        with self._log.open("ab") as log:
            self._process = subprocess.Popen([*COMMAND, "--config", str(self._config)], stdout=log, stderr=log)

    def wait_for_alert(self) -> str:
        """The id of the first alert, once it is recorded."""
        wait_for(lambda: self.alert_ids, what=lambda: f"an alert\n{self.log}")
        return self.alert_ids[0]

    def kill(self) -> None:
        """SIGKILL."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(timeout=DEADLINE_SECONDS)

    def stop(self) -> int:
        """SIGTERM; returns the exit code."""
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        return self._process.wait(timeout=DEADLINE_SECONDS)
