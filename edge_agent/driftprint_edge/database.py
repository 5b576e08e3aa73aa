"""An SQLite file with one owner, that mends itself.

A damaged file is moved aside, and what can be read of it goes into a new one. Where the disk takes no writes at the
opening, the database is in memory until it does.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from glob import escape
from pathlib import Path

import structlog

from driftprint.clock import Clock
from driftprint.errors import StoreError
from driftprint_edge.salvage import (
    DamagedError,
    Table,
    beside,
    check,
    connect,
    is_damage,
    lend_first_page,
    listing,
    salvage,
)

MOST_KEPT_ASIDE = 3
"""Damaged files; the oldest goes first."""

_SIDE_FILES = ("-wal", "-shm")
_BUSY_CODES = (5, 6)
_MISPLACED = (FileExistsError, IsADirectoryError, NotADirectoryError)


class Database(ABC):
    """A file of sealed tables. What is in them is for the subclass to say. Safe to use from several threads.

    Args:
        path: the SQLite file, made where it is missing, with its folder.
        schema: makes the tables. A file whose tables were made otherwise counts as damaged.
        tables: all of them.
        clock: dates what is moved aside.
    """

    def __init__(self, path: Path, *, schema: str, tables: Sequence[Table], clock: Clock) -> None:
        self._path = path
        self._schema = schema
        self._tables = tables
        self._clock = clock
        self._lock = threading.RLock()
        self._db: sqlite3.Connection | None = None
        self._closed = False
        self._volatile = False
        self._log = structlog.get_logger().bind(store=str(path))

    @property
    def volatile(self) -> bool:
        """Whether it is in memory alone, because the disk takes no writes."""
        return self._volatile

    def settle(self) -> None:
        """Go over to the file where it is in memory alone and the disk takes writes again. Never raises."""
        with self._lock:
            if self._closed or not self._volatile or self._db is None:
                return
            memory = self._db
            try:
                file = self._open_sound()
            except (OSError, sqlite3.Error):
                return
            try:
                with _transaction(file):
                    self._take_over(memory, file)
                    self._begin(file)
                _checkpoint(file)
            except sqlite3.Error:
                file.close()
                return
            memory.close()
            self._db, self._volatile = file, False
            self._load(file)
            self._log.info("the store is on disk again")

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._closed = True
            if self._db is not None:
                self._db.close()

    @abstractmethod
    def _begin(self, db: sqlite3.Connection) -> None:
        """Write what must be written at the opening; part of a transaction."""

    @abstractmethod
    def _load(self, db: sqlite3.Connection) -> None:
        """Take note of what the database holds, which is new or may have changed."""

    @abstractmethod
    def _repair(self, db: sqlite3.Connection, lost: int) -> int:
        """Make the salvaged rows consistent; part of a transaction.

        Args:
            db: holds what could be read.
            lost: how many rows are there that could not.

        Returns:
            How many are missing.
        """

    @abstractmethod
    def _take_over(self, memory: sqlite3.Connection, file: sqlite3.Connection) -> None:
        """Bring the file up to what is in memory; part of a transaction on the file."""

    def _open(self, damage: sqlite3.Error | None = None) -> None:
        """Open the file, or what can be read of it in memory.

        Args:
            damage: what was wrong with it when it was used.

        Raises:
            StoreError: where it is in use, or where something else is in its place.
        """
        self._db, self._volatile = None, False
        try:
            db = self._open_sound(damage)
            try:
                with _transaction(db):
                    self._begin(db)
                _checkpoint(db)
            except BaseException:
                db.close()
                raise
        except (OSError, sqlite3.Error) as error:
            if isinstance(error, _MISPLACED) or _is_busy(error):
                raise self._explain(error) from None
            self._log.error("the disk takes no writes; the store is in memory alone", what=str(error))
            db = self._open_in_memory()
            self._volatile = True
        self._db = db
        self._load(db)

    def _open_sound(self, damage: sqlite3.Error | None = None) -> sqlite3.Connection:
        """The file, mended if need be.

        Raises:
            OSError: where the disk refuses.
            sqlite3.Error: likewise; or the file is in use.
        """
        if self._path.is_dir():
            raise IsADirectoryError("a folder is in its place")
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._finish_mending()
        if damage is None:
            try:
                return self._connect()
            except sqlite3.Error as error:
                if not is_damage(error):
                    raise
                damage = error
        self._mend(damage)
        return self._connect()

    def _connect(self) -> sqlite3.Connection:
        """The file as it is.

        Raises:
            sqlite3.Error: where it is damaged, in use, or cannot be used; see `is_damage`.
        """
        if _size(self._path) == 0 and _size(beside(self._path, "-wal")) > 0:
            raise DamagedError("the file is empty, its write-ahead log is not")  # which SQLite would delete
        # A second process on the same file is refused; the lock ends with the process, however it ends.
        db = connect(self._path)
        try:
            db.execute("PRAGMA journal_mode = WAL")
            # An alert must survive a power cut the moment it is committed.
            db.execute("PRAGMA synchronous = FULL")
            if not listing(db):
                self._make_tables(db)
            self._check(db)
        except BaseException:
            with suppress(sqlite3.Error):
                db.close()
            raise
        return db

    def _check(self, db: sqlite3.Connection) -> None:
        if not self._has_our_tables(db):
            raise DamagedError("its tables are not those of this version")
        check(db, self._tables)

    def _has_our_tables(self, db: sqlite3.Connection) -> bool:
        with closing(connect(":memory:")) as fresh:
            self._make_tables(fresh)
            return listing(db) == listing(fresh)

    def _make_tables(self, db: sqlite3.Connection) -> None:
        db.executescript(f"BEGIN IMMEDIATE; {self._schema} COMMIT;")

    def _mend(self, damage: sqlite3.Error) -> None:
        """Move the damaged file aside and put a new one in its place. A kill at any moment is made up for at the next
        start: while the new file is not complete, it bears another name.
        """
        if not self._path.exists():
            return
        self._unfinished.touch()
        aside = self._aside()
        self._path.replace(aside)
        lost = self._make_anew(aside)
        self._log.error("the store was damaged and has been mended", what=str(damage), aside=str(aside), rows_lost=lost)

    def _finish_mending(self) -> None:
        """Do what a kill has kept `_mend` from doing."""
        if not self._unfinished.exists():
            return
        kept = self._kept_aside()
        if self._path.exists() or not kept:
            self._unfinished.unlink()
        else:
            self._make_anew(kept[-1])

    def _make_anew(self, aside: Path) -> int:
        for suffix in _SIDE_FILES:
            with suppress(FileNotFoundError):
                beside(self._path, suffix).replace(beside(aside, suffix))
        self._unfinished.write_bytes(b"")
        with closing(connect(self._unfinished)) as db:
            db.execute("PRAGMA journal_mode = MEMORY")  # of a file that is not yet in use no journal must be left
            db.execute("PRAGMA synchronous = FULL")
            self._make_tables(db)
            with _transaction(db):
                lost = self._repair(db, self._salvage(aside, db))
        self._unfinished.replace(self._path)
        _sync_folder(self._path.parent)
        for old in self._kept_aside()[:-MOST_KEPT_ASIDE]:
            for suffix in ("", *_SIDE_FILES):
                beside(old, suffix).unlink(missing_ok=True)
        return lost

    def _salvage(self, damaged: Path, into: sqlite3.Connection) -> int:
        """Copy what can be read of a damaged file.

        Returns:
            How many rows are known to be lost.

        Raises:
            OSError: where there is no room for a second copy, which it takes where the first page is damaged.
            sqlite3.Error: where `into` takes no more.
        """
        if (source := self._readable(damaged)) is not None:
            with closing(source):
                return salvage(source, into, self._tables)
        copy = beside(damaged, ".copy")
        try:
            lend_first_page(damaged, self._unfinished, copy)
            if (source := self._readable(copy)) is None:
                return 0
            with closing(source):
                return salvage(source, into, self._tables)
        finally:
            for suffix in ("", *_SIDE_FILES):
                beside(copy, suffix).unlink(missing_ok=True)

    def _readable(self, path: Path) -> sqlite3.Connection | None:
        """A file whose first page is in order; None where it is not."""
        if _size(path) == 0:
            return None  # of an empty file SQLite would delete the write-ahead log
        with suppress(sqlite3.Error), ExitStack() as stack:
            source = stack.enter_context(closing(connect(f"{path.resolve().as_uri()}?mode=rw", uri=True)))
            if self._has_our_tables(source):
                stack.pop_all()
                return source
        return None

    def _open_in_memory(self) -> sqlite3.Connection:
        """A database in memory, with what can be read of the file."""
        db = connect(":memory:")
        self._make_tables(db)
        with _transaction(db):
            lost = 0
            with suppress(OSError, sqlite3.Error), closing(self._read_only()) as source:
                lost = salvage(source, db, self._tables)
            if lost:
                self._repair(db, lost)
            self._begin(db)
        return db

    def _read_only(self) -> sqlite3.Connection:
        """The file, or what was last moved aside where its successor is not complete.

        Raises:
            OSError: where there is none.
            sqlite3.Error: where it cannot be read.
        """
        path = self._path
        if not path.exists() and (kept := self._kept_aside()):
            path = kept[-1]
        # A write-ahead log can be read without writing, but only without locks; where there is no file of that name,
        # or no such choice, not even that.
        try:
            source = connect(f"{path.resolve().as_uri()}?mode=ro&vfs=unix-none", uri=True)
            listing(source)
        except sqlite3.Error:
            source = connect(f"{path.resolve().as_uri()}?immutable=1", uri=True)
        return source

    @property
    def _unfinished(self) -> Path:
        return beside(self._path, ".mending")

    def _aside(self) -> Path:
        """A name under which nothing has been moved aside yet; later ones have larger numbers, whatever the clock."""
        kept = self._kept_aside()
        return beside(self._path, f".damaged-{max([int(self._clock.now().wall), *(_number(old) + 1 for old in kept)])}")

    def _kept_aside(self) -> list[Path]:
        """What has been moved aside, the oldest first."""
        found = self._path.parent.glob(f"{escape(self._path.name)}.damaged-*")
        return sorted((path for path in found if path.suffix.rpartition("-")[2].isdecimal()), key=_number)

    @contextmanager
    def _guarded(self) -> Iterator[sqlite3.Connection]:
        """The open database, under the lock. Damage that shows is mended; what was tried has then still failed.

        Raises:
            StoreError: whenever SQLite fails.
        """
        with self._lock:
            if self._db is None and not self._closed:
                self._open()
            if self._db is None or self._closed:
                raise self._explain(sqlite3.ProgrammingError("it is closed"))
            try:
                yield self._db
            except sqlite3.Error as error:
                if is_damage(error) and not self._volatile:
                    with suppress(sqlite3.Error):
                        self._db.close()
                    self._open(error)
                    raise StoreError(f"the store was damaged ({error})", where=str(self._path)) from None
                raise self._explain(error) from None

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """All or nothing, under the lock.

        Raises:
            StoreError: whenever SQLite fails; nothing has then been changed.
        """
        with self._guarded() as db, _transaction(db):
            yield db

    def _explain(self, error: Exception) -> StoreError:
        return StoreError(f"the store cannot be used ({error})", where=str(self._path))


@contextmanager
def _transaction(db: sqlite3.Connection) -> Iterator[None]:
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:
            with suppress(sqlite3.Error):
                db.execute("ROLLBACK")
        raise


def _checkpoint(db: sqlite3.Connection) -> None:
    """Bring what has been written so far into the file itself."""
    db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()


def _is_busy(error: BaseException) -> bool:
    code = getattr(error, "sqlite_errorcode", None)  # new in Python 3.11
    if code is not None:
        return code & 0xFF in _BUSY_CODES
    return isinstance(error, sqlite3.OperationalError) and "is locked" in str(error)


def _size(path: Path) -> int:
    with suppress(FileNotFoundError):
        return path.stat().st_size
    return 0


def _number(aside: Path) -> int:
    return int(aside.suffix.rpartition("-")[2])


def _sync_folder(folder: Path) -> None:
    """Make renames in it outlast a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
