import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from driftprint.messages import AlertStatus, Cause
from driftprint_server.aggregates import AggregateCollector
from driftprint_server.counts import Counts
from driftprint_server.fleet import Fleet
from driftprint_server.metrics import FleetCollector, ServerCollector, make_registry
from driftprint_server.views import FleetView, fleet_view
from driftprint_server.web import fleet_events, make_app
from tests.server.clocks import FakeClock
from tests.server.messages import NEW, alert, health, state, window


class Site:
    """The application over a fleet."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.fleet = Fleet(max_devices=100, forget_after_seconds=1000)
        self.problems: list[str] = []
        self.stopping = False
        of_devices = FleetCollector(self.fleet, clock=self.clock, stale_after_seconds=60, max_classes=2)
        of_server = ServerCollector(
            self.fleet,
            counts=Counts(),
            clock=self.clock,
            stale_after_seconds=60,
            connected=lambda: True,
            queue_length=lambda: 0,
        )
        of_fleet = AggregateCollector(self.fleet, clock=self.clock, stale_after_seconds=60)
        self.app: FastAPI = make_app(
            registry=make_registry(of_devices, of_server),
            fleet_registry=make_registry(of_fleet, of_server),
            view=self.view,
            problems=lambda: self.problems,
            stopping=lambda: self.stopping,
        )

    def view(self) -> FleetView:
        return fleet_view(self.fleet, self.clock.wall, stale_after_seconds=60)

    def get(self, path: str, **headers: str) -> httpx.Response:
        async def fetch() -> httpx.Response:
            transport = httpx.ASGITransport(self.app)
            async with httpx.AsyncClient(transport=transport, base_url="http://server") as client:
                return await client.get(path, headers=headers)

        return asyncio.run(fetch())


@pytest.fixture
def site() -> Site:
    return Site()


def test_metrics_are_served_in_the_format_asked_for(site: Site) -> None:
    site.fleet.apply(window(1), site.clock.wall)
    plain = site.get("/metrics")
    assert plain.headers["content-type"].startswith("text/plain")
    assert 'driftprint_frames_total{device="pi-1",site="north",stream="belt"} 100.0' in plain.text
    openmetrics = site.get("/metrics", accept="application/openmetrics-text; version=1.0.0")
    assert openmetrics.headers["content-type"].startswith("application/openmetrics-text")
    assert openmetrics.text.endswith("# EOF\n")


def test_healthz_says_what_is_wrong(site: Site) -> None:
    fine = site.get("/healthz")
    assert (fine.status_code, fine.json()) == (200, {"ok": True, "problems": []})
    site.problems = ["not connected to the broker"]
    broken = site.get("/healthz")
    assert (broken.status_code, broken.json()) == (503, {"ok": False, "problems": ["not connected to the broker"]})


def test_the_fleet_is_served_as_json(site: Site) -> None:
    site.fleet.apply(state(streams=("belt", "silent")), site.clock.wall)
    site.fleet.apply(health(), site.clock.wall)
    site.fleet.apply(window(3, ratio=0.25, camera_faults=(Cause.COVERED,)), site.clock.wall - 2)
    site.fleet.apply(alert(4, recorded_at=60.0, raised_at=50.0), site.clock.wall)
    view = site.get("/api/fleet").json()
    assert view["now"] == site.clock.wall
    (device,) = view["devices"]
    assert device["state"] == "online"
    assert device["outbox_messages"] == 2
    belt, silent = device["streams"]
    assert belt == {
        "stream": "belt",
        "alarm": True,
        "bundle": "digits-1",
        "window_at": site.clock.wall - 2,
        "frames_per_second": 10.0,
        "outlier_ratio": 0.25,
        "outlier_ratio_by_time": 0.125,
        "evidence": 0.2,
        "class_mix_alarm": False,
        "camera_faults": ["covered"],
        "frames_total": 300,
        "outliers_total": 12,
        "faults_total": {"undecodable": 3},
        "alerts_total": 0,
    }
    assert (silent["stream"], silent["window_at"], silent["outlier_ratio"]) == ("silent", None, None)
    (shown,) = view["alerts"]
    assert shown["current"] is True
    assert shown["raised_at"] == site.clock.wall - 10


def test_measurements_of_an_absent_device_are_not_shown(site: Site) -> None:
    site.fleet.apply(window(3), site.clock.wall)
    site.clock.wall += 61
    (device,) = site.get("/api/fleet").json()["devices"]
    assert device["state"] == "stale"
    (belt,) = device["streams"]
    assert (belt["frames_per_second"], belt["outlier_ratio"], belt["evidence"]) == (None, None, None)
    assert belt["frames_total"] == 300


def test_current_alerts_come_before_later_ones_that_are_over(site: Site) -> None:
    site.fleet.apply(alert(1, number=1), site.clock.wall)
    site.fleet.apply(alert(2, number=2, status=AlertStatus.CLEARED), site.clock.wall + 5)
    site.fleet.apply(alert(1, number=3, device="reset"), site.clock.wall + 6)
    site.fleet.apply(window(1, device="reset", instance=NEW), site.clock.wall + 7)
    shown = [(alert["device"], alert["current"]) for alert in site.get("/api/fleet").json()["alerts"]]
    assert shown == [("pi-1", True), ("reset", False), ("pi-1", False)]


@pytest.mark.parametrize("path", ["/", "/static/app.js", "/static/app.css", "/metrics", "/healthz", "/nowhere"])
def test_every_answer_carries_the_security_headers(site: Site, path: str) -> None:
    headers = site.get(path, origin="https://elsewhere.example").headers
    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "http" not in policy
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-frame-options"] == "DENY"
    assert "access-control-allow-origin" not in headers


def test_the_page_refers_to_nothing_elsewhere_and_has_nothing_inline(site: Site) -> None:
    page = site.get("/").text
    assert "://" not in page
    assert "style=" not in page
    assert "<script>" not in page
    for path in ("/static/app.js", "/static/charts.js", "/static/words.js", "/static/app.css", "/static/icon.svg"):
        text = site.get(path).text.replace("http://www.w3.org/2000/svg", "")
        assert "://" not in text
        assert "innerHTML" not in text


def test_files_outside_the_static_folder_are_not_served(site: Site) -> None:
    assert site.get("/static/..%2fweb.py").status_code == 404


async def events(stream: AsyncIterator[bytes], count: int) -> list[tuple[str, Any]]:
    taken = []
    for _ in range(count):
        event, data = (await stream.__anext__()).decode().strip().split("\n")
        taken.append((event.removeprefix("event: "), json.loads(data.removeprefix("data: "))))
    return taken


def test_events_tell_the_fleet_at_once_and_again_when_it_changes(site: Site) -> None:
    async def listen() -> list[tuple[str, Any]]:
        stream = fleet_events(site.view, lambda: site.stopping, event_seconds=0.01)
        first = await events(stream, 1)
        site.fleet.apply(window(1), site.clock.wall)
        second = await events(stream, 1)
        site.clock.wall += 61  # silence is a change too
        return first + second + await events(stream, 1)

    told = asyncio.run(asyncio.wait_for(listen(), timeout=10))
    assert [name for name, _ in told] == ["fleet"] * 3
    assert [[device["state"] for device in view["devices"]] for _, view in told] == [[], ["online"], ["stale"]]


def test_events_beat_while_nothing_changes(site: Site) -> None:
    async def listen() -> list[tuple[str, Any]]:
        stream = fleet_events(site.view, lambda: False, event_seconds=0.01, heartbeat_seconds=0.0)
        return await events(stream, 2)

    told = asyncio.run(asyncio.wait_for(listen(), timeout=10))
    assert told[1] == ("heartbeat", {"now": site.clock.wall})


def test_events_end_with_the_server(site: Site) -> None:
    site.stopping = True
    assert site.get("/api/fleet/events").text == ""


def test_the_fleet_as_a_whole_is_served_by_itself(site: Site) -> None:
    site.fleet.apply(window(3), site.clock.wall)
    whole = site.get("/metrics/fleet")
    assert 'driftprint_fleet_devices{site="north",state="online"} 1.0' in whole.text
    assert "pi-1" not in whole.text
    assert "driftprint_server_connected 1.0" in whole.text
    assert "openmetrics" in site.get("/metrics/fleet", Accept="application/openmetrics-text").headers["content-type"]
