"""The tables: the same in SQLite and PostgreSQL. All times are Unix seconds by the server's clock."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Column,
    Double,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    String,
    Table,
    Text,
    UniqueConstraint,
)

from driftprint.messages import Cause

VERSION = 1
"""Of the tables."""

METADATA = MetaData()

META = Table(
    "history_meta",
    METADATA,
    Column("key", String, primary_key=True),
    Column("value", String, nullable=False),
)

STREAMS = Table(
    "history_streams",
    METADATA,
    Column("id", Integer, primary_key=True),
    Column("site", String, nullable=False),
    Column("device", String, nullable=False),
    Column("stream", String, nullable=False),
    UniqueConstraint("site", "device", "stream"),
)
"""Rows of windows and alerts name a stream by its number here. A stream is never taken out."""

WINDOWS = Table(
    "history_windows",
    METADATA,
    Column("stream_id", Integer, primary_key=True, autoincrement=False),
    Column("instance", BigInteger, primary_key=True, autoincrement=False),  # see `pack_instance`
    Column("seq", BigInteger, primary_key=True, autoincrement=False),
    Column("at", Double, nullable=False),
    Column("frames_total", BigInteger, nullable=False),
    Column("outliers_total", BigInteger, nullable=False),
    Column("outlier_ratio", Double),  # of the window by count; NULL where there is none, or it is empty
    Column("outlier_ratio_by_time", Double),
    Column("evidence", Double, nullable=False),
    Column("frames_per_second", Double, nullable=False),
    Column("alarms", SmallInteger, nullable=False),  # see `BITS`
    Column("bundle_name", String, nullable=False),
    Column("bundle_version", BigInteger, nullable=False),
    Column("classes", Text),  # of the window by count, as JSON: {label: [frames, outlier ratio]}
    # Rows of a stream lie together, in the order in which they were made: a chart reads neighbours.
    sqlite_with_rowid=False,
)
Index("history_windows_of_stream", WINDOWS.c.stream_id, WINDOWS.c.at)
Index("history_windows_by_age", WINDOWS.c.at)

ALERTS = Table(
    "history_alerts",
    METADATA,
    Column("alert_id", String, primary_key=True),
    # An id belongs to the stream that used it first: another that copies it changes nothing.
    Column("stream_id", Integer, nullable=False),
    Column("instance", BigInteger, nullable=False),
    Column("seq", BigInteger, nullable=False),
    Column("revision", BigInteger, nullable=False),
    Column("first_revision", BigInteger, nullable=False),  # that `raised_at` was reckoned from
    Column("status", String, nullable=False),
    Column("cause", String, nullable=False),
    Column("raised_at", Double, nullable=False),
    Column("suspected_at", Double),
    Column("cleared_at", Double),
    Column("updated_at", Double, nullable=False),
    Column("frames_total", BigInteger, nullable=False),
    Column("outlier_ratio", Double),
    Column("p0", Double),
    Column("frames_per_false_alarm", Double),
    Column("layers", Text, nullable=False),  # as JSON, as are the classes
    Column("classes", Text, nullable=False),
    Column("summary", Text, nullable=False),
    Column("bundle_name", String, nullable=False),
    Column("bundle_version", BigInteger, nullable=False),
)
"""Each alert as its highest revision has it."""
Index("history_alerts_of_stream", ALERTS.c.stream_id, ALERTS.c.raised_at)
Index("history_alerts_by_start", ALERTS.c.raised_at)
Index("history_alerts_by_age", ALERTS.c.updated_at)

REVISIONS = Table(
    "history_revisions",
    METADATA,
    Column("alert_id", String, primary_key=True),
    Column("revision", BigInteger, primary_key=True, autoincrement=False),
    Column("status", String, nullable=False),
    Column("at", Double, nullable=False),
    Column("outlier_ratio", Double),
    Column("summary", Text, nullable=False),
    sqlite_with_rowid=False,
)

THUMBNAILS = Table(
    "history_thumbnails",
    METADATA,
    Column("alert_id", String, primary_key=True),
    Column("revision", BigInteger, primary_key=True, autoincrement=False),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("jpeg", LargeBinary, nullable=False),
)
"""Of an alert's highest revision that has some."""

BITS: dict[Cause, int] = {
    Cause.DRIFT: 1,
    Cause.CLASS_MIX: 2,
    Cause.MISSING: 4,
    Cause.FROZEN: 8,
    Cause.BLACK: 16,
    Cause.BLOWN_OUT: 32,
    Cause.COVERED: 64,
    Cause.BLURRED: 128,
}
"""What stands for an alarm of each cause in ``alarms``; never to be changed."""


def pack_instance(instance: str) -> int:
    """An instance's 16 hexadecimal digits as a signed integer of 64 bits.

    >>> unpack_instance(pack_instance("f00000000000000a"))
    'f00000000000000a'
    """
    number = int(instance, 16)
    return number - 2**64 if number >= 2**63 else number


def unpack_instance(number: int) -> str:
    """The other way."""
    return f"{number % 2**64:016x}"
