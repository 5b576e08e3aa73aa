"""The tables of the store, and what is done to them alike in a file, in memory and in one that is being mended."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict

from driftprint_edge.salvage import Table, seal

# Files whose tables were made by another text than this are made anew, at the next start.
SCHEMA = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL, crc INTEGER NOT NULL);
CREATE TABLE outbox (
    seq INTEGER PRIMARY KEY, urgent INTEGER NOT NULL, topic TEXT NOT NULL, payload BLOB NOT NULL,
    boot TEXT NOT NULL, monotonic REAL NOT NULL, wall REAL NOT NULL, crc INTEGER NOT NULL);
CREATE INDEX outbox_order ON outbox (urgent, seq);
CREATE TABLE baseline (
    id INTEGER PRIMARY KEY, stream TEXT NOT NULL, bundle TEXT NOT NULL, recorded_at REAL NOT NULL,
    baseline TEXT NOT NULL, forgotten_at REAL, crc INTEGER NOT NULL);
CREATE TABLE choice (stream TEXT PRIMARY KEY, choice TEXT NOT NULL, crc INTEGER NOT NULL);
CREATE TABLE stream (
    name TEXT PRIMARY KEY, state TEXT NOT NULL, window INTEGER, alert BLOB, crc INTEGER NOT NULL);
"""
META = Table("meta", ("key", "value", "crc"))
OUTBOX = Table("outbox", ("seq", "urgent", "topic", "payload", "boot", "monotonic", "wall", "crc"))
BASELINE = Table("baseline", ("id", "stream", "bundle", "recorded_at", "baseline", "forgotten_at", "crc"))
CHOICE = Table("choice", ("stream", "choice", "crc"))
STREAM = Table("stream", ("name", "state", "window", "alert", "crc"))
"""`window` is the number of the latest one, `alert` the latest alert as it was recorded."""
TABLES = (META, OUTBOX, BASELINE, CHOICE, STREAM)


class Head(BaseModel):
    """What is known of the whole store; one row of the table `meta`."""

    model_config = ConfigDict(frozen=True)

    instance: str
    seq: int = 0
    """Of the latest message."""
    messages: int = 0
    """In the outbox."""
    size: int = 0
    """Bytes of their payloads."""
    dropped: int = 0
    mended: int = 0
    damaged_rows: int = 0
    in_use: bool = False
    """Whether it was not closed."""


def get_head(db: sqlite3.Connection) -> Head | None:
    """The head; None where it is not there (yet)."""
    row = db.execute("SELECT value FROM meta WHERE key = 'head'").fetchone()
    return Head.model_validate_json(row[0]) if row else None


def put_head(db: sqlite3.Connection, head: Head) -> None:
    """Write the head; part of a transaction."""
    db.execute(META.put, seal(("head", head.model_dump_json())))


def delete(db: sqlite3.Connection, seqs: Sequence[int]) -> list[int]:
    """Take messages out of the outbox; the bytes of each one that was in it."""
    gone = []
    for seq in seqs:
        row = db.execute("SELECT length(payload) FROM outbox WHERE seq = ?", (seq,)).fetchone()
        if row is not None:
            db.execute("DELETE FROM outbox WHERE seq = ?", (seq,))
            gone.append(int(row[0]))
    return gone


def instance_told(db: sqlite3.Connection) -> str | None:
    """The instance that the messages name."""
    row = db.execute(
        "SELECT payload FROM outbox UNION ALL SELECT alert FROM stream WHERE alert IS NOT NULL LIMIT 1"
    ).fetchone()
    return str(json.loads(row[0])["instance"]) if row else None


def newest_told(db: sqlite3.Connection) -> int:
    """The largest number that is on record, but for the head; 0 where there is none."""
    (seq,) = db.execute("SELECT max(seq) FROM (SELECT seq FROM outbox UNION SELECT window FROM stream)").fetchone()
    return seq or 0
