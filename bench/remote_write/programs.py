"""The programs that take part: replicas, and what receives their samples."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.faults.kills import free_port


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


class Replica:
    """A replica's process.

    Args:
        pid: its number.
        url: of its own metrics.
    """

    def __init__(self, pid: int, url: str) -> None:
        self._stat = Path(f"/proc/{pid}/stat")
        self._url = url

    def totals(self) -> tuple[float, float]:
        """Samples written, and seconds in which a core worked for it."""
        with urllib.request.urlopen(f"{self._url}/metrics") as answer:
            lines = answer.read().decode().splitlines()
        samples = sum(float(line.split()[-1]) for line in lines if line.startswith("driftprint_remote_write_samples_"))
        user, system = self._stat.read_text().rpartition(")")[2].split()[11:13]
        return samples, (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


@contextmanager
def replica(broker_port: int, url: str, config: Path) -> Iterator[Replica]:
    """A replica, once it is connected.

    Args:
        broker_port: where it hears devices.
        url: where it writes.
        config: the file that it is given.
    """
    port = free_port()
    config.write_text(
        f"[mqtt]\nshare = 'bench'\nhost = '127.0.0.1'\nport = {broker_port}\n[http]\nport = {port}\n"
        f"[[remote_write]]\nurl = '{url}'\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-m", "driftprint", "server", "--config", str(config)], stderr=subprocess.DEVNULL
    )
    try:
        own = f"http://127.0.0.1:{port}"
        _wait_for_health(own)
        yield Replica(process.pid, own)
    finally:
        process.terminate()
        process.wait()


def _wait_for_health(url: str) -> None:
    end = time.monotonic() + 60
    while True:
        try:
            urllib.request.urlopen(f"{url}/healthz").close()
        except OSError:  # not yet listening, or not yet connected
            if time.monotonic() > end:
                raise TimeoutError("a replica does not get healthy") from None
            time.sleep(0.1)
        else:
            return
