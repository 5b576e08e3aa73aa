import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from fastapi import FastAPI, Request, Response
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware, RequestResponseEndpoint

from driftprint.messages import AlertStatus, Cause, DeviceMessage
from driftprint_server.access.identity import Identity, Role
from driftprint_server.aggregates import AggregateCollector
from driftprint_server.counts import Counts
from driftprint_server.fleet import Fleet
from driftprint_server.fleet_api import fleet_events, make_fleet_router
from driftprint_server.listing import Listing
from driftprint_server.metrics import DeviceMetrics, ServerCollector, exposition
from driftprint_server.records import kept
from driftprint_server.sinks import Accepted
from driftprint_server.sparklines import Sparklines
from driftprint_server.views import ServerView, fleet_view
from driftprint_server.web import STATIC, make_app
from tests.server.clocks import FakeClock
from tests.server.messages import NEW, alert, health, state, window


class Site:
    """The application over a fleet."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.fleet = Fleet(max_devices=100, forget_after_seconds=1000)
        self.problems: list[str] = []
        self.waiting = self.changes = 0
        self.stopping = False
        self.who: Identity | None = Identity("vera", Role.VIEWER)
        self.listing = Listing(
            self.fleet, clock=self.clock, stale_after_seconds=60, least_age_seconds=0.0, cpu_seconds=lambda: 0.0
        )
        self.sparklines = Sparklines(most_streams=100)
        of_devices = DeviceMetrics(self.fleet, clock=self.clock, stale_after_seconds=60, max_classes=2)
        of_server = ServerCollector(counts=Counts(), connected=lambda: True, queue_length=lambda: 0)
        of_fleet = AggregateCollector(self.fleet, clock=self.clock, stale_after_seconds=60)
        self.app: FastAPI = make_app(
            metrics=lambda: exposition(of_devices.text(), of_server),
            fleet_metrics=lambda: exposition((), of_fleet, of_server),
            problems=lambda: self.problems,
            routers=[
                make_fleet_router(
                    listing=self.listing,
                    sparklines=self.sparklines,
                    view=lambda: fleet_view(self.fleet, self.clock.wall, stale_after_seconds=60),
                    server=self.itself,
                    clock=self.clock,
                    stopping=lambda: self.stopping,
                )
            ],
            middleware=[Middleware(BaseHTTPMiddleware, dispatch=self._log_in)],
        )

    async def _log_in(self, request: Request, call_next: RequestResponseEndpoint) -> Response:
        request.state.identity = self.who
        return await call_next(request)

    def itself(self) -> ServerView:
        return ServerView(problems=tuple(self.problems), waiting=self.waiting, changes=self.changes)

    def take(self, message: DeviceMessage, *, after: float = 0.0) -> None:
        """A message that arrives some seconds from now."""
        body = kept(message)
        self.fleet.apply(body, self.clock.wall + after)
        self.sparklines.write([Accepted(body, self.clock.wall + after)])

    def get(self, path: str, **headers: str) -> httpx.Response:
        async def fetch() -> httpx.Response:
            transport = httpx.ASGITransport(self.app)
            async with httpx.AsyncClient(transport=transport, base_url="http://server") as client:
                return await client.get(path, headers=headers)

        return asyncio.run(fetch())


@pytest.fixture
def site() -> Site:
    return Site()


def test_metrics_are_served(site: Site) -> None:
    site.take(window(1))
    plain = site.get("/metrics")
    assert plain.headers["content-type"].startswith("text/plain")
    assert 'driftprint_frames_total{site="north",device="pi-1",stream="belt"} 100' in plain.text


def test_healthz_says_what_is_wrong(site: Site) -> None:
    fine = site.get("/healthz")
    assert (fine.status_code, fine.json()) == (200, {"ok": True, "problems": []})
    site.problems = ["not connected to the broker"]
    broken = site.get("/healthz")
    assert (broken.status_code, broken.json()) == (503, {"ok": False, "problems": ["not connected to the broker"]})


def test_the_fleet_is_served_as_json(site: Site) -> None:
    site.take(state(streams=("belt", "silent")))
    site.take(health())
    site.take(window(3, ratio=0.25, camera_faults=(Cause.COVERED,)), after=-2.0)
    site.take(alert(4, recorded_at=60.0, raised_at=50.0))
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
    site.take(window(3))
    site.clock.wall += 61
    (device,) = site.get("/api/fleet").json()["devices"]
    assert device["state"] == "stale"
    (belt,) = device["streams"]
    assert (belt["frames_per_second"], belt["outlier_ratio"], belt["evidence"]) == (None, None, None)
    assert belt["frames_total"] == 300


def test_current_alerts_come_before_later_ones_that_are_over(site: Site) -> None:
    site.take(alert(1, number=1))
    site.take(alert(2, number=2, status=AlertStatus.CLEARED), after=5.0)
    site.take(alert(1, number=3, device="reset"), after=6.0)
    site.take(window(1, device="reset", instance=NEW), after=7.0)
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
    files = [path.name for path in STATIC.iterdir()]
    assert len(files) > 15
    for name in files:
        text = site.get(f"/static/{name}").text.replace("http://www.w3.org/2000/svg", "")
        assert "://" not in text
        for way_in in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval("):
            assert way_in not in text


def test_files_outside_the_static_folder_are_not_served(site: Site) -> None:
    assert site.get("/static/..%2fweb.py").status_code == 404


def test_a_page_of_the_table_is_served_with_what_it_draws(site: Site) -> None:
    for number in range(5):
        site.take(window(1, device=f"pi-{number}", ratio=number / 10))
    site.take(window(2, device="pi-3", ratio=0.5))
    site.take(state(device="empty", streams=()))
    page = site.get("/api/fleet/streams?sort=outlier_ratio&descending=true&limit=2&offset=1").json()
    assert (page["total"], page["all"], page["version"]) == (6, 6, site.fleet.version)
    assert [row["device"] for row in page["rows"]] == ["pi-4", "pi-2"]
    (row,) = site.get("/api/fleet/streams?search=pi-3").json()["rows"]
    assert (row["site"], row["state"], row["last_seen"]) == ("north", "online", site.clock.wall)
    assert row["stream"]["outlier_ratio"] == 0.5
    assert row["outlier_ratios"] == pytest.approx([0.3, 0.5], abs=1e-3)


@pytest.mark.parametrize(
    "query", ["limit=0", "limit=501", "offset=-1", "sort=colour", "state=merry", "descending=7", f"search={'x' * 201}"]
)
def test_a_wrong_query_is_refused(site: Site, query: str) -> None:
    assert site.get(f"/api/fleet/streams?{query}").status_code == 422


def test_which_bundles_run_where_is_served(site: Site) -> None:
    site.take(window(1))
    site.take(state(site="south", device="new"))
    view = site.get("/api/fleet/bundles").json()
    assert (view["bundles"], view["total"]) == ({"digits-1": 1, "": 1}, 2)
    assert view["sites"][1] == {"site": "south", "streams": 1, "bundles": {"": 1}}
    assert [one["site"] for one in site.get("/api/fleet/bundles?search=NOR").json()["sites"]] == ["north"]


def test_a_device_is_served_with_its_health_classes_and_alerts(site: Site) -> None:
    site.take(state())
    site.take(health())
    site.take(window(1, ratio=0.25))
    site.take(alert(2))
    view = site.get("/api/fleet/devices/north/pi-1").json()
    assert (view["device"]["device"], view["device"]["state"]) == ("pi-1", "online")
    assert view["health"]["vitals"]["temperature_celsius"] == 61.5
    assert view["health"]["bundle_errors"] == {"belt": "toy-2: is not signed"}
    assert view["classes"]["belt"]["cat"] == {"frames": 150, "outlier_ratio": 0.25}
    assert [one["current"] for one in view["alerts"]] == [True]
    site.clock.wall += 61
    assert site.get("/api/fleet/devices/north/pi-1").json()["classes"] == {}


@pytest.mark.parametrize("path", ["", "/streams", "/bundles", "/devices/north/pi-1", "/events"])
def test_nobody_is_shown_the_fleet_without_logging_in(site: Site, path: str) -> None:
    site.take(state())
    site.who = None
    assert site.get(f"/api/fleet{path}").status_code == 401


def test_a_device_that_is_not_known_is_said_to_be_so(site: Site) -> None:
    answer = site.get("/api/fleet/devices/north/nobody")
    assert answer.status_code == 404
    assert "no device nobody at site north is known" in answer.json()["detail"]


async def events(stream: AsyncIterator[bytes], count: int) -> list[tuple[str, Any]]:
    taken = []
    for _ in range(count):
        event, data = (await stream.__anext__()).decode().strip().split("\n")
        taken.append((event.removeprefix("event: "), json.loads(data.removeprefix("data: "))))
    return taken


def test_events_tell_the_fleet_at_once_and_again_when_it_changes(site: Site) -> None:
    async def listen() -> list[tuple[str, Any]]:
        stream = fleet_events(site.listing.index, site.itself, site.clock, lambda: site.stopping, event_seconds=0.01)
        first = await events(stream, 1)
        site.take(window(1))
        site.take(alert(2))
        second = await events(stream, 1)
        site.clock.wall += 61  # silence is a change too
        return first + second + await events(stream, 1)

    told = asyncio.run(asyncio.wait_for(listen(), timeout=60))
    assert [name for name, _ in told] == ["fleet"] * 3
    assert [summary["figures"]["devices_online"] for _, summary in told] == [0, 1, 0]
    assert [len(summary["current_alerts"]) for _, summary in told] == [0, 1, 1]
    assert told[1][1]["version"] == site.fleet.version


def test_events_tell_what_changes_in_a_server_that_hears_nothing(site: Site) -> None:
    async def listen() -> list[tuple[str, Any]]:
        stream = fleet_events(
            site.listing.index, site.itself, site.clock, lambda: False, event_seconds=0.01, heartbeat_seconds=3600.0
        )
        told = await events(stream, 1)
        site.waiting = 1
        told += await events(stream, 1)
        site.changes = 7
        told += await events(stream, 1)
        site.problems = ["not connected to the broker"]
        return told + await events(stream, 1)

    told = asyncio.run(asyncio.wait_for(listen(), timeout=60))
    assert [name for name, _ in told] == ["fleet"] * 4
    assert [(one["server"]["waiting"], one["server"]["changes"], one["server"]["problems"]) for _, one in told] == [
        (0, 0, []),
        (1, 0, []),
        (1, 7, []),
        (1, 7, ["not connected to the broker"]),
    ]


def test_events_beat_while_nothing_changes(site: Site) -> None:
    async def listen() -> list[tuple[str, Any]]:
        stream = fleet_events(
            site.listing.index, site.itself, site.clock, lambda: False, event_seconds=0.01, heartbeat_seconds=0.0
        )
        return await events(stream, 2)

    told = asyncio.run(asyncio.wait_for(listen(), timeout=60))
    assert told[1] == ("heartbeat", {"now": site.clock.wall})


def test_events_end_with_the_server(site: Site) -> None:
    site.stopping = True
    assert site.get("/api/fleet/events").text == ""


def test_the_fleet_as_a_whole_is_served_by_itself(site: Site) -> None:
    site.take(window(3))
    whole = site.get("/metrics/fleet")
    assert 'driftprint_fleet_devices{site="north",state="online"} 1.0' in whole.text
    assert "pi-1" not in whole.text
    assert "driftprint_server_connected 1.0" in whole.text
