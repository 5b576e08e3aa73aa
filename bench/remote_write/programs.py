"""The programs that take part: replicas, and what receives their samples."""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.programs import Server


@contextmanager
def running(command: list[str], port: int) -> Iterator[str]:
    """A program that listens on a port, and its address."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    end = time.monotonic() + 30
    try:
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                if process.poll() is not None or time.monotonic() > end:
                    raise TimeoutError(f"{command[0]} does not start") from None
                time.sleep(0.05)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()


class Replica(Server):
    """A replica's process.

    Args:
        folder: for its settings and log.
        broker_port: where it hears devices.
        url: where it writes.
        devices: so many it must take in.
    """

    def __init__(self, folder: Path, broker_port: int, url: str, devices: int) -> None:
        super().__init__(
            folder,
            broker_port,
            mqtt="share = 'bench'",
            tables=f"[[remote_write]]\nurl = '{url}'\n[fleet]\nmax_devices = {2 * devices}\n"
            f"[caps]\nstrangers_per_second = 100000\nmessages_per_second = 10000\nseries = {100 * devices}\n",
        )

    def totals(self) -> tuple[float, float, float]:
        """Samples written, bytes that they were, and seconds in which a core worked for it."""
        lines = self.get("/metrics").decode().splitlines()
        samples, size = (
            sum(float(line.split()[-1]) for line in lines if line.startswith(f"driftprint_remote_write_{what}_total"))
            for what in ("samples", "bytes")
        )
        return samples, size, self.cpu_seconds()


@contextmanager
def replica(folder: Path, broker_port: int, url: str, devices: int) -> Iterator[Replica]:
    """A replica, once it is connected; see `Replica`."""
    folder.mkdir()
    program = Replica(folder, broker_port, url, devices)
    try:
        program.start_healthy()
        yield program
    finally:
        program.stop()
