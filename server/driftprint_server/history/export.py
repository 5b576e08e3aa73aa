"""The history as tables: rows by the thousand, so that however much is asked for, little is in memory."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, TypeVar

from sqlalchemy import Row, select, tuple_

from driftprint.messages import CAMERA_FAULTS, Cause
from driftprint_server.history.database import Database
from driftprint_server.history.queries import Filters, alert_rows, read_classes
from driftprint_server.history.tables import ALERTS, BITS, STREAMS, WINDOWS, unpack_instance

_ROWS_AT_ONCE = 5000
_STREAMS_AT_ONCE = 1000

T = TypeVar("T")


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


@dataclass(frozen=True, slots=True)
class _Window:
    """A row of windows, with its stream's and with its classes read."""

    stream: Row[Any]
    row: Row[Any]
    classes: dict[str, tuple[int, float]]

    def has(self, cause: Cause) -> bool:
        return bool(self.row.alarms & BITS[cause])


_Columns = Sequence[tuple[str, Kind, Callable[[T], Any]]]
"""Each with its name, its kind, and where it comes from."""

_WINDOW_COLUMNS: _Columns[_Window] = (
    ("site", Kind.TEXT, lambda one: one.stream.site),
    ("device", Kind.TEXT, lambda one: one.stream.device),
    ("stream", Kind.TEXT, lambda one: one.stream.stream),
    ("instance", Kind.TEXT, lambda one: unpack_instance(one.row.instance)),
    ("seq", Kind.INTEGER, lambda one: one.row.seq),
    ("time", Kind.TIME, lambda one: one.row.at),
    ("at", Kind.NUMBER, lambda one: one.row.at),
    ("outlier_ratio", Kind.NUMBER, lambda one: one.row.outlier_ratio),
    ("outlier_ratio_by_time", Kind.NUMBER, lambda one: one.row.outlier_ratio_by_time),
    ("evidence", Kind.NUMBER, lambda one: one.row.evidence),
    ("frames_per_second", Kind.NUMBER, lambda one: one.row.frames_per_second),
    ("frames_total", Kind.INTEGER, lambda one: one.row.frames_total),
    ("outliers_total", Kind.INTEGER, lambda one: one.row.outliers_total),
    ("alarm", Kind.BOOLEAN, lambda one: one.has(Cause.DRIFT)),
    ("class_mix_alarm", Kind.BOOLEAN, lambda one: one.has(Cause.CLASS_MIX)),
    ("camera_faults", Kind.TEXT, lambda one: " ".join(fault.value for fault in CAMERA_FAULTS if one.has(fault))),
    ("bundle_name", Kind.TEXT, lambda one: one.row.bundle_name),
    ("bundle_version", Kind.INTEGER, lambda one: one.row.bundle_version),
    ("classes", Kind.TEXT, lambda one: json.dumps({label: ratio for label, (_, ratio) in one.classes.items()})),
    ("class_frames", Kind.TEXT, lambda one: json.dumps({label: frames for label, (frames, _) in one.classes.items()})),
)

_ALERT_COLUMNS: _Columns[Row[Any]] = (
    ("site", Kind.TEXT, lambda row: row.site),
    ("device", Kind.TEXT, lambda row: row.device),
    ("stream", Kind.TEXT, lambda row: row.stream),
    ("alert_id", Kind.TEXT, lambda row: row.alert_id),
    ("instance", Kind.TEXT, lambda row: unpack_instance(row.instance)),
    ("revision", Kind.INTEGER, lambda row: row.revision),
    ("status", Kind.TEXT, lambda row: row.status),
    ("cause", Kind.TEXT, lambda row: row.cause),
    ("raised_time", Kind.TIME, lambda row: row.raised_at),
    ("raised_at", Kind.NUMBER, lambda row: row.raised_at),
    ("cleared_time", Kind.TIME, lambda row: row.cleared_at),
    ("cleared_at", Kind.NUMBER, lambda row: row.cleared_at),
    ("updated_time", Kind.TIME, lambda row: row.updated_at),
    ("updated_at", Kind.NUMBER, lambda row: row.updated_at),
    ("suspected_at", Kind.NUMBER, lambda row: row.suspected_at),
    ("outlier_ratio", Kind.NUMBER, lambda row: row.outlier_ratio),
    ("p0", Kind.NUMBER, lambda row: row.p0),
    ("frames_per_false_alarm", Kind.NUMBER, lambda row: row.frames_per_false_alarm),
    ("frames_total", Kind.INTEGER, lambda row: row.frames_total),
    ("layers", Kind.TEXT, lambda row: row.layers),
    ("classes", Kind.TEXT, lambda row: row.classes),
    ("summary", Kind.TEXT, lambda row: row.summary),
    ("bundle_name", Kind.TEXT, lambda row: row.bundle_name),
    ("bundle_version", Kind.INTEGER, lambda row: row.bundle_version),
)


def export_windows(database: Database, asked: Filters) -> Export:
    """Windows, stream by stream, the oldest first."""
    return _export("windows", _WINDOW_COLUMNS, _windows(database, asked))


def export_alerts(database: Database, asked: Filters) -> Export:
    """Alerts, the one that was raised first first."""
    return _export("alerts", _ALERT_COLUMNS, _alerts(database, asked))


def _export(name: str, columns: _Columns[T], rows: Iterator[T]) -> Export:
    cells = [value for _, _, value in columns]
    filled = (tuple(value(row) for value in cells) for row in rows)
    return Export(name, {column: kind for column, kind, _ in columns}, _batched(filled))


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


def _windows(database: Database, asked: Filters) -> Iterator[_Window]:
    key = WINDOWS.c.at, WINDOWS.c.instance, WINDOWS.c.seq
    for stream in _streams(database, asked):
        some = select(WINDOWS).where(WINDOWS.c.stream_id == stream.id, *asked.of_windows()).order_by(*key)
        last: Row[Any] | None = None
        while True:
            page = some if last is None else some.where(tuple_(*key) > (last.at, last.instance, last.seq))
            with database.reading() as db:
                rows = db.execute(page.limit(_ROWS_AT_ONCE)).all()
            for row in rows:
                yield _Window(stream, row, read_classes(row.classes))
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


def _alerts(database: Database, asked: Filters) -> Iterator[Row[Any]]:
    key = ALERTS.c.raised_at, ALERTS.c.alert_id
    some = alert_rows().where(*asked.of_streams(), *asked.of_alerts()).order_by(*key).limit(_ROWS_AT_ONCE)
    last: Row[Any] | None = None
    while True:
        page = some if last is None else some.where(tuple_(*key) > (last.raised_at, last.alert_id))
        with database.reading() as db:
            rows = db.execute(page).all()
        yield from rows
        if len(rows) < _ROWS_AT_ONCE:
            break
        last = rows[-1]
