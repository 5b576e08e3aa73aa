"""What is kept of a message: its row. Text is made such that every database takes it."""

from __future__ import annotations

import heapq
from collections.abc import Mapping
from typing import Any

import msgspec

from driftprint.exposition import ClassReport, first_window, shown_ratio
from driftprint.messages import AlertMessage, AlertStatus, Cause, WindowKind
from driftprint_server.device import MOST_AGE_SECONDS
from driftprint_server.history.tables import BITS, pack_instance
from driftprint_server.records import WindowRecord

Row = dict[str, Any]

# Looked up once, not a thousand times a second.
_COUNT, _TIME = WindowKind.COUNT, WindowKind.TIME
_DRIFT, _CLASS_MIX = BITS[Cause.DRIFT], BITS[Cause.CLASS_MIX]

_JPEG = b"\xff\xd8\xff"


def window_row(message: WindowRecord, at: float, stream_id: int, *, max_classes: int) -> Row:
    """The row of a window."""
    by_count = first_window(message, _COUNT)
    alarms = _DRIFT * message.alarm | _CLASS_MIX * message.class_mix_alarm
    for fault in message.camera_faults:
        alarms |= BITS[fault]
    classes: Mapping[str, ClassReport] = by_count.classes if by_count is not None else {}
    if len(classes) > max_classes:
        classes = dict(heapq.nlargest(max_classes, classes.items(), key=lambda one: one[1].frames))
    shares = {label: (stats.frames, round(stats.outlier_ratio, 4)) for label, stats in classes.items()}
    return {
        "stream_id": stream_id,
        "instance": pack_instance(message.instance),
        "seq": message.seq,
        "at": at,
        "frames_total": message.frames_total,
        "outliers_total": message.outliers_total,
        "outlier_ratio": by_count.outlier_ratio if by_count is not None else None,
        "outlier_ratio_by_time": shown_ratio(message, _TIME),
        "evidence": message.evidence,
        "frames_per_second": message.frames_per_second,
        "alarms": alarms,
        "bundle_name": _clean(message.bundle.name),
        "bundle_version": message.bundle.version,
        "classes": _encode(shares) if shares else None,
    }


def alert_row(message: AlertMessage, at: float, stream_id: int) -> Row:
    """The row of an alert as this revision has it."""
    cleared = message.status is AlertStatus.CLEARED
    return {
        "alert_id": message.alert_id,
        "stream_id": stream_id,
        "instance": pack_instance(message.instance),
        "seq": message.seq,
        "revision": message.revision,
        "first_revision": message.revision,
        "status": message.status.value,
        "cause": message.cause.value,
        "raised_at": _moment(message, at, message.raised_at),
        "suspected_at": _moment(message, at, message.suspected_at),
        "cleared_at": (_moment(message, at, message.cleared_at) or at) if cleared else None,
        "updated_at": at,
        "frames_total": message.frames_total,
        "outlier_ratio": message.outlier_ratio,
        "p0": message.p0,
        "frames_per_false_alarm": message.frames_per_false_alarm,
        "layers": _encode(message.layers),
        "classes": _encode(message.classes),
        "summary": _clean(message.summary),
        "bundle_name": _clean(message.bundle.name),
        "bundle_version": message.bundle.version,
    }


def revision_row(alert: Row) -> Row:
    """The row of one revision, of the alert's row."""
    row = {key: alert[key] for key in ("alert_id", "revision", "status", "outlier_ratio", "summary")}
    return {**row, "at": alert["updated_at"]}


def thumbnail_rows(message: AlertMessage) -> list[Row]:
    """The rows of the frames that a revision carries: those that are JPEG files, as all should be."""
    frames = [thumbnail.jpeg for thumbnail in message.thumbnails if thumbnail.jpeg.startswith(_JPEG)]
    return [
        {"alert_id": message.alert_id, "revision": message.revision, "number": number, "jpeg": jpeg}
        for number, jpeg in enumerate(frames)
    ]


def _moment(message: AlertMessage, at: float, by_device: float | None) -> float | None:
    """A moment of the device's clock by the server's. Of the device's clock only a difference is used."""
    if by_device is None:
        return None
    return at - min(max(message.recorded_at - by_device, 0.0), MOST_AGE_SECONDS)


def _clean(text: str) -> str:
    # PostgreSQL has no place for a NUL, and a batch that it refuses would come again for ever.
    return text.replace("\0", "\ufffd")


def _encode(value: object) -> str:
    return msgspec.json.encode(value).decode()
