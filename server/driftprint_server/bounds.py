"""How much is kept of what one device says: as much as an honest one needs, and some megabytes at most."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from sys import getsizeof

from msgspec.structs import replace

from driftprint.messages import AlertMessage, AlertStatus
from driftprint_server.records import CountStatsRecord, TimeStatsRecord, WindowRecord

MOST_ALERT_BYTES = 2_000_000
"""Of a device's alerts in memory, as `alert_bytes` has it. It holds one that stands of each cause in each stream, if
`shortened`."""
FEW_CLASSES = 32
"""A window may always have so many predicted classes."""
MOST_CLASSES = 2048
"""A device's windows that have more, together."""

_ALERT_BYTES = 2000  # of an alert, without what varies
_ENTRY_BYTES = 100  # of an entry of a mapping, without its label
_SHORT = 256  # characters of a summary


def alert_bytes(message: AlertMessage) -> int:
    """About what an alert takes in memory."""
    labels = (*message.layers, *message.classes)
    texts = (message.bundle.name, message.summary, *labels)
    return _ALERT_BYTES + _ENTRY_BYTES * len(labels) + sum(map(getsizeof, texts))


def shortened(message: AlertMessage) -> AlertMessage:
    """An alert without its details, the same if it is short already."""
    if not message.layers and not message.classes and len(message.summary) <= _SHORT:
        return message
    return message.model_copy(update={"layers": {}, "classes": {}, "summary": message.summary[:_SHORT]})


def standing(alerts: Mapping[str, AlertMessage], instance: str) -> set[str]:
    """Which of a stream's alerts stand, by id: of each cause the latest, where it has not been cleared.

    Args:
        alerts: by id.
        instance: the device's present one; of an earlier one nothing stands.
    """
    latest: dict[str, AlertMessage] = {}
    for message in alerts.values():
        if message.instance == instance:
            known = latest.get(message.cause)
            if known is None or message.seq > known.seq:
                latest[message.cause] = message
    return {message.alert_id for message in latest.values() if message.status is not AlertStatus.CLEARED}


def bounded_window(message: WindowRecord, others: Iterable[WindowRecord]) -> WindowRecord:
    """A window with no more predicted classes than there is room for: the most frequent ones.

    Args:
        message: the window.
        others: those of the device's other streams.
    """
    windows = message.windows
    if len(windows) <= 2 and all(len(stats.classes) <= FEW_CLASSES for stats in windows):
        return message  # as nearly all are
    firsts = {stats.kind: stats for stats in reversed(windows)}  # nothing else is ever shown
    kept = tuple(stats for stats in windows if stats is firsts[stats.kind])
    if _classes(kept) + sum(_classes(other.windows) for other in others) > MOST_CLASSES:
        kept = tuple(map(_with_few_classes, kept))
    return replace(message, windows=kept)


def _classes(windows: Iterable[CountStatsRecord | TimeStatsRecord]) -> int:
    return sum(len(stats.classes) for stats in windows)


def _with_few_classes(stats: CountStatsRecord | TimeStatsRecord) -> CountStatsRecord | TimeStatsRecord:
    if not isinstance(stats, CountStatsRecord):
        return stats
    by_frames = sorted(stats.classes.items(), key=lambda item: (-item[1].frames, item[0]))
    return replace(stats, classes=dict(by_frames[:FEW_CLASSES]))
