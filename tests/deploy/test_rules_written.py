"""The rules over what replicas write, in real databases: nobody says there that a device is silent."""

from __future__ import annotations

import re
import shlex
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.brokers import free_port, wait_for
from tests.deploy.alerting_programs import DEPLOY, Program, find_program, impatient
from tests.server.clocks import FakeClock
from tests.server.messages import state, window
from tests.server.remote_write.databases import Database, Prometheus, VictoriaMetrics
from tests.server.remote_write.writers import accept, make_sink

RULES = DEPLOY / "prometheus/rules/driftprint.yml"
PAGE = DEPLOY.parent / "docs/scaling.md"
ALMOST_GONE_SECONDS = 285.0
"""Databases look back for five minutes."""


@pytest.fixture
def rules(tmp_path: Path) -> Path:
    path = tmp_path / "driftprint.yml"
    path.write_text(impatient(RULES))
    return path


@pytest.fixture
def prometheus(tmp_path: Path, rules: Path) -> Iterator[Database]:
    """A Prometheus that is written to, and evaluates the rules itself."""
    database = Prometheus(tmp_path / "prometheus")
    config = database.folder / "prometheus.yml"
    text = config.read_text().replace("global:", "global:\n  evaluation_interval: 500ms")
    config.write_text(f"{text}rule_files: [{rules}]\n")
    database.start()
    yield database
    database.kill()


@pytest.fixture
def victoria_metrics(tmp_path: Path, rules: Path) -> Iterator[Database]:
    """VictoriaMetrics, and vmalert as docs/scaling.md has it, but for its patience."""
    database = VictoriaMetrics(tmp_path / "victoria-metrics")
    database.start()
    [command] = re.findall(r"^```\n(vmalert .*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    command = command.replace("deploy/prometheus/rules/driftprint.yml", str(rules))
    command = command.replace("http://victoria-metrics.example:8428", database.url)
    command = command.replace("alertmanager.example:9093", f"127.0.0.1:{free_port()}").replace("=15s", "=500ms")
    name, *options = shlex.split(command.replace("\\\n", ""))
    address = f"127.0.0.1:{free_port()}"
    vmalert = Program(
        [
            find_program(name, package="victoria-metrics"),
            *options,
            "-remoteWrite.flushInterval=100ms",
            f"-httpListenAddr={address}",
        ],
        tmp_path / "vmalert",
        ready=f"http://{address}/health",
    )
    yield database
    vmalert.kill()
    database.kill()


@pytest.fixture(params=["prometheus", "victoria_metrics"])
def database(request: pytest.FixtureRequest) -> Database:
    """Each of the two."""
    found = request.getfixturevalue(request.param)
    assert isinstance(found, Database)
    return found


def told_of(database: Database, alert: str, *, after: float) -> set[str] | None:
    """The devices that an alert is raised of by an evaluation after a time; None where that is still to come."""
    raised = database.query(f'timestamp(ALERTS{{alertname="{alert}", alertstate="firing"}}) > {after}')
    return {dict(labels)["device"] for labels in raised} if time.time() > after else None


def wait_until_told(database: Database, devices: set[str], *, after: float) -> None:
    """Wait until of these devices alone it is told that they are silent, and of drift."""
    wait_for(lambda: told_of(database, "DriftprintDeviceSilent", after=after) == devices, what="who is silent")
    wait_for(lambda: told_of(database, "DriftprintDrift", after=after) == devices, what="who sees drift")


def test_a_device_that_just_stops_is_silent_and_its_drift_holds_until_it_speaks_again(database: Database) -> None:
    clock = FakeClock(time.time() - ALMOST_GONE_SECONDS)
    sink, _ = make_sink(database.write_url, clock)
    sink.write([accept(state(), clock.wall), accept(window(1, recorded_at=clock.wall, alarm=True), clock.wall)])
    alive = FakeClock(time.time())
    sink, _ = make_sink(database.write_url, alive)
    others = [state(device="pi-2"), window(1, device="pi-2", recorded_at=alive.wall)]
    sink.write([accept(message, alive.wall) for message in others])

    wait_until_told(database, {"pi-1"}, after=0.0)
    wait_for(lambda: not database.query('driftprint_alarm_active{device="pi-1"}'), what="its last samples to be old")
    wait_until_told(database, {"pi-1"}, after=time.time() + 1)

    back = FakeClock(time.time())
    sink, _ = make_sink(database.write_url, back)
    sink.write([accept(window(2, recorded_at=back.wall, alarm=False), back.wall)])
    wait_until_told(database, set(), after=back.wall + 3)
