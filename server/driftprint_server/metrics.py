"""What Prometheus is told.

Counters are the devices' own totals, so that a restart of the server leaves no gap. The gauges of a device
that is not online vanish, lest they look like measurements; its counters, `driftprint_device_up` and
`driftprint_last_seen_timestamp_seconds` stay until it is forgotten. Samples carry no timestamps.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from driftprint.clock import Clock
from driftprint.exposition import (
    ALARM,
    DEVICE,
    DEVICE_CATALOGUE,
    DEVICE_INFO,
    HEALTH,
    LAST_SEEN,
    STREAM,
    UP,
    WINDOW_AT,
    Families,
    HealthReport,
    Several,
    Single,
    Spec,
    WindowReport,
    window_readings,
)
from driftprint.version import VERSION
from driftprint_server.counts import Counts
from driftprint_server.device import Device, Liveness, Stream
from driftprint_server.fleet import Fleet
from driftprint_server.text_format import head, lines

M = TypeVar("M")

SERVER_INFO = Spec("driftprint_server_info", "gauge", ("version",), "Always 1; the version of the server.")
SERVER_CONNECTED = Spec(
    "driftprint_server_connected", "gauge", (), "Whether the server is connected to the broker and subscribed."
)
SERVER_MESSAGES = Spec("driftprint_server_messages_total", "counter", ("kind",), "Messages taken in, by kind.")
SERVER_REJECTED = Spec("driftprint_server_rejected_total", "counter", ("reason",), "Messages rejected, by reason.")
SERVER_ACKED = Spec("driftprint_server_acknowledged_total", "counter", (), "Messages stored and acknowledged.")
SERVER_QUEUE = Spec("driftprint_server_queue_messages", "gauge", (), "Messages received but not yet taken in.")
SERVER_STORE_ERRORS = Spec("driftprint_server_store_errors_total", "counter", (), "Writes that the store refused.")
SERVER_DEVICES = Spec("driftprint_server_devices", "gauge", ("state",), "Known devices, by state.")

SERVER_CATALOGUE = (
    *(SERVER_INFO, SERVER_CONNECTED, SERVER_MESSAGES, SERVER_REJECTED, SERVER_ACKED, SERVER_QUEUE),
    *(SERVER_STORE_ERRORS, SERVER_DEVICES),
)
"""The server's own metrics, in the order of exposition."""

CATALOGUE = (*DEVICE_CATALOGUE, *SERVER_CATALOGUE)
"""Every metric of ``/metrics``, in the order of exposition."""


class DeviceMetrics:
    """The fleet's devices as Prometheus sees them.

    Args:
        fleet: the devices.
        clock: tells who is silent.
        stale_after_seconds: how long is silent.
        max_classes: at most this many predicted classes a stream, those with the most frames.
    """

    def __init__(self, fleet: Fleet, *, clock: Clock, stale_after_seconds: float, max_classes: int) -> None:
        self._fleet = fleet
        self._clock = clock
        self._stale_after_seconds = stale_after_seconds
        self._readings = window_readings(max_classes)

    def text(self) -> Iterator[str]:
        """All families with their samples, those without samples too: as text, a piece at a time."""
        rows = _Rows()
        now = self._clock.now().wall
        for device in self._fleet.devices():
            rows.add(device, device.liveness(now, stale_after_seconds=self._stale_after_seconds) is Liveness.ONLINE)
        yield from _families(DEVICE, (Single(UP, bool),), rows.up)
        yield from _families(DEVICE, (Single(LAST_SEEN, float),), rows.last_seen)
        yield from _families(DEVICE, (Several(DEVICE_INFO, lambda version: [((version,), 1)]),), rows.versions)
        yield from _families(DEVICE, HEALTH.lasting, rows.health)
        yield from _families(DEVICE, HEALTH.present, rows.health_present)
        yield from _families(STREAM, (Single(WINDOW_AT, float),), rows.window_at)
        yield from _families(STREAM, self._readings.lasting, rows.windows)
        yield from _families(STREAM, self._readings.present, rows.windows_present)
        yield from _families(STREAM, (Single(ALARM, bool),), rows.alarms)


@dataclass(frozen=True, slots=True)
class _Rows:
    """What there is to be shown, with its labels."""

    up: list[tuple[str, bool]] = field(default_factory=list)
    last_seen: list[tuple[str, float]] = field(default_factory=list)
    versions: list[tuple[str, str]] = field(default_factory=list)
    health: list[tuple[str, HealthReport]] = field(default_factory=list)
    health_present: list[tuple[str, HealthReport]] = field(default_factory=list)
    window_at: list[tuple[str, float]] = field(default_factory=list)
    windows: list[tuple[str, WindowReport]] = field(default_factory=list)
    windows_present: list[tuple[str, WindowReport]] = field(default_factory=list)
    alarms: list[tuple[str, bool]] = field(default_factory=list)

    def add(self, device: Device, online: bool) -> None:
        own = f'site="{device.site}",device="{device.name}"'  # ids have nothing to be escaped
        self.up.append((own, online))
        if device.last_seen is not None:
            self.last_seen.append((own, device.last_seen))
        if device.health is not None:
            self.health.append((own, device.health.message))
            if online:
                self.health_present.append((own, device.health.message))
        if online and device.state is not None:
            self.versions.append((own, device.state.message.agent_version))
        for stream in device.streams.values():
            self._add_stream(f'{own},stream="{stream.name}"', device, stream, online and device.runs(stream.name))

    def _add_stream(self, own: str, device: Device, stream: Stream, present: bool) -> None:
        if present:
            self.alarms.append((own, device.alarm(stream.name)))
        if stream.window is not None:
            self.window_at.append((own, stream.window.at))
            self.windows.append((own, stream.window.message))
            if present:
                self.windows_present.append((own, stream.window.message))


def _families(
    own: Sequence[str], readings: Iterable[Single[M] | Several[M]], rows: Sequence[tuple[str, M]]
) -> Iterator[str]:
    for reading in readings:
        yield head(reading.spec)
        yield from lines(reading, own, rows)


class ServerCollector(Collector):
    """The server as Prometheus sees it.

    Args:
        counts: what the server counts of itself.
        connected: whether the broker is there.
        queue_length: messages not yet taken in.
        devices: how many are known, by state; a replica knows none.
    """

    def __init__(
        self,
        *,
        counts: Counts,
        connected: Callable[[], bool],
        queue_length: Callable[[], int],
        devices: Callable[[], Mapping[Liveness, int]] = dict,
    ) -> None:
        self._counts = counts
        self._connected = connected
        self._queue_length = queue_length
        self._devices = devices

    def describe(self) -> list[Metric]:
        """Names are known beforehand; nothing is collected at registration."""
        return []

    def collect(self) -> Iterator[Metric]:
        """All families with their samples; those without samples too."""
        families = Families(SERVER_CATALOGUE)
        families.add(SERVER_INFO, (VERSION,), 1)
        families.add(SERVER_CONNECTED, (), self._connected())
        for kind, total in self._counts.messages.items():
            families.add(SERVER_MESSAGES, (kind.value,), total)
        for reason, total in self._counts.rejected.items():
            families.add(SERVER_REJECTED, (reason.value,), total)
        families.add(SERVER_ACKED, (), self._counts.acks)
        families.add(SERVER_QUEUE, (), self._queue_length())
        families.add(SERVER_STORE_ERRORS, (), self._counts.store_errors)
        for state, devices in self._devices().items():
            families.add(SERVER_DEVICES, (state.value,), devices)
        yield from families.metrics()


def exposition(text: Iterable[str], *collectors: Collector) -> Iterator[bytes]:
    """What a scrape is answered with, in the text format.

    Args:
        text: some families, already as text.
        collectors: have the others.
    """
    for part in text:
        yield part.encode()
    registry = CollectorRegistry(auto_describe=False)
    for collector in collectors:
        registry.register(collector)
    yield generate_latest(registry)
