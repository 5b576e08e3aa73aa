"""The history as tables: rows by the thousand, so that however much is asked for, little is in memory."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Any

from sqlalchemy import Row, select, tuple_

from driftprint.messages import CAMERA_FAULTS, Cause
from driftprint_server.history.database import Database
from driftprint_server.history.queries import Filters, alert_rows, read_classes
from driftprint_server.history.tables import ALERTS, BITS, STREAMS, WINDOWS, unpack_instance

_ROWS_AT_ONCE = 5000
_STREAMS_AT_ONCE = 1000


class Kind(str, Enum):
    """What is in a column."""

    TEXT = "text"
    INTEGER = "integer"
    NUMBER = "number"
    BOOLEAN = "boolean"
    TIME = "time"
    """Unix seconds, to be written as a date with a time."""


Cells = tuple[Any, ...]
"""A row: a value, or None, for each column."""


@dataclass(frozen=True, slots=True)
class Export:
    """A table.

    Attributes:
        name: for the file.
        columns: their names and kinds, in order.
        batches: rows, some thousand at a time.
    """

    name: str
    columns: dict[str, Kind]
    batches: Iterator[list[Cells]]


_WINDOW_COLUMNS = {
    "site": Kind.TEXT,
    "device": Kind.TEXT,
    "stream": Kind.TEXT,
    "instance": Kind.TEXT,
    "seq": Kind.INTEGER,
    "time": Kind.TIME,
    "at": Kind.NUMBER,
    "outlier_ratio": Kind.NUMBER,
    "outlier_ratio_by_time": Kind.NUMBER,
    "evidence": Kind.NUMBER,
    "frames_per_second": Kind.NUMBER,
    "frames_total": Kind.INTEGER,
    "outliers_total": Kind.INTEGER,
    "alarm": Kind.BOOLEAN,
    "class_mix_alarm": Kind.BOOLEAN,
    "camera_faults": Kind.TEXT,
    "bundle_name": Kind.TEXT,
    "bundle_version": Kind.INTEGER,
    "classes": Kind.TEXT,
    "class_frames": Kind.TEXT,
}

_ALERT_COLUMNS = {
    "site": Kind.TEXT,
    "device": Kind.TEXT,
    "stream": Kind.TEXT,
    "alert_id": Kind.TEXT,
    "instance": Kind.TEXT,
    "revision": Kind.INTEGER,
    "status": Kind.TEXT,
    "cause": Kind.TEXT,
    "raised_time": Kind.TIME,
    "raised_at": Kind.NUMBER,
    "cleared_time": Kind.TIME,
    "cleared_at": Kind.NUMBER,
    "updated_time": Kind.TIME,
    "updated_at": Kind.NUMBER,
    "suspected_at": Kind.NUMBER,
    "outlier_ratio": Kind.NUMBER,
    "p0": Kind.NUMBER,
    "frames_per_false_alarm": Kind.NUMBER,
    "frames_total": Kind.INTEGER,
    "layers": Kind.TEXT,
    "classes": Kind.TEXT,
    "summary": Kind.TEXT,
    "bundle_name": Kind.TEXT,
    "bundle_version": Kind.INTEGER,
}


def export_windows(database: Database, asked: Filters) -> Export:
    """Windows, stream by stream, the oldest first."""
    return Export("windows", _WINDOW_COLUMNS, _batched(_windows(database, asked)))


def export_alerts(database: Database, asked: Filters) -> Export:
    """Alerts, the one that was raised first first."""
    return Export("alerts", _ALERT_COLUMNS, _batched(_alerts(database, asked)))


def _batched(rows: Iterator[Cells]) -> Iterator[list[Cells]]:
    batch: list[Cells] = []
    for row in rows:
        batch.append(row)
        if len(batch) == _ROWS_AT_ONCE:
            yield batch
            batch = []
    if batch:
        yield batch


# Each page is a query of its own: a transaction that stays open for as long as somebody reads would keep
# SQLite's log from being cut back.


def _windows(database: Database, asked: Filters) -> Iterator[Cells]:
    key = WINDOWS.c.at, WINDOWS.c.instance, WINDOWS.c.seq
    for stream in _streams(database, asked):
        some = select(WINDOWS).where(WINDOWS.c.stream_id == stream.id, *asked.of_windows()).order_by(*key)
        last: Row[Any] | None = None
        while True:
            page = some if last is None else some.where(tuple_(*key) > (last.at, last.instance, last.seq))
            with database.reading() as db:
                rows = db.execute(page.limit(_ROWS_AT_ONCE)).all()
            for row in rows:
                yield _window(stream, row)
            if len(rows) < _ROWS_AT_ONCE:
                break
            last = rows[-1]


def _streams(database: Database, asked: Filters) -> Iterator[Row[Any]]:
    key = STREAMS.c.site, STREAMS.c.device, STREAMS.c.stream
    some = select(STREAMS).where(*asked.of_streams()).order_by(*key).limit(_STREAMS_AT_ONCE)
    last: Row[Any] | None = None
    while True:
        page = some if last is None else some.where(tuple_(*key) > (last.site, last.device, last.stream))
        with database.reading() as db:
            rows = db.execute(page).all()
        yield from rows
        if len(rows) < _STREAMS_AT_ONCE:
            break
        last = rows[-1]


def _alerts(database: Database, asked: Filters) -> Iterator[Cells]:
    key = ALERTS.c.raised_at, ALERTS.c.alert_id
    some = alert_rows().where(*asked.of_streams(), *asked.of_alerts()).order_by(*key).limit(_ROWS_AT_ONCE)
    last: Row[Any] | None = None
    while True:
        page = some if last is None else some.where(tuple_(*key) > (last.raised_at, last.alert_id))
        with database.reading() as db:
            rows = db.execute(page).all()
        for row in rows:
            yield _alert(row)
        if len(rows) < _ROWS_AT_ONCE:
            break
        last = rows[-1]


def _window(stream: Row[Any], row: Row[Any]) -> Cells:
    classes = read_classes(row.classes)
    return (
        stream.site,
        stream.device,
        stream.stream,
        unpack_instance(row.instance),
        row.seq,
        row.at,
        row.at,
        row.outlier_ratio,
        row.outlier_ratio_by_time,
        row.evidence,
        row.frames_per_second,
        row.frames_total,
        row.outliers_total,
        bool(row.alarms & BITS[Cause.DRIFT]),
        bool(row.alarms & BITS[Cause.CLASS_MIX]),
        " ".join(fault.value for fault in CAMERA_FAULTS if row.alarms & BITS[fault]),
        row.bundle_name,
        row.bundle_version,
        json.dumps({label: ratio for label, (_, ratio) in classes.items()}),
        json.dumps({label: frames for label, (frames, _) in classes.items()}),
    )


def _alert(row: Row[Any]) -> Cells:
    return (
        row.site,
        row.device,
        row.stream,
        row.alert_id,
        unpack_instance(row.instance),
        row.revision,
        row.status,
        row.cause,
        row.raised_at,
        row.raised_at,
        row.cleared_at,
        row.cleared_at,
        row.updated_at,
        row.updated_at,
        row.suspected_at,
        row.outlier_ratio,
        row.p0,
        row.frames_per_false_alarm,
        row.frames_total,
        row.layers,
        row.classes,
        row.summary,
        row.bundle_name,
        row.bundle_version,
    )
