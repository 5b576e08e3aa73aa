"""What Prometheus is told.

Counters are the devices' own totals, so that a restart of the server leaves no gap. The gauges of a device
that is not online vanish, lest they look like measurements; its counters, `driftprint_device_up` and
`driftprint_last_seen_timestamp_seconds` stay until it is forgotten. Samples carry no timestamps.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from prometheus_client import CollectorRegistry
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from driftprint.clock import Clock
from driftprint.exposition import (
    ALARM,
    DEVICE_CATALOGUE,
    DEVICE_INFO,
    LAST_SEEN,
    UP,
    Families,
    Spec,
    add_health,
    add_window,
)
from driftprint.version import VERSION
from driftprint_server.counts import Counts
from driftprint_server.device import Device, Liveness, Stream
from driftprint_server.fleet import Fleet

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


class FleetCollector(Collector):
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
        self._max_classes = max_classes

    def describe(self) -> list[Metric]:
        """Names are known beforehand; nothing is collected at registration."""
        return []

    def collect(self) -> Iterator[Metric]:
        """All families with their samples; those without samples too."""
        families = Families(DEVICE_CATALOGUE)
        now = self._clock.now().wall
        for device in self._fleet.devices():
            self._device(families, device, device.liveness(now, stale_after_seconds=self._stale_after_seconds))
        yield from families.metrics()

    def _device(self, families: Families, device: Device, liveness: Liveness) -> None:
        labels = (device.site, device.name)
        online = liveness is Liveness.ONLINE
        families.add(UP, labels, online)
        if device.last_seen is not None:
            families.add(LAST_SEEN, labels, device.last_seen)
        if device.health is not None:
            add_health(families, labels, device.health.message, present=online)
        if online and device.state is not None:
            families.add(DEVICE_INFO, (*labels, device.state.message.agent_version), 1)
        for stream in device.streams.values():
            self._stream(families, device, stream, present=online and device.runs(stream.name))

    def _stream(self, families: Families, device: Device, stream: Stream, *, present: bool) -> None:
        labels = (device.site, device.name, stream.name)
        if present:
            families.add(ALARM, labels, device.alarm(stream.name))
        if stream.window is not None:
            add_window(
                families,
                labels,
                stream.window.message,
                at=stream.window.at,
                present=present,
                max_classes=self._max_classes,
            )


class ServerCollector(Collector):
    """The server as Prometheus sees it.

    Args:
        fleet: the devices.
        counts: what the server counts of itself.
        clock: tells who is silent.
        stale_after_seconds: how long is silent.
        connected: whether the broker is there.
        queue_length: messages not yet taken in.
    """

    def __init__(
        self,
        fleet: Fleet,
        *,
        counts: Counts,
        clock: Clock,
        stale_after_seconds: float,
        connected: Callable[[], bool],
        queue_length: Callable[[], int],
    ) -> None:
        self._fleet = fleet
        self._counts = counts
        self._clock = clock
        self._stale_after_seconds = stale_after_seconds
        self._connected = connected
        self._queue_length = queue_length

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
        for state, devices in self._devices_by_state().items():
            families.add(SERVER_DEVICES, (state.value,), devices)
        yield from families.metrics()

    def _devices_by_state(self) -> dict[Liveness, int]:
        now = self._clock.now().wall
        states = dict.fromkeys(Liveness, 0)
        for device in self._fleet.devices():
            states[device.liveness(now, stale_after_seconds=self._stale_after_seconds)] += 1
        return states


def make_registry(*collectors: Collector) -> CollectorRegistry:
    """A registry with nothing else in it."""
    registry = CollectorRegistry(auto_describe=False)
    for collector in collectors:
        registry.register(collector)
    return registry
