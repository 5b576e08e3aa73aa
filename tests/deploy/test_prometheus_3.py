"""What Prometheus 3, which compose.yaml runs, asks for beyond Prometheus 2.42, which these tests run."""

from __future__ import annotations

import re
from collections.abc import Iterator
from email.message import Message
from pathlib import Path

import httpx
import pytest

from driftprint_edge.metrics import Metrics, MetricsSettings
from tests.brokers import Mosquitto, free_port
from tests.deploy.alerting_programs import DEPLOY
from tests.deploy.grafana_json import NAMES, expressions, load
from tests.server.clocks import FakeClock
from tests.server.processes import ServerProcess

ACCEPT = (
    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,"
    "application/openmetrics-text;version=0.0.1;q=0.4,"
    "text/plain;version=1.0.0;escaping=allow-utf-8;q=0.3,text/plain;version=0.0.4;q=0.2,*/*;q=0.1"
)
KNOWN = {("text/plain", "0.0.4"), ("text/plain", "1.0.0"), ("application/openmetrics-text", "1.0.0")}
"""It fails a scrape whose Content-Type it does not know, where Prometheus 2 took it for text."""


def format_of(url: str) -> tuple[str, str | None]:
    """The type and version of what is scraped there."""
    answer = httpx.get(url, headers={"Accept": ACCEPT}, timeout=30).raise_for_status()
    header = Message()
    header["Content-Type"] = answer.headers["content-type"]
    version = header.get_param("version")
    return header.get_content_type(), version if isinstance(version, str) else None


@pytest.fixture
def server(mosquitto: Mosquitto, tmp_path: Path) -> Iterator[ServerProcess]:
    server = ServerProcess(tmp_path, mosquitto.port)
    server.start()
    yield server
    server.kill()


def test_it_knows_the_format_of_what_a_server_shows(server: ServerProcess) -> None:
    assert {format_of(f"{server.url}{path}") for path in ("/metrics", "/metrics/fleet")} <= KNOWN


def test_it_knows_the_format_of_what_a_device_shows() -> None:
    port = free_port()
    metrics = Metrics(
        MetricsSettings(host="127.0.0.1", port=port),
        site="north",
        device="pi-1",
        report_seconds={"belt": 10},
        health_seconds=10,
        clock=FakeClock(0.0),
    )
    metrics.start()
    try:
        assert format_of(f"http://127.0.0.1:{port}/metrics") in KNOWN
    finally:
        metrics.close()


def test_no_query_uses_what_it_has_renamed_or_compares_a_bound_or_quantile_that_it_writes_otherwise() -> None:
    rules = (DEPLOY / "prometheus/rules/driftprint.yml").read_text()
    asked = [rules, *(expression for name in NAMES for _, expression in expressions(load(name)))]
    assert [query for query in asked if re.search(r"holt_winters|\b(le|quantile)\s*(=|!=)~?\s*\"", query)] == []
