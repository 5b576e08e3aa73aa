"""The dashboards over what replicas write, in real databases: a device shows there for as long as it speaks."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from driftprint.messages import DeviceStatus
from tests.deploy.grafana_json import expressions, filled, load
from tests.server.clocks import FakeClock
from tests.server.messages import health, state, window
from tests.server.remote_write.databases import Database, Prometheus, VictoriaMetrics
from tests.server.remote_write.writers import accept, make_sink

MINUTES = 12
"""Databases look back for five."""
CHOSEN = {
    "fleet": {"site": ".+"},
    "device": {"site": "north", "device": "pi-1", "stream": ".+"},
    "bundle": {"bundle": window().bundle.name, "version": str(window().bundle.version), "site": ".+"},
    "monitor": {},
}
OF_SERVERS = {("fleet", "Server"), ("bundle", "Rollouts")}
OF_DEVICES = {
    *("Messages waiting on devices", "Devices by state", "Silent devices"),
    *("Silent streams of devices that are online", "Devices' disks"),
}
"""What the monitor's dashboard shows of devices. The rest is of servers and replicas, which are scraped."""


@pytest.fixture(scope="module", params=[VictoriaMetrics, Prometheus])
def database(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    """Holds what three devices have said: one speaks still, one has just stopped, one has said goodbye."""
    made: type[VictoriaMetrics] | type[Prometheus] = request.param
    folder: Path = tmp_path_factory.mktemp("written")
    database = made(folder / "database")
    database.start()
    clock = FakeClock(time.time() - 60 * MINUTES)
    sink, _ = make_sink(database.write_url, clock)
    for device in ("pi-1", "pi-2", "pi-3"):
        sink.write([accept(message, clock.wall) for message in (state(device=device), health(device=device))])
        sink.write([accept(window(1, device=device, recorded_at=clock.wall), clock.wall)])
    sink.write([accept(state(DeviceStatus.OFFLINE, device="pi-3"), clock.wall + 1)])
    for seq in range(2, 6 * MINUTES + 1):
        clock.wall += 10
        told = [window(seq, recorded_at=clock.wall, frames_total=100 * seq), health()]
        sink.write([accept(message, clock.wall) for message in told])
    yield database
    database.kill()


def shown(database: Database, name: str, title: str) -> dict[str, float]:
    """What a panel shows, by the labels' values but for the site's."""
    [expression] = [expression for panel, expression in expressions(load(name)) if panel == title]
    return by_label(database, filled(expression, CHOSEN[name]))


def by_label(database: Database, expression: str) -> dict[str, float]:
    found = database.query(expression)
    return {"/".join(value for label, value in labels if label != "site"): value for labels, value in found.items()}


def test_every_panel_about_devices_shows_something(database: Database) -> None:
    empty = [
        f"{name}: {title}: {expression}"
        for name in CHOSEN
        for title, expression in expressions(load(name))
        if (name != "monitor" or title in OF_DEVICES)
        and (name, title) not in OF_SERVERS
        and not database.query(filled(expression, CHOSEN[name] | {"__rate_interval": "1m"}))
    ]
    assert empty == []


def test_devices_that_are_silent_are_counted_as_a_server_would(database: Database) -> None:
    assert shown(database, "fleet", "Devices by state") == {"online": 1, "stale": 1, "offline": 1}
    assert shown(database, "monitor", "Devices by state") == {"online": 1, "stale": 1, "offline": 1}


def test_devices_are_listed_with_how_long_they_have_been_silent(database: Database) -> None:
    silent_for, up, _ = (
        by_label(database, filled(expression, CHOSEN["fleet"]))
        for title, expression in expressions(load("fleet"))
        if title == "Devices"
    )
    assert up == {"pi-1": 1, "pi-2": 0, "pi-3": 0}
    assert silent_for["pi-1"] < 120
    assert {device for device, seconds in silent_for.items() if seconds >= 60 * MINUTES} == {"pi-2", "pi-3"}


@pytest.mark.parametrize(("device", "up"), [("pi-1", 1), ("pi-2", 0), ("pi-3", 0), ("unheard-of", None)])
def test_a_device_says_whether_it_is_up(database: Database, device: str, up: float | None) -> None:
    [expression] = [expression for title, expression in expressions(load("device")) if title == "State"]
    assert database.value(filled(expression, CHOSEN["device"] | {"device": device})) == up
