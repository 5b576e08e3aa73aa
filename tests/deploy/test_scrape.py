"""A server that shows its metrics to nobody but those it knows, over HTTPS, and a Prometheus that is one of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from pathlib import Path
from ssl import create_default_context
from typing import Any

import httpx
import pytest
import yaml

from driftprint_server.certificates.authority import Files, found
from driftprint_server.certificates.holder import Kind, holder_of
from tests.brokers import Mosquitto, free_port, wait_for
from tests.deploy.alerting_programs import DEPLOY, Program, with_examples
from tests.line.prometheus import find_prometheus
from tests.server.processes import ServerProcess

PAGE = DEPLOY.parent / "docs/access.md"

Job = dict[str, Any]


@pytest.fixture
def files(tmp_path: Path) -> Files:
    """A certificate for 127.0.0.1, and its authority's."""
    office, holder = found(tmp_path / "certificates", now=datetime.now(timezone.utc)), holder_of(Kind.BROKER, "broker")
    office.issue(holder, hosts=["127.0.0.1"])
    return office.files(holder)


@pytest.fixture
def server(mosquitto: Mosquitto, files: Files, tmp_path: Path) -> Iterator[ServerProcess]:
    settings = {
        "http": f"cert_file = '{files.certificate}'\nkey_file = '{files.key}'",
        "access": "metrics = 'login'",
    }
    trust = create_default_context(cafile=files.ca)
    server = ServerProcess(tmp_path, mosquitto.port, login=True, settings=settings, trust=trust)
    server.start()
    yield server
    server.kill()


def with_a_token(server: ServerProcess, files: Files, folder: Path) -> Job:
    """As prometheus.yml has it in its comments."""
    jobs: list[Job] = yaml.safe_load(with_examples(DEPLOY / "prometheus/prometheus.yml"))["scrape_configs"]
    [job] = [job for job in jobs if job["job_name"] == "driftprint"]
    (folder / job["authorization"]["credentials_file"]).write_text(server.users("token", "add", "prometheus"))
    (folder / job["tls_config"]["ca_file"]).write_bytes(files.ca.read_bytes())
    (folder / "targets").mkdir()
    (folder / "targets/server.yml").write_text(f"- targets: ['{server.url.removeprefix('https://')}']\n")
    return job


def with_a_password(server: ServerProcess, files: Files, folder: Path) -> Job:
    """As docs/access.md has it."""
    example = PAGE.read_text().split("<!-- prometheus-basic -->\n```yaml\n")[1].split("```")[0]
    example = example.replace("/etc/prometheus", str(folder))
    job: Job = yaml.safe_load(example.replace("fleet.example:8466", server.url.removeprefix("https://")))[
        "scrape_configs"
    ][0]
    Path(job["basic_auth"]["password_file"]).write_text(server.users("add", job["basic_auth"]["username"]))
    Path(job["tls_config"]["ca_file"]).write_bytes(files.ca.read_bytes())
    return job


@pytest.mark.parametrize("way", [with_a_token, with_a_password])
def test_prometheus_scrapes_a_server_that_others_may_not(
    server: ServerProcess, files: Files, tmp_path: Path, way: Callable[[ServerProcess, Files, Path], Job]
) -> None:
    assert server.get("/metrics").status_code == 401
    folder = tmp_path / "prometheus"
    folder.mkdir()
    config = {"global": {"scrape_interval": "500ms"}, "scrape_configs": [way(server, files, folder)]}
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
    url = f"http://127.0.0.1:{free_port()}"
    prometheus = Program(
        [
            find_prometheus(),
            f"--config.file={folder / 'prometheus.yml'}",
            f"--storage.tsdb.path={folder / 'data'}",
            f"--web.listen-address={url.removeprefix('http://')}",
        ],
        folder,
        ready=f"{url}/-/ready",
    )

    def targets() -> list[Job]:
        answer: list[Job] = httpx.get(f"{url}/api/v1/targets", timeout=30).json()["data"]["activeTargets"]
        return answer

    def seen() -> list[Job]:
        asked = {"query": 'driftprint_server_connected{job="driftprint"} == 1'}
        answer: list[Job] = httpx.get(f"{url}/api/v1/query", params=asked, timeout=30).json()["data"]["result"]
        return answer

    try:
        wait_for(seen, what=lambda: f"the server's metrics, {targets()}")
    finally:
        prometheus.kill()
