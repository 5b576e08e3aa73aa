"""Starts and ends the parts of the demo, each a process of its own as on real devices."""

from __future__ import annotations

import ctypes
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from driftprint.errors import ConfigError

_END_SECONDS = 5.0
_PR_SET_PDEATHSIG = 1  # <linux/prctl.h>


class Process:
    """A ``driftprint`` subcommand as a process.

    Args:
        name: for people.
        arguments: of the command ``driftprint``.
        log: a file that takes what it writes.
    """

    def __init__(self, name: str, arguments: Sequence[str], log: Path) -> None:
        self.name = name
        self.log = log
        with log.open("wb") as output:
            self._popen = subprocess.Popen(
                [sys.executable, "-m", "driftprint", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,  # Ctrl-C in the terminal is the demo's to handle
                preexec_fn=_end_with_parent,
            )

    @property
    def failure(self) -> str | None:
        """Why it no longer runs, with the last line it wrote; None while it runs."""
        code = self._popen.poll()
        if code is None:
            return None
        how = f"ended with exit code {code}" if code >= 0 else f"was ended by {signal.Signals(-code).name}"
        lines = self.log.read_text(errors="replace").strip().splitlines()
        return f"{self.name} {how}" + (f": {lines[-1]}" if lines else "")

    def ask_to_end(self) -> None:
        """Send SIGTERM."""
        if self._popen.poll() is None:
            self._popen.terminate()

    def end(self) -> None:
        """Wait for its end, and force it where it takes too long."""
        try:
            self._popen.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            self._popen.kill()
            self._popen.wait()


def free_port(wanted: int | None, *, else_any: bool = True) -> int:
    """A TCP port of the loopback interface that nobody listens on.

    Args:
        wanted: this one, where it is free.
        else_any: whether any other does as well.

    Raises:
        ConfigError: where only `wanted` would do, and it is taken.
    """
    for port in (wanted, 0) if else_any else (wanted,):
        try:
            with socket.create_server(("127.0.0.1", port or 0)) as listener:
                return int(listener.getsockname()[1])
        except OSError:
            continue
    raise ConfigError("is in use", where=f"port {wanted}", fix="choose another")


def _end_with_parent() -> None:
    """Ask Linux to end this process when the demo is gone, however it went (prctl(2))."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
