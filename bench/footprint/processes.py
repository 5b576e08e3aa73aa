"""Starts a bare session and an agent, and watches what they take."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PAGE = 4096
_READY_SECONDS = 60


def bare(model: Path, frames: int) -> tuple[float, int]:
    """Seconds from its start to its first frame, and bytes resident after many."""
    command = [sys.executable, "-m", "bench.footprint.bare", str(model), str(frames)]
    begin = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=_environment()) as process:
        assert process.stdout is not None
        process.stdout.readline()
        seconds = time.perf_counter() - begin
        resident = int(process.stdout.readline())
    return seconds, resident


class AgentProcess:
    """An agent that has said that it is ready.

    Attributes:
        ready_seconds: from its start until then: bundle loaded, golden frames replayed, threads at work.
    """

    def __init__(self, process: subprocess.Popen[bytes], ready_seconds: float) -> None:
        self.ready_seconds = ready_seconds
        self._process = process

    @property
    def runs(self) -> bool:
        """Whether it has not ended."""
        return self._process.poll() is None

    @property
    def resident_bytes(self) -> int:
        """What it has in RAM."""
        return int(Path(f"/proc/{self._process.pid}/statm").read_text().split()[1]) * PAGE


@contextmanager
def agent(config: Path) -> Iterator[AgentProcess]:
    """``driftprint agent``, ready, for as long as the context lasts.

    Raises:
        TimeoutError: where it does not get ready.
    """
    address = config.with_name("notify")
    address.unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as supervisor:
        supervisor.bind(str(address))
        supervisor.settimeout(_READY_SECONDS)
        environment = _environment() | {"NOTIFY_SOCKET": str(address)}
        command = [sys.executable, "-m", "driftprint", "agent", "--log-level", "error", "--config", str(config)]
        begin = time.perf_counter()
        process = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)
        try:
            while supervisor.recv(4096) != b"READY=1":
                pass
            yield AgentProcess(process, time.perf_counter() - begin)
        finally:
            process.terminate()
            process.wait(20)


def _environment() -> dict[str, str]:
    return os.environ | {"ORT_DISABLE_TELEMETRY": "1"}
