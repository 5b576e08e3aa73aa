"""A database, SQLite or PostgreSQL: how to write to it, how to read from it, and what differs between the two."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, Table, create_engine, event, select, text
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import URL
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import StaticPool

from driftprint.errors import MissingExtraError, StoreError
from driftprint_server.history.tables import META, METADATA, VERSION
from driftprint_server.history.usage import keep_count

_BUSY_SECONDS = 5.0
_LOG_PAGES = 10_000  # in the log beside the file before they go into it: windows of many streams touch the same again
_LOG_BYTES = 50_000_000  # what that log is cut back to
_SETUP_LOCK = 0x6472696674  # of PostgreSQL: replicas that start together make the tables one after the other
_CONNECT_ARGS: dict[str, Any] = {
    "connect_timeout": 5,
    "tcp_user_timeout": 10_000,
    "application_name": "driftprint",
    # A database that hangs must be an outage, not an end of all work.
    "options": "-c statement_timeout=60000 -c lock_timeout=30000",
}


class Database:
    """Transactions. Safe to use from several threads; those that write take turns, in the order in which they come.

    Args:
        url: of ``sqlite`` or ``postgresql``. An SQLite file is made where it is missing, with its folder, readable by
            its owner alone. A PostgreSQL need not be there yet.

    Raises:
        StoreError: where the file cannot be opened, is no database, or is of a later version.
        MissingExtraError: where the driver for PostgreSQL is not installed.
    """

    def __init__(self, url: URL) -> None:
        self.is_sqlite = url.get_backend_name() == "sqlite"
        self._where = url.database if self.is_sqlite else url.render_as_string(hide_password=True)
        self._turn, self._writer_lock = threading.Lock(), threading.Lock()
        self._ready = False
        if self.is_sqlite:
            path = Path(str(url.database))
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.touch(mode=0o600)
            except OSError as error:
                raise self._explain(error) from None
            self._writer, self._reader = _sqlite_engines(path)
            with self.writing():  # so that a wrong file is known at once
                pass
        else:
            self._writer = self._reader = _postgresql_engine(url)

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """A transaction: all that is written within is kept as a whole, or, where anything is raised, not at all.

        Raises:
            StoreError: where the database refuses, or is away. It is connected to anew by the next call.
        """
        # A lock alone would let the one who tidies take it again and again before the one who waits.
        with self._turn:
            self._writer_lock.acquire()
        try:
            with self._writer.begin() as db:
                if not self._ready:
                    self._set_up(db)
                yield db
            self._ready = True
        except SQLAlchemyError as error:
            raise self._explain(error) from None
        finally:
            self._writer_lock.release()

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A connection to read from.

        Raises:
            StoreError: as for `writing`.
        """
        if not self._ready:
            with self.writing():
                pass
        try:
            with self._reader.connect() as db:
                yield db
        except SQLAlchemyError as error:
            raise self._explain(error) from None

    def insert(self, table: Table) -> sqlite.Insert | postgresql.Insert:
        """An INSERT that can say what to do where the row is there already."""
        return sqlite.insert(table) if self.is_sqlite else postgresql.insert(table)

    def close(self) -> None:
        """Close all connections."""
        self._reader.dispose()
        self._writer.dispose()

    def _set_up(self, db: Connection) -> None:
        if not self.is_sqlite:
            db.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _SETUP_LOCK})
        METADATA.create_all(db)
        db.execute(self.insert(META).values(key="version", value=str(VERSION)).on_conflict_do_nothing())
        found = db.execute(select(META.c.value).where(META.c.key == "version")).scalar_one()
        if found != str(VERSION):
            raise StoreError(f"the history is of version {found}, this server reads {VERSION}", where=self._where)
        if self.is_sqlite:  # the other has no cap, so nobody asks whose it is
            keep_count(db)

    def _explain(self, error: Exception) -> StoreError:
        # SQLAlchemy's own message repeats the statement with its values.
        reason = str(getattr(error, "orig", None) or error).strip().replace("\n", " ")
        return StoreError(f"the history cannot be used ({reason})", where=self._where)


def _sqlite_engines(path: Path) -> tuple[Engine, Engine]:
    """One connection that writes, and some that read beside it."""
    url = URL.create("sqlite", database=str(path))
    writer = create_engine(
        url, poolclass=StaticPool, connect_args={"timeout": _BUSY_SECONDS, "check_same_thread": False}
    )

    @event.listens_for(writer, "connect")
    def _prepare_writer(db: sqlite3.Connection, _record: object) -> None:
        db.isolation_level = None  # the driver would begin transactions where it sees fit
        db.execute("PRAGMA auto_vacuum = INCREMENTAL")  # heeded before the first table is made
        db.execute("PRAGMA journal_mode = WAL")
        # What is acknowledged must survive a power cut: its device forgets it.
        db.execute("PRAGMA synchronous = FULL")
        db.execute(f"PRAGMA wal_autocheckpoint = {_LOG_PAGES}")
        db.execute(f"PRAGMA journal_size_limit = {_LOG_BYTES}")

    @event.listens_for(writer, "begin")
    def _begin(db: Connection) -> None:
        db.exec_driver_sql("BEGIN IMMEDIATE")

    reader = create_engine(url, isolation_level="AUTOCOMMIT", connect_args={"timeout": _BUSY_SECONDS})

    @event.listens_for(reader, "connect")
    def _prepare_reader(db: sqlite3.Connection, _record: object) -> None:
        db.execute("PRAGMA query_only = ON")

    return writer, reader


def _postgresql_engine(url: URL) -> Engine:
    try:
        return create_engine(
            url.set(drivername="postgresql+psycopg"), pool_pre_ping=True, pool_size=5, connect_args=_CONNECT_ARGS
        )
    except ModuleNotFoundError as error:
        raise MissingExtraError(f"a history in PostgreSQL needs the package {error.name}", extra="postgres") from None
