"""Real databases of time series that take remote write."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import httpx
import pytest

from tests.brokers import free_port, wait_for


class Database:
    """A process that takes remote write and answers PromQL. It keeps its port and data over restarts.

    Args:
        folder: for its configuration, log and data; made here.
    """

    write_path = "/api/v1/write"
    ready_path = "/-/ready"

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self.folder = folder
        self.address = f"127.0.0.1:{free_port()}"
        self.url = f"http://{self.address}"
        self._process: subprocess.Popen[bytes] | None = None

    def command(self) -> list[str]:
        raise NotImplementedError

    @property
    def write_url(self) -> str:
        return self.url + self.write_path

    @property
    def log(self) -> str:
        path = self.folder / "log"
        return path.read_text() if path.exists() else ""

    def start(self) -> None:
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(self.command(), stdout=log, stderr=log)
        wait_for(self._ready, what=lambda: f"the database\n{self.log}")

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def query(self, expression: str, *, at: float | None = None) -> dict[tuple[tuple[str, str], ...], float]:
        """An instant query: labels to value."""
        self.settle()
        params = {"query": expression} | ({"time": f"{at:.3f}"} if at is not None else {})
        answer = httpx.get(f"{self.url}/api/v1/query", params=params, timeout=30).json()
        assert answer["status"] == "success", answer
        return {tuple(sorted(one["metric"].items())): float(one["value"][1]) for one in answer["data"]["result"]}

    def value(self, expression: str, *, at: float | None = None) -> float | None:
        """The only value of an instant query; None where there is none."""
        values = list(self.query(expression, at=at).values())
        assert len(values) <= 1, values
        return values[0] if values else None

    def settle(self) -> None:
        """Have it show in queries what it has taken."""

    def _ready(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, self.log
        try:
            return httpx.get(self.url + self.ready_path, timeout=1, verify=False).status_code == 200
        except httpx.TransportError:
            return False


class VictoriaMetrics(Database):
    """VictoriaMetrics, single node."""

    ready_path = "/health"

    def command(self) -> list[str]:
        return [
            find("victoria-metrics", "victoria-metrics"),
            f"-storageDataPath={self.folder / 'data'}",
            f"-httpListenAddr={self.address}",
            "-retentionPeriod=10y",
            "-dedup.minScrapeInterval=1ms",
            "-search.latencyOffset=0s",
            "-memory.allowedBytes=200MB",
        ]

    def settle(self) -> None:
        httpx.get(f"{self.url}/internal/force_flush", timeout=30).raise_for_status()

    def samples(self, selector: str) -> dict[int, float]:
        """All samples of one series: time in milliseconds to value."""
        self.settle()
        answer = httpx.get(f"{self.url}/api/v1/export", params={"match[]": selector}, timeout=30)
        found = [json.loads(line) for line in answer.text.splitlines()]
        assert len(found) <= 1, found
        return dict(zip(found[0]["timestamps"], found[0]["values"], strict=True)) if found else {}


class Prometheus(Database):
    """Prometheus as a receiver.

    Args:
        folder: for its configuration, log and data; made here.
        out_of_order: how old a sample may be that is older than its series' latest; "" leaves it out.
        certificate: a file with a certificate and its key, for HTTPS.
    """

    def __init__(self, folder: Path, *, out_of_order: str = "30d", certificate: Path | None = None) -> None:
        super().__init__(folder)
        if certificate is not None:
            self.url = f"https://{self.address}"
        tls = f"tls_server_config:\n  cert_file: {certificate}\n  key_file: {certificate}\n" if certificate else ""
        (folder / "web.yml").write_text(tls)
        window = f"storage:\n  tsdb:\n    out_of_order_time_window: {out_of_order}\n" if out_of_order else ""
        (folder / "prometheus.yml").write_text(f"global:\n  scrape_interval: 1m\n{window}")

    def command(self) -> list[str]:
        return [
            find("prometheus", "prometheus"),
            f"--config.file={self.folder / 'prometheus.yml'}",
            f"--storage.tsdb.path={self.folder / 'data'}",
            f"--web.listen-address={self.address}",
            f"--web.config.file={self.folder / 'web.yml'}",
            "--web.enable-remote-write-receiver",
        ]


def find(program: str, package: str) -> str:
    """An executable; without one the test is skipped, or fails where CI is "true"."""
    binary = shutil.which(program)
    if binary is None:
        missing = f"{program} is not installed (Debian: apt-get install {package})"
        if os.environ.get("CI") == "true":
            pytest.fail(missing)
        pytest.skip(missing)
    return binary
