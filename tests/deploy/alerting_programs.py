"""The programs of the stack as processes, and a receiver of Alertmanager's webhooks."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import threading
from collections.abc import Mapping, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.brokers import free_port, wait_for

DEPLOY = Path(__file__).parents[2] / "deploy"


def find_program(name: str, *, package: str) -> str:
    """An executable; without it the test is skipped, or fails where CI is "true".

    Args:
        name: the executable's.
        package: Debian's that has it.
    """
    binary = shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin:/usr/local/sbin")
    if binary is None:
        missing = f"{name} is not installed (Debian: apt-get install {package})"
        if os.environ.get("CI") == "true":
            pytest.fail(missing)
        pytest.skip(missing)
    return binary


def told(*command: str | Path, environment: Mapping[str, str] | None = None) -> tuple[int, str]:
    """A command's exit code, and what it wrote to both streams."""
    done = subprocess.run(
        [str(word) for word in command],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=120,
        env={**os.environ, **(environment or {})},
    )
    return done.returncode, done.stdout


def with_examples(path: Path) -> str:
    """A file of YAML with what is commented out in it: a comment that begins like YAML is an example."""
    return re.sub(r"^( *)# (?= *(- )?\{?\w+:( |$))", r"\1", path.read_text(), flags=re.MULTILINE)


def impatient(rules: Path) -> str:
    """Rules whose alerts are raised and over at once."""
    lasting = re.sub(r"\n *keep_firing_for: \w+", "", rules.read_text())
    return re.sub(r"\bfor: \w+", "for: 0s", lasting)


class Program:
    """A process that answers HTTP once it is ready.

    Args:
        command: with its arguments.
        folder: where it runs, and its log is.
        ready: the URL that then answers with 200; None where nothing is waited for.
        environment: beside that of the tests.
    """

    def __init__(
        self,
        command: Sequence[str],
        folder: Path,
        *,
        ready: str | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._log = folder / "program.log"
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                command, cwd=folder, stdout=log, stderr=log, env={**os.environ, **(environment or {})}
            )
        if ready is not None:
            wait_for(lambda: self._answers(ready), what=lambda: f"{command[0]}\n{self.log}")

    @property
    def log(self) -> str:
        """What it has written so far."""
        return self._log.read_text()

    def kill(self) -> None:
        """SIGKILL."""
        self._process.kill()
        self._process.wait(timeout=60)

    def _answers(self, url: str) -> bool:
        assert self._process.poll() is None, self.log
        try:
            return httpx.get(url, timeout=5).status_code == 200
        except httpx.TransportError:
            return False


class Alertmanager:
    """A running Alertmanager.

    Args:
        config: its configuration.
        folder: for its data and log.
    """

    def __init__(self, config: Path, folder: Path) -> None:
        self.address = f"127.0.0.1:{free_port()}"
        command = [
            find_program("prometheus-alertmanager", package="prometheus-alertmanager"),
            f"--config.file={config}",
            f"--storage.path={folder / 'data'}",
            f"--web.listen-address={self.address}",
            "--cluster.listen-address=",
        ]
        self._program = Program(command, folder, ready=f"http://{self.address}/-/ready")

    def raise_alerts(self, *alerts: Mapping[str, str]) -> None:
        """Raise alerts with these labels, as Prometheus would."""
        body = [{"labels": dict(alert)} for alert in alerts]
        httpx.post(f"http://{self.address}/api/v2/alerts", json=body, timeout=30).raise_for_status()

    def suppressed(self) -> dict[tuple[str, ...], bool]:
        """By alert (its name, and its device and stream if any): whether another one inhibits it."""
        answer = httpx.get(f"http://{self.address}/api/v2/alerts", timeout=30).raise_for_status()
        return {_key(alert["labels"]): bool(alert["status"]["inhibitedBy"]) for alert in answer.json()}

    def kill(self) -> None:
        """SIGKILL."""
        self._program.kill()


def _key(labels: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(labels[name] for name in ("alertname", "device", "stream") if name in labels)


class Receiver:
    """Takes Alertmanager's webhooks, at any path."""

    def __init__(self) -> None:
        self._told: list[tuple[str, dict[str, Any]]] = []
        told = self._told

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                payload = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                told.extend((self.path, alert) for alert in payload["alerts"])
                self.send_response(200)
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def alerts(self, name: str, status: str) -> list[tuple[str, dict[str, Any]]]:
        """What it has been told of an alert: the path, and the alert as Alertmanager writes it."""
        return [
            (path, alert)
            for path, alert in self._told
            if alert["labels"]["alertname"] == name and alert["status"] == status
        ]

    def wait_for(self, name: str, status: str) -> tuple[str, dict[str, Any]]:
        """The first such notification, once it has come."""
        wait_for(lambda: self.alerts(name, status), what=lambda: f"{name} {status}, got {self._told}")
        return self.alerts(name, status)[0]

    def close(self) -> None:
        """Listen no more."""
        self._server.shutdown()
        self._server.server_close()
