"""The programs that take part in benches: our own daemons, and a broker."""

from __future__ import annotations

import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

_PORTS = range(11_000, 32_000)


def free_port() -> int:
    """A TCP port on the loopback interface that was free just now.

    A server may leave it and take it again: it is none of those that systems give to outgoing connections (from 32768
    on under Linux, and 49152 elsewhere).
    """
    while True:
        port = secrets.choice(_PORTS)
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port


class Broker:
    """A real mosquitto with its default persistence, on a port of its own.

    Args:
        folder: for its files.
        port: to listen on.
        settings: further lines of mosquitto.conf.
    """

    def __init__(self, folder: Path, port: int, settings: tuple[str, ...] = ()) -> None:
        self.port = port
        self._config = folder / "mosquitto.conf"
        self._process: subprocess.Popen[bytes] | None = None
        lines = (f"listener {port} 127.0.0.1", "allow_anonymous true", "user root", "persistence true", *settings)
        self._config.write_text("\n".join((*lines, f"persistence_location {folder}/", "")))
        binary = shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin")
        if binary is None:
            raise SystemExit("mosquitto is not installed (Debian: apt-get install mosquitto)")
        self._binary = binary

    def start(self) -> None:
        """Start it."""
        command = [self._binary, "-c", str(self._config)]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def kill(self) -> None:
        """SIGKILL."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


class Program:
    """One of our daemons, with its settings, log and whatever else it writes in a folder.

    Args:
        name: of the command, as in ``driftprint NAME``.
        folder: where its settings must be before it starts.
    """

    def __init__(self, name: str, folder: Path) -> None:
        self._name = name
        self._process: subprocess.Popen[bytes] | None = None
        self.folder = folder
        self.config = folder / f"{name}.toml"
        self.log = folder / f"{name}.log"
        self.failed_starts = 0

    def start(self) -> None:
        """Start it."""
        command = [sys.executable, "-m", "driftprint", self._name, "--config", str(self.config)]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log)

    def kill(self) -> None:
        """SIGKILL; one that has ended by itself is a failed start."""
        if self._process is not None:
            self.failed_starts += self._process.poll() is not None
            self._process.kill()
            self._process.wait()
            self._process = None

    def stop(self) -> None:
        """SIGTERM."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(30)
            self._process = None

    def cpu_seconds(self) -> float:
        """How long a core has worked for it."""
        user, system = self._proc("stat").rpartition(")")[2].split()[11:13]
        return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")

    def most_resident_bytes(self) -> int:
        """What it has had in RAM, at most."""
        lines = self._proc("status").splitlines()
        return 1024 * int(next(line.split()[1] for line in lines if line.startswith("VmHWM")))

    def _proc(self, name: str) -> str:
        assert self._process is not None
        return Path(f"/proc/{self._process.pid}/{name}").read_text()


class Server(Program):
    """``driftprint server``, over HTTP on a port of its own.

    Args:
        folder: for its settings, store and log.
        broker_port: where the broker is.
        mqtt: further lines of ``[mqtt]``.
        tables: further tables of server.toml.
    """

    def __init__(self, folder: Path, broker_port: int, *, mqtt: str = "", tables: str = "") -> None:
        super().__init__("server", folder)
        self._port = free_port()
        self.store = folder / "server.db"
        self.config.write_text(
            f"[mqtt]\nhost = '127.0.0.1'\nport = {broker_port}\n{mqtt}\n[http]\nport = {self._port}\n"
            f"[store]\npath = '{self.store}'\n{tables}"
        )

    def start_healthy(self, seconds: float = 60) -> None:
        """Start it, and wait until it says that it does its work.

        Raises:
            TimeoutError: where it does not.
        """
        self.start()
        end = time.monotonic() + seconds
        while True:
            try:
                self.get("/healthz", 5)
            except OSError:  # not yet listening, or not yet connected
                if time.monotonic() > end:
                    raise TimeoutError(f"the server does not get healthy; see {self.log}") from None
                time.sleep(0.1)
            else:
                return

    def get(self, path: str, seconds: float = 30) -> bytes:
        """What it answers."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self._port}{path}", timeout=seconds) as answer:
            body: bytes = answer.read()
        return body
