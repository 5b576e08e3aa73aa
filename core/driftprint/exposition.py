"""What Prometheus is told of a device and its streams: one catalogue for the server, which tells it of its fleet, and
for a device that tells it of itself.

The only module of the shared library that needs the extra "metrics".
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from functools import lru_cache, partial
from operator import attrgetter
from typing import Generic, Protocol, TypeVar

from prometheus_client.metrics_core import Metric

from driftprint.messages import CAMERA_FAULTS, Cause, WindowKind

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


class Samples(Protocol):
    """Takes samples, as `Families` does."""

    def add(self, spec: Spec, labels: Sequence[str], value: float) -> None:
        """Add a sample."""
        ...


class BundleReport(Protocol):
    """What is shown of a `driftprint.messages.BundleRef`."""

    @property
    def name(self) -> str: ...  # noqa: D102
    @property
    def version(self) -> int: ...  # noqa: D102


class ClassReport(Protocol):
    """What is shown of a `driftprint.messages.ClassStats`."""

    @property
    def frames(self) -> int: ...  # noqa: D102
    @property
    def outlier_ratio(self) -> float: ...  # noqa: D102


class StatsReport(Protocol):
    """What is shown of a `driftprint.messages.WindowStats`."""

    @property
    def kind(self) -> WindowKind: ...  # noqa: D102
    @property
    def frames(self) -> int: ...  # noqa: D102
    @property
    def outlier_ratio(self) -> float: ...  # noqa: D102
    @property
    def score_quantiles(self) -> Mapping[str, float]: ...  # noqa: D102
    @property
    def classes(self) -> Mapping[str, ClassReport]: ...  # noqa: D102


class WindowReport(Protocol):
    """What is shown of a `driftprint.messages.WindowMessage`, in whatever form it is kept."""

    @property
    def faults_total(self) -> Mapping[str, int]: ...  # noqa: D102
    @property
    def camera_faults(self) -> Sequence[Cause]: ...  # noqa: D102
    @property
    def bundle(self) -> BundleReport: ...  # noqa: D102
    @property
    def windows(self) -> Sequence[StatsReport]: ...  # noqa: D102


class HealthReport(Protocol):
    """What is shown of a `driftprint.messages.HealthMessage`, in whatever form it is kept."""

    @property
    def bundle_errors(self) -> Mapping[str, str]: ...  # noqa: D102


M_contra = TypeVar("M_contra", contravariant=True)


@dataclass(frozen=True, slots=True)
class Single(Generic[M_contra]):
    """A family with one sample of a message.

    Attributes:
        spec: the family.
        read: the sample's value; None where there is none.
    """

    spec: Spec
    read: Callable[[M_contra], float | None]


@dataclass(frozen=True, slots=True)
class Several(Generic[M_contra]):
    """A family with any number of samples of a message.

    Attributes:
        spec: the family.
        read: the samples: the values of the labels beyond the message's own, and the sample's.
        named: whether the device makes these values up; else there are a few that everybody knows.
    """

    spec: Spec
    read: Callable[[M_contra], Iterable[tuple[tuple[str, ...], float]]]
    named: bool = False


@dataclass(frozen=True, slots=True)
class Readings(Generic[M_contra]):
    """What is shown of one kind of message.

    Attributes:
        lasting: what is shown as long as the message is known.
        present: what is shown while it holds.
    """

    lasting: tuple[Single[M_contra] | Several[M_contra], ...]
    present: tuple[Single[M_contra] | Several[M_contra], ...]

    def add(self, samples: Samples, labels: Sequence[str], message: M_contra, *, present: bool) -> None:
        """Add what a message says.

        Args:
            samples: where to.
            labels: the message's own: site and device, and its stream.
            message: the latest.
            present: whether it still holds.
        """
        for reading in (*self.lasting, *(self.present if present else ())):
            if isinstance(reading, Several):
                for more, value in reading.read(message):
                    samples.add(reading.spec, (*labels, *more), value)
            elif (only := reading.read(message)) is not None:
                samples.add(reading.spec, labels, only)

    def names(self, message: M_contra) -> Iterator[tuple[str, ...]]:
        """What the device has named in a message: for each series that comes of it the family, and those labels."""
        for reading in (*self.lasting, *self.present):
            if isinstance(reading, Several) and reading.named:
                for more, _ in reading.read(message):
                    yield (reading.spec.name, *more)


def _faulty(window: WindowReport) -> Iterable[tuple[tuple[str, ...], float]]:
    return [((reason,), total) for reason, total in window.faults_total.items()]


def _camera_faults(window: WindowReport) -> Iterable[tuple[tuple[str, ...], float]]:
    if not window.camera_faults:
        return _NO_FAULTS
    return [(label, fault in window.camera_faults) for fault, label in _FAULT_LABELS]


def _bundle(window: WindowReport) -> Iterable[tuple[tuple[str, ...], float]]:
    return [((window.bundle.name, str(window.bundle.version)), 1)]


def _ratios(window: WindowReport) -> Iterable[tuple[tuple[str, ...], float]]:
    shown = ((label, shown_ratio(window, kind)) for kind, label in _KIND_LABELS)
    return [(label, ratio) for label, ratio in shown if ratio is not None]


def _class_ratios(window: WindowReport, max_classes: int) -> Iterable[tuple[tuple[str, ...], float]]:
    stats = first_window(window, _BY_COUNT)
    if stats is None:
        return []
    return [((name,), stats.classes[name].outlier_ratio) for name in shown_classes(stats, max_classes)]


def _quantiles(window: WindowReport) -> Iterable[tuple[tuple[str, ...], float]]:
    """Those that are quantiles: a scrape with another in it would be refused as a whole."""
    stats = first_window(window, _BY_COUNT)
    if stats is None:
        return []
    by_label = {label: score for name, score in stats.score_quantiles.items() if (label := _quantile_label(name))}
    return [((label,), score) for label, score in by_label.items()]


def first_window(window: WindowReport, kind: WindowKind) -> StatsReport | None:
    """Of several windows of one kind the one that is shown: the first, if there are frames in it."""
    for stats in window.windows:
        if stats.kind is kind:
            return stats if stats.frames else None
    return None


def shown_classes(stats: StatsReport, max_classes: int) -> Set[str]:
    """The classes of a window that are shown: of too many those with the most frames."""
    if len(stats.classes) <= max_classes:
        return stats.classes.keys()
    ranked = sorted((-of_class.frames, name) for name, of_class in stats.classes.items()) if max_classes else []
    return dict.fromkeys(name for _, name in ranked[:max_classes]).keys()


def shown_ratio(window: WindowReport, kind: WindowKind) -> float | None:
    """The outlier ratio of the window of a kind that is shown; None where there is none."""
    stats = first_window(window, kind)
    return None if stats is None else stats.outlier_ratio


_BY_COUNT = WindowKind.COUNT  # looked up once, for an enumeration is slow to give its members
_KIND_LABELS = tuple((kind, (kind.value,)) for kind in WindowKind)
_FAULT_LABELS = tuple((fault, (fault.value,)) for fault in CAMERA_FAULTS)
_NO_FAULTS = tuple((label, False) for _, label in _FAULT_LABELS)
_QUANTILE = re.compile(r"[01](\.[0-9]{1,6})?")


@lru_cache(maxsize=256)
def _quantile_label(name: str) -> str | None:
    """How a quantile is exposed, however it was written; None for what is none."""
    return str(float(name)) if _QUANTILE.fullmatch(name) and float(name) <= 1 else None


HEALTH: Readings[HealthReport] = Readings(
    lasting=(
        Single(OUTBOX_DROPPED, attrgetter("outbox_dropped_total")),
        Single(STORE_ERRORS, attrgetter("store_errors_total")),
        Single(STORE_MENDED, attrgetter("store_mended_total")),
    ),
    present=(
        Single(OUTBOX, attrgetter("outbox_messages")),
        Single(STORE_VOLATILE, attrgetter("store_volatile")),
        *(Single(spec, attrgetter(f"vitals.{field}")) for field, spec in VITALS.items()),
        Several(BUNDLE_ERROR, lambda health: [((stream,), 1) for stream in health.bundle_errors], named=True),
    ),
)
"""What a health message says."""


def window_readings(max_classes: int) -> Readings[WindowReport]:
    """What a window message says; all but its alarm, of which an alert knows earlier, and when it was recorded.

    Args:
        max_classes: at most this many predicted classes, those with the most frames.
    """
    return Readings(
        lasting=(
            Single(FRAMES, attrgetter("frames_total")),
            Single(OUTLIERS, attrgetter("outliers_total")),
            Single(ALERTS, attrgetter("alerts_total")),
            Several(FAULTY, _faulty, named=True),
        ),
        present=(
            Single(EVIDENCE, attrgetter("evidence")),
            Single(CLASS_MIX, attrgetter("class_mix_alarm")),
            Several(CAMERA_FAULT, _camera_faults),
            Single(RATE, attrgetter("frames_per_second")),
            Several(BUNDLE, _bundle, named=True),
            Several(OUTLIER_RATIO, _ratios),
            Several(CLASS_RATIO, partial(_class_ratios, max_classes=max_classes), named=True),
            Several(SCORE, _quantiles, named=True),
        ),
    )


def add_health(samples: Samples, labels: Sequence[str], health: HealthReport, *, present: bool) -> None:
    """Add what a health message says.

    Args:
        samples: where to.
        labels: site and device.
        health: the latest.
        present: whether it still holds; if not, only its totals are added.
    """
    HEALTH.add(samples, labels, health, present=present)


def add_window(
    samples: Samples, labels: Sequence[str], window: WindowReport, *, at: float, present: bool, max_classes: int
) -> None:
    """Add what a window message says; all but its alarm, of which an alert knows earlier.

    Args:
        samples: where to.
        labels: site, device and stream.
        window: the latest.
        at: when it was recorded, Unix time in seconds.
        present: whether it still holds; if not, only its totals and `at` are added.
        max_classes: at most this many predicted classes, those with the most frames.
    """
    samples.add(WINDOW_AT, labels, at)
    window_readings(max_classes).add(samples, labels, window, present=present)
