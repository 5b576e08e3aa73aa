"""A real mosquitto for tests: its own free port and folder, to be stopped, killed and started again at will."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from bench.programs import free_port as free_port

DEADLINE_SECONDS = 90.0
"""How long a test waits for what should happen soon. Only a failure takes so long, however busy the machine is."""


class Mosquitto:
    """A mosquitto process. It keeps its port and folder over restarts.

    Args:
        binary: the mosquitto executable.
        folder: for its configuration, log and persistence; made where it is missing.
        persistence: whether sessions, queued and retained messages outlast `stop` and `start`. They outlast
            `kill` as well, because every change is saved at once.
        settings: further lines for mosquitto.conf.
    """

    host = "127.0.0.1"

    def __init__(self, binary: str, folder: Path, *, persistence: bool = True, settings: Sequence[str] = ()) -> None:
        self.port = free_port()
        self._binary = binary
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        folder.mkdir(parents=True, exist_ok=True)
        self._config = folder / "mosquitto.conf"
        lines = [
            f"listener {self.port} {self.host}",
            "allow_anonymous true",
            "user root",  # else, run by root, it changes to a user who may not write in the folder
            f"persistence {str(persistence).lower()}",
            *([f"persistence_location {folder}/", "autosave_on_changes true", "autosave_interval 1"] * persistence),
            *settings,
        ]
        self._config.write_text("\n".join(lines) + "\n")

    @property
    def running(self) -> bool:
        """Whether the process lives."""
        return self._process is not None and self._process.poll() is None

    @property
    def log(self) -> str:
        """What it has written so far."""
        path = self._folder / "mosquitto.log"
        return path.read_text() if path.exists() else ""

    def start(self) -> None:
        """Start it and wait until it takes connections."""
        if self.running:
            raise RuntimeError("mosquitto is running already")
        with (self._folder / "mosquitto.log").open("ab") as log:
            self._process = subprocess.Popen(
                [self._binary, "-v", "-c", str(self._config)], stdout=log, stderr=subprocess.STDOUT
            )
        wait_for(self._takes_connections, what=lambda: f"mosquitto to listen\n{self.log}")

    def stop(self) -> None:
        """End it in good order (SIGTERM); it saves what it must keep."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(timeout=DEADLINE_SECONDS)
            self._process = None

    def kill(self) -> None:
        """End it at once (SIGKILL)."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(timeout=DEADLINE_SECONDS)
            self._process = None

    def _takes_connections(self) -> bool:
        if not self.running:
            raise RuntimeError(f"mosquitto does not start:\n{self.log}")
        try:
            socket.create_connection((self.host, self.port), timeout=1).close()
        except OSError:
            return False
        return True


def find_mosquitto() -> str:
    """The mosquitto executable; without one the test is skipped, or fails where CI is "true"."""
    binary = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin")
    if binary is None:
        missing = "mosquitto is not installed (Debian: apt-get install mosquitto)"
        if os.environ.get("CI") == "true":
            pytest.fail(missing)
        pytest.skip(missing)
    return binary


def wait_for(
    condition: Callable[[], object], *, what: str | Callable[[], str], seconds: float = DEADLINE_SECONDS
) -> None:
    """Wait until `condition` holds.

    Args:
        condition: called again and again; holds when its result is true.
        what: what is waited for, for the error; a callable is asked at the end.
        seconds: the deadline.

    Raises:
        AssertionError: where it does not hold in time.
    """
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise AssertionError(f"waited {seconds:g} s for {what() if callable(what) else what}")
        time.sleep(0.02)
