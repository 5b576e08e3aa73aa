"""What Prometheus is told.

Counters are the devices' own totals, so that a restart of the server leaves no gap. The gauges of a device
that is not online vanish, lest they look like measurements; its counters, `driftprint_device_up` and
`driftprint_last_seen_timestamp_seconds` stay until it is forgotten. Samples carry no timestamps.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from prometheus_client import CollectorRegistry
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from driftprint.clock import Clock
from driftprint.messages import CAMERA_FAULTS, WindowKind, WindowMessage, WindowStats
from driftprint.version import VERSION
from driftprint_server.counts import Counts
from driftprint_server.device import Device, Liveness, Stream
from driftprint_server.fleet import Fleet

DEVICE = ("site", "device")
STREAM = ("site", "device", "stream")


@dataclass(frozen=True, slots=True)
class Spec:
    """A metric family.

    Attributes:
        name: as it is exposed.
        type: ``counter``, ``gauge`` or ``summary``.
        labels: their names.
        help: one sentence.
    """

    name: str
    type: str
    labels: tuple[str, ...]
    help: str


UP = Spec("driftprint_device_up", "gauge", DEVICE, "Whether the device is online: connected, and not silent.")
LAST_SEEN = Spec(
    "driftprint_last_seen_timestamp_seconds", "gauge", DEVICE, "When the device last gave a sign of life, Unix time."
)
DEVICE_INFO = Spec("driftprint_device_info", "gauge", (*DEVICE, "version"), "Always 1; the version of the agent.")
OUTBOX = Spec(
    "driftprint_outbox_messages", "gauge", DEVICE, "Messages on the device that the server has not acknowledged yet."
)
OUTBOX_DROPPED = Spec(
    "driftprint_outbox_dropped_total", "counter", DEVICE, "Messages the device dropped because its outbox was full."
)
FRAMES = Spec("driftprint_frames_total", "counter", STREAM, "Frames scored.")
OUTLIERS = Spec("driftprint_outlier_frames_total", "counter", STREAM, "Frames scored that were outliers.")
FAULTY = Spec(
    "driftprint_faulty_frames_total", "counter", (*STREAM, "reason"), "Frames that could not be scored, by reason."
)
ALERTS = Spec("driftprint_alerts_total", "counter", STREAM, "Alerts of drift raised.")
WINDOW_AT = Spec(
    "driftprint_window_timestamp_seconds", "gauge", STREAM, "When the latest window was recorded, Unix time."
)
ALARM = Spec("driftprint_alarm_active", "gauge", STREAM, "Whether an alert of drift is raised now.")
EVIDENCE = Spec(
    "driftprint_evidence_ratio",
    "gauge",
    STREAM,
    "Log evidence for drift over the log of its threshold; an alarm is raised at 1.",
)
CAMERA_FAULT = Spec(
    "driftprint_camera_fault_active",
    "gauge",
    (*STREAM, "fault"),
    "Whether an alert about this fault of the camera is raised now.",
)
RATE = Spec("driftprint_frames_per_second", "gauge", STREAM, "Frames scored per second in the last report's interval.")
OUTLIER_RATIO = Spec(
    "driftprint_outlier_ratio",
    "gauge",
    (*STREAM, "window"),
    "Share of outliers in the sliding window by count or by time.",
)
CLASS_RATIO = Spec(
    "driftprint_class_outlier_ratio",
    "gauge",
    (*STREAM, "class"),
    "Share of outliers among the frames of one predicted class, in the window by count.",
)
SCORE = Spec(
    "driftprint_score", "summary", (*STREAM, "quantile"), "Quantiles of the outlier score in the window by count."
)
BUNDLE = Spec(
    "driftprint_bundle_info", "gauge", (*STREAM, "bundle", "version"), "Always 1; the bundle that the stream runs."
)
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

CATALOGUE = (
    *(UP, LAST_SEEN, DEVICE_INFO, OUTBOX, OUTBOX_DROPPED),
    *(FRAMES, OUTLIERS, FAULTY, ALERTS, WINDOW_AT, ALARM, EVIDENCE, CAMERA_FAULT, RATE),
    *(OUTLIER_RATIO, CLASS_RATIO, SCORE, BUNDLE),
    *(SERVER_INFO, SERVER_CONNECTED, SERVER_MESSAGES, SERVER_REJECTED, SERVER_ACKED, SERVER_QUEUE),
    *(SERVER_STORE_ERRORS, SERVER_DEVICES),
)
"""Every metric, in the order of exposition."""


class FleetCollector(Collector):
    """The fleet and the server as Prometheus sees them.

    Args:
        fleet: the devices.
        counts: what the server counts of itself.
        clock: tells who is silent.
        stale_after_seconds: how long is silent.
        max_classes: at most this many predicted classes a stream, those with the most frames.
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
        max_classes: int,
        connected: Callable[[], bool],
        queue_length: Callable[[], int],
    ) -> None:
        self._fleet = fleet
        self._counts = counts
        self._clock = clock
        self._stale_after_seconds = stale_after_seconds
        self._max_classes = max_classes
        self._connected = connected
        self._queue_length = queue_length

    def describe(self) -> list[Metric]:
        """Names are known beforehand; nothing is collected at registration."""
        return []

    def collect(self) -> Iterator[Metric]:
        """All families with their samples; those without samples too."""
        families = _Families()
        states = dict.fromkeys(Liveness, 0)
        now = self._clock.now().wall
        for device in self._fleet.devices():
            liveness = device.liveness(now, stale_after_seconds=self._stale_after_seconds)
            states[liveness] += 1
            self._device(families, device, liveness)
        self._server(families, states)
        yield from families.metrics()

    def _device(self, families: _Families, device: Device, liveness: Liveness) -> None:
        labels = (device.site, device.name)
        online = liveness is Liveness.ONLINE
        families.add(UP, labels, online)
        if device.last_seen is not None:
            families.add(LAST_SEEN, labels, device.last_seen)
        if device.health is not None:
            families.add(OUTBOX_DROPPED, labels, device.health.message.outbox_dropped_total)
        if online and device.health is not None:
            families.add(OUTBOX, labels, device.health.message.outbox_messages)
        if online and device.state is not None:
            families.add(DEVICE_INFO, (*labels, device.state.message.agent_version), 1)
        for stream in device.streams.values():
            if stream.window is not None:
                self._totals(families, (*labels, stream.name), stream.window.message)
                families.add(WINDOW_AT, (*labels, stream.name), stream.window.at)
            if online and device.runs(stream.name):
                self._present(families, (*labels, stream.name), device, stream)

    def _totals(self, families: _Families, labels: tuple[str, ...], window: WindowMessage) -> None:
        families.add(FRAMES, labels, window.frames_total)
        families.add(OUTLIERS, labels, window.outliers_total)
        families.add(ALERTS, labels, window.alerts_total)
        for reason, total in window.faults_total.items():
            families.add(FAULTY, (*labels, reason), total)

    def _present(self, families: _Families, labels: tuple[str, ...], device: Device, stream: Stream) -> None:
        families.add(ALARM, labels, device.alarm(stream.name))
        if stream.window is None:
            return
        window = stream.window.message
        families.add(EVIDENCE, labels, window.evidence)
        for fault in CAMERA_FAULTS:
            families.add(CAMERA_FAULT, (*labels, fault.value), fault in window.camera_faults)
        families.add(RATE, labels, window.frames_per_second)
        families.add(BUNDLE, (*labels, window.bundle.name, str(window.bundle.version)), 1)
        # Of two windows of one kind a series can show but one.
        by_kind = {stats.kind: stats for stats in reversed(window.windows)}
        for kind, stats in by_kind.items():
            if stats.frames:
                families.add(OUTLIER_RATIO, (*labels, kind.value), stats.outlier_ratio)
        by_count = by_kind.get(WindowKind.COUNT)
        if by_count is not None and by_count.frames:
            for name, ratio in self._classes(by_count):
                families.add(CLASS_RATIO, (*labels, name), ratio)
            for quantile, score in _quantiles(by_count.score_quantiles):
                families.add(SCORE, (*labels, quantile), score)

    def _classes(self, window: WindowStats) -> list[tuple[str, float]]:
        """The classes with the most frames and their outlier ratios."""
        by_frames = sorted(window.classes.items(), key=lambda item: (-item[1].frames, item[0]))
        return [(name, stats.outlier_ratio) for name, stats in by_frames[: self._max_classes]]

    def _server(self, families: _Families, states: Mapping[Liveness, int]) -> None:
        families.add(SERVER_INFO, (VERSION,), 1)
        families.add(SERVER_CONNECTED, (), self._connected())
        for kind, total in self._counts.messages.items():
            families.add(SERVER_MESSAGES, (kind.value,), total)
        for reason, total in self._counts.rejected.items():
            families.add(SERVER_REJECTED, (reason.value,), total)
        families.add(SERVER_ACKED, (), self._counts.acks)
        families.add(SERVER_QUEUE, (), self._queue_length())
        families.add(SERVER_STORE_ERRORS, (), self._counts.store_errors)
        for state, devices in states.items():
            families.add(SERVER_DEVICES, (state.value,), devices)


def make_registry(collector: FleetCollector) -> CollectorRegistry:
    """A registry with nothing but the fleet in it."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(collector)
    return registry


class _Families:
    """The catalogue's families, being filled."""

    def __init__(self) -> None:
        self._metrics = {spec: Metric(spec.name.removesuffix("_total"), spec.help, spec.type) for spec in CATALOGUE}

    def add(self, spec: Spec, labels: tuple[str, ...], value: float) -> None:
        """Add a sample."""
        self._metrics[spec].add_sample(spec.name, dict(zip(spec.labels, labels, strict=True)), float(value))

    def metrics(self) -> Iterator[Metric]:
        """The families in order."""
        yield from self._metrics.values()


_QUANTILE = re.compile(r"^[01](\.[0-9]{1,6})?$")


def _quantiles(reported: Mapping[str, float]) -> list[tuple[str, float]]:
    """Those that are quantiles: a scrape with another in it would be refused as a whole."""
    by_value = {
        float(name): score for name, score in reported.items() if _QUANTILE.match(name) and 0 <= float(name) <= 1
    }
    return [(str(quantile), score) for quantile, score in sorted(by_value.items())]
