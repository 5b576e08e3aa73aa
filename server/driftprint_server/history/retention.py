"""What is removed again, the oldest first: what is older than it may be, and what would make the file too large.

A file that is full is made room in by the device that takes most of it, where one takes more than others: what one
device sends costs no other its history.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Column, ColumnElement, Connection, delete, select, tuple_

from driftprint_server.history.database import Database
from driftprint_server.history.settings import HistorySettings
from driftprint_server.history.tables import ALERTS, REVISIONS, THUMBNAILS, WINDOWS
from driftprint_server.history.usage import largest

_DAY_SECONDS = 86_400.0
_AT_ONCE = 1000  # rows removed in a transaction
_FEW = 500  # windows removed before it is asked again whose, and how many pages are left
_FEW_ALERTS = 20  # the same; one may take a thousand times as much
_MORE_THAN_OTHERS = 1.25  # times the mean of all devices
_PAGES_AT_ONCE = 1000  # given back to the file system in a transaction
_SLACK = 3  # rows put between others split their pages: they may take this many times their size
_MARGIN_BYTES = 500_000


@dataclass(frozen=True, slots=True)
class Tidied:
    """What has been removed.

    Attributes:
        windows: their number.
        alerts: their number, each with its revisions and thumbnails.
    """

    windows: int
    alerts: int


def tidy(database: Database, settings: HistorySettings, now: float) -> Tidied:
    """Remove what is too old at Unix time `now`, then what is too much. Those who write wait for a chunk at most.

    Raises:
        StoreError: where the database refuses or is away.
    """
    windows = alerts = 0
    while True:
        with database.writing() as db:
            removed = _remove_windows(db, _AT_ONCE, WINDOWS.c.at < now - settings.keep_days * _DAY_SECONDS)
        windows += removed
        if removed < _AT_ONCE:
            break
    while True:
        with database.writing() as db:
            removed = _remove_alerts(db, _AT_ONCE, ALERTS.c.updated_at < now - settings.keep_alerts_days * _DAY_SECONDS)
        alerts += removed
        if removed < _AT_ONCE:
            break
    if database.is_sqlite:
        _shrink(database, settings.max_bytes)
    return Tidied(windows, alerts)


def make_room(db: Connection, needed: int, *, max_bytes: int) -> None:
    """Remove some of an SQLite file until rows of `needed` bytes find place in it; see `_remove_some`."""
    room = max_bytes - _MARGIN_BYTES - _SLACK * needed
    while used_bytes(db) > room:
        if not _remove_some(db):
            return


def used_bytes(db: Connection) -> int:
    """What an SQLite file holds, without the pages that are free to be used again."""
    return (_pragma(db, "page_count") - _pragma(db, "freelist_count")) * _pragma(db, "page_size")


def _shrink(database: Database, max_bytes: int) -> None:
    """Make an SQLite file smaller that may be larger than it now is allowed to be."""
    while True:
        with database.writing() as db:
            if used_bytes(db) <= max_bytes or not _remove_some(db):
                break
    shrunk = False
    while True:
        with database.writing() as db:
            size = _pragma(db, "page_count") * _pragma(db, "page_size")
            if size <= max_bytes or not _pragma(db, "freelist_count"):
                break
            # It frees a page for each of its rows, which have no columns: SQLAlchemy would not fetch them.
            db.connection.cursor().execute(f"PRAGMA incremental_vacuum({_PAGES_AT_ONCE})").fetchall()
            shrunk = True
    if shrunk:  # the file itself becomes smaller when the log comes into it
        with database.reading() as db:
            db.exec_driver_sql("PRAGMA wal_checkpoint(PASSIVE)").all()


def _remove_some(db: Connection) -> int:
    """Remove some of the oldest windows, or, where there are none, of the oldest alerts; how many.

    Of all devices, or, where one takes more than others, of the one that takes most.
    """
    whose = largest(db, beyond=_MORE_THAN_OTHERS)
    if whose is None:
        return _remove_windows(db, _FEW) or _remove_alerts(db, _FEW_ALERTS)
    if whose.has_windows:
        return _remove_windows(db, _FEW, WINDOWS.c.stream_id == whose.stream_id)
    # By their start, as they lie in the index of streams.
    return _remove_alerts(db, _FEW_ALERTS, ALERTS.c.stream_id == whose.stream_id, by=ALERTS.c.raised_at)


def _remove_windows(db: Connection, most: int, *conditions: ColumnElement[bool]) -> int:
    """Remove the oldest for which all conditions hold; how many."""
    key = WINDOWS.c.stream_id, WINDOWS.c.instance, WINDOWS.c.seq
    oldest = select(*key).where(*conditions).order_by(WINDOWS.c.at).limit(most)
    return db.execute(delete(WINDOWS).where(tuple_(*key).in_(oldest))).rowcount


def _remove_alerts(
    db: Connection, most: int, *conditions: ColumnElement[bool], by: Column[float] = ALERTS.c.updated_at
) -> int:
    oldest = select(ALERTS.c.alert_id).where(*conditions).order_by(by).limit(most)
    ids: Sequence[str] = db.execute(oldest).scalars().all()
    if ids:
        for table in (THUMBNAILS, REVISIONS, ALERTS):
            db.execute(delete(table).where(table.c.alert_id.in_(ids)))
    return len(ids)


def _pragma(db: Connection, name: str) -> int:
    return int(db.exec_driver_sql(f"PRAGMA {name}").scalar_one())
