"""What Prometheus is told of a device and its streams: one catalogue for the server, which tells it of its fleet, and
for a device that tells it of itself.

The only module of the shared library that needs the extra "metrics".
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from prometheus_client.metrics_core import Metric

from driftprint.messages import CAMERA_FAULTS, HealthMessage, WindowKind, WindowMessage, WindowStats

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
STORE_ERRORS = Spec(
    "driftprint_store_errors_total", "counter", DEVICE, "Writes that the device's disk refused since its agent started."
)
STORE_MENDED = Spec(
    "driftprint_store_mended_total",
    "counter",
    DEVICE,
    "How often the device's store was damaged and has mended itself.",
)
STORE_VOLATILE = Spec(
    "driftprint_store_volatile",
    "gauge",
    DEVICE,
    "Whether the store is in memory, since the disk takes no writes.",
)
VITALS = {
    field: Spec(f"driftprint_{name}", "gauge", DEVICE, meaning)
    for field, name, meaning in (
        ("cpu_ratio", "device_cpu_ratio", "Share of the time of all cores in which they were busy."),
        ("process_cpu_ratio", "agent_cpu_ratio", "The agent's share of the time of all cores."),
        ("process_memory_bytes", "agent_resident_memory_bytes", "The agent's memory that is in RAM."),
        ("memory_bytes", "device_memory_bytes", "RAM of the machine."),
        (
            "memory_available_bytes",
            "device_memory_available_bytes",
            "RAM that programs can have without swapping.",
        ),
        ("temperature_celsius", "device_temperature_celsius", "Of the hottest thermal zone."),
        ("throttled", "device_throttled", "Whether the processor is slowed down, by heat or for want of power."),
        ("under_voltage", "device_under_voltage", "Whether the supply is too weak."),
        ("disk_bytes", "device_disk_bytes", "Size of the file system that holds the agent's store."),
        ("disk_free_bytes", "device_disk_free_bytes", "What the agent can still write to it."),
    )
}
"""By the field of `Vitals` that each shows. What a device does not tell has no sample."""

BUNDLE_ERROR = Spec(
    "driftprint_bundle_error", "gauge", STREAM, "Always 1; a stream that does not run the bundle that was wanted."
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
CLASS_MIX = Spec(
    "driftprint_class_mix_alarm_active",
    "gauge",
    STREAM,
    "Whether an alert about the mix of predicted classes is raised now.",
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

DEVICE_CATALOGUE = (
    *(UP, LAST_SEEN, DEVICE_INFO, OUTBOX, OUTBOX_DROPPED, STORE_ERRORS, STORE_MENDED, STORE_VOLATILE, *VITALS.values()),
    *(FRAMES, OUTLIERS, FAULTY, ALERTS, WINDOW_AT, ALARM, EVIDENCE, CLASS_MIX, CAMERA_FAULT, RATE),
    *(OUTLIER_RATIO, CLASS_RATIO, SCORE, BUNDLE, BUNDLE_ERROR),
)
"""Every metric of a device and its streams, in the order of exposition."""


class Families:
    """Metric families, being filled.

    Args:
        catalogue: which, in the order of exposition.
    """

    def __init__(self, catalogue: Sequence[Spec]) -> None:
        self._metrics = {spec: Metric(spec.name.removesuffix("_total"), spec.help, spec.type) for spec in catalogue}

    def add(self, spec: Spec, labels: Sequence[str], value: float) -> None:
        """Add a sample.

        Args:
            spec: the family, one of the catalogue.
            labels: the values of its labels, in its order.
            value: the sample's.
        """
        self._metrics[spec].add_sample(spec.name, dict(zip(spec.labels, labels, strict=True)), float(value))

    def metrics(self) -> Iterator[Metric]:
        """The families in order; those without samples too."""
        yield from self._metrics.values()


def add_health(families: Families, labels: Sequence[str], health: HealthMessage, *, present: bool) -> None:
    """Add what a health message says.

    Args:
        families: where to.
        labels: site and device.
        health: the latest.
        present: whether it still holds; if not, only its totals are added.
    """
    families.add(OUTBOX_DROPPED, labels, health.outbox_dropped_total)
    families.add(STORE_ERRORS, labels, health.store_errors_total)
    families.add(STORE_MENDED, labels, health.store_mended_total)
    if present:
        families.add(OUTBOX, labels, health.outbox_messages)
        families.add(STORE_VOLATILE, labels, health.store_volatile)
        for name, spec in VITALS.items():
            if (value := getattr(health.vitals, name)) is not None:
                families.add(spec, labels, value)
        for stream in health.bundle_errors:
            families.add(BUNDLE_ERROR, (*labels, stream), 1)


def add_window(
    families: Families, labels: Sequence[str], window: WindowMessage, *, at: float, present: bool, max_classes: int
) -> None:
    """Add what a window message says; all but its alarm, of which an alert knows earlier.

    Args:
        families: where to.
        labels: site, device and stream.
        window: the latest.
        at: when it was recorded, Unix time in seconds.
        present: whether it still holds; if not, only its totals and `at` are added.
        max_classes: at most this many predicted classes, those with the most frames.
    """
    families.add(FRAMES, labels, window.frames_total)
    families.add(OUTLIERS, labels, window.outliers_total)
    families.add(ALERTS, labels, window.alerts_total)
    for reason, total in window.faults_total.items():
        families.add(FAULTY, (*labels, reason), total)
    families.add(WINDOW_AT, labels, at)
    if present:
        _add_present(families, labels, window, max_classes)


def _add_present(families: Families, labels: Sequence[str], window: WindowMessage, max_classes: int) -> None:
    families.add(EVIDENCE, labels, window.evidence)
    families.add(CLASS_MIX, labels, window.class_mix_alarm)
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
        for name, ratio in _classes(by_count, max_classes):
            families.add(CLASS_RATIO, (*labels, name), ratio)
        for quantile, score in _quantiles(by_count.score_quantiles):
            families.add(SCORE, (*labels, quantile), score)


def _classes(window: WindowStats, max_classes: int) -> list[tuple[str, float]]:
    """The classes with the most frames and their outlier ratios."""
    by_frames = sorted(window.classes.items(), key=lambda item: (-item[1].frames, item[0]))
    return [(name, stats.outlier_ratio) for name, stats in by_frames[:max_classes]]


_QUANTILE = re.compile(r"^[01](\.[0-9]{1,6})?$")


def _quantiles(reported: Mapping[str, float]) -> list[tuple[str, float]]:
    """Those that are quantiles: a scrape with another in it would be refused as a whole."""
    by_value = {
        float(name): score for name, score in reported.items() if _QUANTILE.match(name) and 0 <= float(name) <= 1
    }
    return [(str(quantile), score) for quantile, score in sorted(by_value.items())]
