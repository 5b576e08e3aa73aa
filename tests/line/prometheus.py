"""A real Prometheus that scrapes the server."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import httpx
import pytest

from tests.brokers import free_port, wait_for


class Prometheus:
    """A Prometheus process.

    Args:
        folder: for its configuration, log and data.
        target: the address to scrape, ``host:port``.
    """

    def __init__(self, folder: Path, target: str) -> None:
        self._folder = folder
        self._target = target
        self._url = f"http://127.0.0.1:{free_port()}"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self._folder.mkdir()
        config = self._folder / "prometheus.yml"
        config.write_text(
            "global:\n  scrape_interval: 500ms\n  scrape_timeout: 500ms\n"
            "scrape_configs:\n  - job_name: driftprint\n    static_configs:\n"
            f"      - targets: ['{self._target}']\n"
        )
        with (self._folder / "prometheus.log").open("wb") as log:
            self._process = subprocess.Popen(
                [
                    find_prometheus(),
                    f"--config.file={config}",
                    f"--storage.tsdb.path={self._folder / 'data'}",
                    f"--web.listen-address={self._url.removeprefix('http://')}",
                ],
                stdout=log,
                stderr=log,
            )
        wait_for(self._ready, what=lambda: f"Prometheus\n{(self._folder / 'prometheus.log').read_text()}")

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def query(self, expression: str) -> list[float]:
        """The values of an instant query."""
        answer = httpx.get(f"{self._url}/api/v1/query", params={"query": expression}, timeout=30).json()
        assert answer["status"] == "success", answer
        return [float(sample["value"][1]) for sample in answer["data"]["result"]]

    def wait_for(self, expression: str) -> None:
        """Wait until a query with a comparison gives something."""
        wait_for(lambda: self.query(expression), what=lambda: f"{expression}: none")

    def _ready(self) -> bool:
        try:
            return httpx.get(f"{self._url}/-/ready", timeout=5).status_code == 200
        except httpx.TransportError:
            return False


def find_prometheus() -> str:
    """The executable; without one the test is skipped, or fails where CI is "true"."""
    binary = shutil.which("prometheus")
    if binary is None:
        missing = "prometheus is not installed (Debian: apt-get install prometheus)"
        if os.environ.get("CI") == "true":
            pytest.fail(missing)
        pytest.skip(missing)
    return binary
