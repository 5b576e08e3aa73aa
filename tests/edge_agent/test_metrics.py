"""The device's own /metrics, scraped over HTTP."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.client import HTTPConnection

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse

from driftprint.errors import ConfigError
from driftprint.exposition import DEVICE_CATALOGUE, STREAM
from driftprint.messages import AlertStatus, Cause, ClassStats, DeviceMessage, WindowKind, WindowStats
from driftprint.version import VERSION
from driftprint_edge.metrics import Metrics, MetricsSettings
from driftprint_edge.scrape import DeviceCollector
from driftprint_server.config import FleetSettings
from driftprint_server.fleet import Fleet
from driftprint_server.metrics import DeviceMetrics
from tests.brokers import free_port
from tests.promtool import promtool_complaints
from tests.server.clocks import FakeClock
from tests.server.messages import alert, health, state, window

STREAM_GAUGES = {
    spec.name for spec in DEVICE_CATALOGUE if spec.labels[: len(STREAM)] == STREAM and spec.type != "counter"
} - {"driftprint_window_timestamp_seconds", "driftprint_bundle_error"}

Key = tuple[str, tuple[tuple[str, str], ...]]


class Scraped:
    """A device's metrics and whoever scrapes them."""

    def __init__(self, clock: FakeClock, host: str = "127.0.0.1") -> None:
        self.clock = clock
        self.host = host
        self.port = free_port()
        self.metrics = Metrics(
            MetricsSettings(host=host, port=self.port),
            site="north",
            device="pi-1",
            report_seconds={"belt": 10, "chute": 100},
            health_seconds=20,
            clock=clock,
        )
        self.metrics.start()

    def take(self, *messages: DeviceMessage) -> None:
        for message in messages:
            self.metrics.take(message)

    def text(self, accept: str = "*/*") -> str:
        connection = HTTPConnection(self.host, self.port, timeout=30)
        connection.request("GET", "/metrics", headers={"Accept": accept})
        return connection.getresponse().read().decode()

    def samples(self) -> dict[Key, float]:
        return samples(self.text())

    def value(self, name: str, **labels: str) -> float | None:
        labels = {"site": "north", "device": "pi-1", **labels}
        return self.samples().get((name, tuple(sorted(labels.items()))))

    def names(self, stream: str) -> set[str]:
        return {name for name, labels in self.samples() if ("stream", stream) in labels}


def samples(text: str) -> dict[Key, float]:
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in parse(text)
        for sample in family.samples
    }


@pytest.fixture
def scrape(clock: FakeClock) -> Iterator[Callable[..., Scraped]]:
    """Starts a device's metrics."""
    started: list[Scraped] = []

    def start(*messages: DeviceMessage, host: str = "127.0.0.1") -> Scraped:
        started.append(Scraped(clock, host))
        started[-1].take(*messages)
        return started[-1]

    yield start
    for scraped in started:
        scraped.metrics.close()


def told_by_the_server(clock: FakeClock, *messages: DeviceMessage) -> dict[Key, float]:
    """What a server with default settings exposes of a fleet."""
    settings = FleetSettings()
    fleet = Fleet(max_devices=settings.max_devices, forget_after_seconds=settings.forget_after_seconds)
    for message in messages:
        fleet.apply(message, clock.wall)
    metrics = DeviceMetrics(
        fleet, clock=clock, stale_after_seconds=settings.stale_after_seconds, max_classes=settings.max_classes
    )
    return samples("".join(metrics.text()))


NOW = FakeClock().wall
MANY_CLASSES = WindowStats(
    kind=WindowKind.COUNT,
    limit=100,
    frames=100,
    outlier_ratio=0.5,
    classes={f"c{n}": ClassStats(frames=n, outlier_ratio=0.5) for n in range(30)},
    score_quantiles={"0.5": 1.0, "nan": 2.0},
)
RICH = window(
    3, recorded_at=NOW, ratio=0.25, camera_faults=(Cause.BLACK,), class_mix_alarm=True, faults_total={"shape": 2}
)
CHUTE = window(7, recorded_at=NOW, stream="chute", windows=(MANY_CLASSES,))
HISTORIES: dict[str, tuple[DeviceMessage, ...]] = {
    "nothing measured": (),
    "two streams": (health(), window(2, recorded_at=NOW - 10), RICH, CHUTE),
    "an alert before its window": (health(), RICH, alert(4)),
    "an alert before any window": (alert(1),),
    "an alert that has cleared": (
        *(RICH, alert(4), window(5, recorded_at=NOW, alarm=True)),
        alert(6, revision=1, status=AlertStatus.CLEARED),
    ),
    "an alert of another cause": (RICH, alert(4, cause=Cause.BLURRED)),
}


@pytest.mark.parametrize("history", HISTORIES.values(), ids=HISTORIES)
def test_a_device_tells_of_itself_what_the_server_tells_of_it(
    scrape: Callable[..., Scraped], clock: FakeClock, history: tuple[DeviceMessage, ...]
) -> None:
    online = state(agent_version=VERSION, streams=("belt", "chute"))
    assert scrape(*history).samples() == told_by_the_server(clock, online, *history)


@pytest.mark.parametrize("history", HISTORIES.values(), ids=HISTORIES)
def test_promtool_has_nothing_to_complain_of(
    scrape: Callable[..., Scraped], history: tuple[DeviceMessage, ...]
) -> None:
    assert promtool_complaints(scrape(*history).text()) == ""


def test_openmetrics_is_served_where_it_is_asked_for(scrape: Callable[..., Scraped]) -> None:
    text = scrape(health(), RICH).text(accept="application/openmetrics-text; version=1.0.0")
    families = {family.name for family in parse_openmetrics(text)}  # type: ignore[no-untyped-call]
    assert families == {spec.name.removesuffix("_total") for spec in DEVICE_CATALOGUE}


def test_the_gauges_of_a_stream_that_has_not_reported_for_three_intervals_vanish_and_its_counters_stay(
    scrape: Callable[..., Scraped], clock: FakeClock
) -> None:
    scraped = scrape(RICH, CHUTE)
    belt, chute = scraped.names("belt"), scraped.names("chute")
    clock.wall += 30
    assert scraped.names("belt") == belt
    clock.wall += 1
    assert belt - scraped.names("belt") == STREAM_GAUGES
    assert scraped.names("chute") == chute
    assert scraped.value("driftprint_frames_total", stream="belt") == 300
    assert scraped.value("driftprint_window_timestamp_seconds", stream="belt") == NOW
    assert scraped.value("driftprint_device_up") == 1
    scraped.take(RICH)
    assert scraped.names("belt") == belt


def test_an_alert_does_not_make_an_old_window_a_new_one(scrape: Callable[..., Scraped], clock: FakeClock) -> None:
    scraped = scrape(RICH)
    clock.wall += 31
    scraped.take(alert(4))
    assert scraped.names("belt").isdisjoint(STREAM_GAUGES)


def test_the_outbox_is_not_shown_when_nothing_has_been_said_of_it_for_long(
    scrape: Callable[..., Scraped], clock: FakeClock
) -> None:
    scraped = scrape(health())
    clock.wall += 60
    assert scraped.value("driftprint_outbox_messages") == 2
    clock.wall += 1
    assert scraped.value("driftprint_outbox_messages") is None
    assert scraped.value("driftprint_outbox_dropped_total") == 1


@pytest.fixture
def busy_threads() -> Iterator[None]:
    """Has threads take turns as often as they can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


@pytest.mark.usefixtures("busy_threads")
def test_streams_may_report_while_they_are_scraped(clock: FakeClock) -> None:
    windows = [window(stream=f"s{n}", windows=()) for n in range(1000)]
    collector = DeviceCollector(
        site="north",
        device="pi-1",
        report_seconds={message.stream: 1.0 for message in windows},
        health_seconds=1,
        clock=clock,
    )

    def report(first: int) -> None:
        for message in windows[first::4]:
            collector.take(message)

    threads = [threading.Thread(target=report, args=(first,)) for first in range(4)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        list(collector.collect())
    [frames] = [family for family in collector.collect() if family.name == "driftprint_frames"]
    assert len(frames.samples) == len(windows)


def test_a_client_that_says_nothing_keeps_no_other_waiting(scrape: Callable[..., Scraped]) -> None:
    scraped = scrape()
    with socket.create_connection((scraped.host, scraped.port)):
        assert scraped.value("driftprint_device_up") == 1


def test_only_the_address_that_was_asked_for_is_listened_on(scrape: Callable[..., Scraped]) -> None:
    scraped = scrape()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.2", scraped.port), timeout=30)


def test_it_listens_on_an_ipv6_address_as_well(scrape: Callable[..., Scraped]) -> None:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("this machine has no IPv6")
    assert scrape(host="::1").value("driftprint_device_up") == 1


def test_a_port_in_use_is_named_and_is_free_again_after_close(clock: FakeClock) -> None:
    first = Scraped(clock)
    second = Metrics(
        MetricsSettings(port=first.port), site="north", device="pi-2", report_seconds={}, health_seconds=1, clock=clock
    )
    with pytest.raises(ConfigError, match=rf"^metrics\.port: cannot listen on 127\.0\.0\.1:{first.port} \(.*in use"):
        second.start()
    first.metrics.close()
    second.start()
    second.close()


WITHOUT_THE_PACKAGE = """
import sys
sys.modules["prometheus_client"] = None  # as Python marks a module that cannot be imported
import driftprint_edge.agent
from driftprint.clock import SystemClock
from driftprint.errors import MissingExtraError
from driftprint_edge.metrics import Metrics, MetricsSettings

def make(**settings):
    return Metrics(
        MetricsSettings(**settings), site="x", device="y", report_seconds={}, health_seconds=1, clock=SystemClock()
    )

off = make()
off.start()
off.close()
try:
    make(port=9000)
except MissingExtraError as error:
    print(error)
"""


def test_without_its_package_the_agent_works_and_says_what_to_install_where_metrics_are_asked_for() -> None:
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_THE_PACKAGE], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.stderr == ""
    assert done.stdout == (
        "metrics.port needs the package prometheus_client; install them with: pip install 'driftprint[metrics]'\n"
    )
