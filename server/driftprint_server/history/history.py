"""The history as a sink: each batch in one transaction, and whatever comes again changes nothing."""

from __future__ import annotations

import math
from collections import ChainMap
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from sqlalchemy import Connection, bindparam, delete, func, select, tuple_, update

from driftprint.messages import AlertMessage
from driftprint_server.history.database import Database
from driftprint_server.history.retention import Tidied, make_room, tidy
from driftprint_server.history.rows import Row, alert_row, revision_row, thumbnail_rows, window_row
from driftprint_server.history.settings import HistorySettings
from driftprint_server.history.tables import ALERTS, REVISIONS, STREAMS, THUMBNAILS, WINDOWS
from driftprint_server.records import WindowRecord
from driftprint_server.sinks import Accepted

_MOST_STREAMS = 200_000  # whose numbers are remembered
_AT_ONCE = 200  # streams or alerts asked for in one statement
_ROW_BYTES = 250  # of a row, with its place in the indexes and without its texts

_PORTIONS = 100  # of an SQLite file: so much of it is written at a time

Key = tuple[str, str, str]
"""Site, device and stream."""

_Alert = tuple[Row, list[Row]]
"""Its row and those of its frames."""

T = TypeVar("T")


class History:
    """Keeps windows and alerts, dated by `Accepted.at`.

    Of an alert that comes in several revisions, the highest is its latest word, and the lowest tells best when it was
    raised, in whatever order they arrive.

    Args:
        database: keeps them.
        settings: for how long, how many bytes, and what of them.
    """

    def __init__(self, database: Database, settings: HistorySettings) -> None:
        self._database = database
        self._settings = settings
        self._ids: dict[Key, int] = {}
        self._insert_window = database.insert(WINDOWS).on_conflict_do_nothing()
        upsert = database.insert(ALERTS)
        self._upsert_alert = upsert.on_conflict_do_update(
            index_elements=[ALERTS.c.alert_id],
            set_={
                column.name: upsert.excluded[column.name]
                for column in ALERTS.columns
                if column.name not in ("alert_id", "raised_at", "first_revision")
            },
            where=(ALERTS.c.stream_id == upsert.excluded.stream_id) & (upsert.excluded.revision > ALERTS.c.revision),
        )

    def write(self, batch: Sequence[Accepted]) -> None:
        """Take a batch in, so that it outlasts a crash.

        Raises:
            StoreError: where the database refuses or is away; nothing has then been written.
        """
        windows = [(one.message, one.at) for one in batch if isinstance(one.message, WindowRecord)]
        alerts = [(one.message, one.at) for one in batch if isinstance(one.message, AlertMessage)]
        if not windows and not alerts:
            return
        with self._database.writing() as db:
            new = self._number(db, {_key(message) for message, _ in windows} | {_key(message) for message, _ in alerts})
            ids = ChainMap(new, self._ids) if new else self._ids
            window_rows = [
                window_row(message, at, ids[_key(message)], max_classes=self._settings.max_classes)
                for message, at in windows
            ]
            alert_rows = [
                (
                    alert_row(message, at, ids[_key(message)]),
                    thumbnail_rows(message) if self._settings.thumbnails else [],
                )
                for message, at in alerts
            ]
            for some_windows in self._with_room(db, window_rows, _window_bytes):
                self._write_windows(db, some_windows)
            for some_alerts in self._with_room(db, alert_rows, _alert_bytes):
                self._write_alerts(db, some_alerts)
        if len(self._ids) > _MOST_STREAMS:
            self._ids.clear()
        self._ids.update(new)

    def tidy(self, now: float, *, settled: bool = True) -> Tidied:
        """Remove what is older than it may be, and what is too much, in many short transactions.

        Args:
            now: Unix time in seconds.
            settled: whether the clock can be gone by; else nothing is too old.

        Raises:
            StoreError: where the database refuses or is away.
        """
        return tidy(self._database, self._settings, now if settled else -math.inf)

    def _number(self, db: Connection, keys: set[Key]) -> dict[Key, int]:
        """The numbers of streams that are not remembered, given where they have none."""
        unknown = sorted(keys - self._ids.keys())
        if not unknown:
            return {}
        named = [{"site": site, "device": device, "stream": stream} for site, device, stream in unknown]
        db.execute(self._database.insert(STREAMS).on_conflict_do_nothing(), named)
        columns = STREAMS.c.site, STREAMS.c.device, STREAMS.c.stream
        return {
            (site, device, stream): number
            for some in _chunks(unknown)
            for site, device, stream, number in db.execute(
                select(*columns, STREAMS.c.id).where(tuple_(*columns).in_(some))
            )
        }

    def _with_room(self, db: Connection, rows: list[T], size: Callable[[T], int]) -> Iterator[list[T]]:
        """Rows to be written, and room for them: a few at a time, lest a batch that is large needs all there is."""
        most = self._settings.max_bytes
        if self._database.is_sqlite:
            for portion, needed in _portions(rows, size, most // _PORTIONS):
                make_room(db, needed, max_bytes=most)
                yield portion
        elif rows:
            yield rows

    def _write_windows(self, db: Connection, rows: list[Row]) -> None:
        # In the order in which they lie: each page is touched once, and replicas never wait for each other.
        rows.sort(key=lambda row: (row["stream_id"], row["instance"], row["seq"]))
        db.execute(self._insert_window, rows)

    def _write_alerts(self, db: Connection, alerts: list[_Alert]) -> None:
        alerts.sort(key=lambda alert: (alert[0]["alert_id"], alert[0]["revision"]))
        db.execute(self._upsert_alert, [row for row, _ in alerts])
        owners = {
            alert_id: stream_id
            for some in _chunks(sorted({row["alert_id"] for row, _ in alerts}))
            for alert_id, stream_id in db.execute(
                select(ALERTS.c.alert_id, ALERTS.c.stream_id).where(ALERTS.c.alert_id.in_(some))
            )
        }
        own = [alert for alert in alerts if owners[alert[0]["alert_id"]] == alert[0]["stream_id"]]
        if not own:
            return
        db.execute(
            _EARLIER, [{"id": row["alert_id"], "first": row["revision"], "raised": row["raised_at"]} for row, _ in own]
        )
        db.execute(self._database.insert(REVISIONS).on_conflict_do_nothing(), [revision_row(row) for row, _ in own])
        if frames := [frame for _, frames in own for frame in frames]:
            db.execute(self._database.insert(THUMBNAILS).on_conflict_do_nothing(), frames)
            db.execute(_REPLACED_THUMBNAILS, [{"id": alert_id} for alert_id in sorted({f["alert_id"] for f in frames})])


_EARLIER = (
    update(ALERTS)
    .where(ALERTS.c.alert_id == bindparam("id"), ALERTS.c.first_revision > bindparam("first"))
    .values(raised_at=bindparam("raised"), first_revision=bindparam("first"))
)

_OTHER = THUMBNAILS.alias()
_REPLACED_THUMBNAILS = delete(THUMBNAILS).where(
    THUMBNAILS.c.alert_id == bindparam("id"),
    THUMBNAILS.c.revision
    < select(func.max(_OTHER.c.revision)).where(_OTHER.c.alert_id == bindparam("id")).scalar_subquery(),
)


def _portions(rows: list[T], size: Callable[[T], int], most: int) -> Iterator[tuple[list[T], int]]:
    """Rows in their order, with the bytes that they take: each portion the shortest that takes more than `most`."""
    portion: list[T] = []
    needed = 0
    for row in rows:
        portion.append(row)
        needed += size(row)
        if needed > most:
            yield portion, needed
            portion, needed = [], 0
    if portion:
        yield portion, needed


def _chunks(items: Sequence[T]) -> Iterator[Sequence[T]]:
    for start in range(0, len(items), _AT_ONCE):
        yield items[start : start + _AT_ONCE]


def _key(message: WindowRecord | AlertMessage) -> Key:
    return message.site, message.device, message.stream


def _window_bytes(row: Row) -> int:
    """About what it will take."""
    return _ROW_BYTES + len(row["classes"] or "")


def _alert_bytes(alert: _Alert) -> int:
    """About what it will take, with its revision."""
    row, frames = alert
    texts = 2 * len(row["summary"]) + len(row["layers"]) + len(row["classes"])
    return 3 * _ROW_BYTES + texts + sum(_ROW_BYTES + len(frame["jpeg"]) for frame in frames)
