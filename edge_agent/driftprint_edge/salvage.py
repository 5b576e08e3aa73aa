"""What can still be read of a damaged SQLite file.

Every row carries a checksum, so that nothing is taken for true that a disk has altered.
"""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zlib import crc32

_MOST_PROBES, _PROBES_BEYOND = 100_000, 10_000
"""Row ids that are tried between those that are listed, and where no later one is listed."""
_CORRUPT_CODES = (11, 26)
"""SQLITE_CORRUPT, SQLITE_NOTADB."""
_SAYS_CORRUPT = ("malformed", "not a database")

Row = tuple[Any, ...]


class DamagedError(sqlite3.DatabaseError):
    """The file is not what was written to it."""


@dataclass(frozen=True, slots=True)
class Table:
    """A table whose rows are sealed.

    Attributes:
        name: of the table.
        columns: all of them, in order; the first one is unique, the last one is ``crc``.
    """

    name: str
    columns: tuple[str, ...]

    @property
    def put(self) -> str:
        """The statement that writes a sealed row, in place of one with the same first column."""
        key, *others = self.columns
        values = ", ".join("?" * len(self.columns))
        changes = ", ".join(f"{name} = excluded.{name}" for name in others)
        return (
            f"INSERT INTO {self.name} ({', '.join(self.columns)}) VALUES ({values})"
            f" ON CONFLICT ({key}) DO UPDATE SET {changes}"
        )


def seal(values: Sequence[Any]) -> Row:
    """The values of a row, and their checksum behind them."""
    crc = 0
    for value in values:
        data = value if isinstance(value, bytes) else str(value).encode()
        crc = crc32(type(value).__name__.encode() + b":" + data, crc)
    return (*values, crc)


def is_sound(row: Row) -> bool:
    """Whether a row still holds what it was sealed with."""
    return seal(row[:-1]) == row


def is_damage(error: BaseException) -> bool:
    """Whether SQLite says that the file is damaged, or none of its own."""
    if isinstance(error, DamagedError):
        return True
    code = getattr(error, "sqlite_errorcode", None)  # new in Python 3.11
    if code is not None:
        return code & 0xFF in _CORRUPT_CODES
    return isinstance(error, sqlite3.DatabaseError) and any(words in str(error) for words in _SAYS_CORRUPT)


def connect(name: str | Path, *, uri: bool = False) -> sqlite3.Connection:
    """Open a database, for this process alone and any of its threads. Text that is none is no error, but a bad row.

    Raises:
        sqlite3.Error: where it cannot be opened.
    """
    db = sqlite3.connect(name, isolation_level=None, check_same_thread=False, timeout=5.0, uri=uri)
    db.text_factory = lambda text: text.decode(errors="replace")
    db.execute("PRAGMA locking_mode = EXCLUSIVE")
    return db


def listing(db: sqlite3.Connection) -> list[Row]:
    """The file's tables and indices, and where in it each begins.

    Raises:
        sqlite3.Error: where that cannot be read.
    """
    return db.execute("SELECT type, name, tbl_name, rootpage, sql FROM sqlite_master ORDER BY rowid").fetchall()


def check(db: sqlite3.Connection, tables: Sequence[Table]) -> None:
    """See that the whole file is as it was written.

    Raises:
        DamagedError: where a row is not; or sqlite3.Error, of which `is_damage` tells more.
    """
    found = [str(row[0]) for row in db.execute("PRAGMA quick_check(1)")]
    if found != ["ok"]:
        raise DamagedError(found[0] if found else "the file cannot be checked")
    for table in tables:
        for row in db.execute(f"SELECT {', '.join(table.columns)} FROM {table.name} NOT INDEXED"):
            if not is_sound(row):
                raise DamagedError(f"a row of {table.name} has been altered")


def salvage(source: sqlite3.Connection, into: sqlite3.Connection, tables: Sequence[Table]) -> int:
    """Copy all sound rows.

    Args:
        source: may be damaged.
        into: has the same tables, empty.
        tables: what to copy.

    Returns:
        How many rows are there, as far as can be known, and cannot be read or are not sound.

    Raises:
        sqlite3.Error: where `into` takes no more.
    """
    lost = 0
    for table in tables:
        for row in _rows(source, table):
            if row is None:
                lost += 1
            else:
                into.execute(table.put, row)
    return lost


def lend_first_page(damaged: Path, fresh: Path, copy: Path) -> None:
    """Copy a file whose first page, which says where all tables are, is damaged, with that of a fresh file.

    Args:
        damaged: the file; a write-ahead log beside it is copied as well.
        fresh: a file of the same tables, made in the same order: they begin on the same pages.
        copy: where to.

    Raises:
        OSError: where there is no room.
    """
    shutil.copyfile(damaged, copy)
    with suppress(FileNotFoundError):
        shutil.copyfile(beside(damaged, "-wal"), beside(copy, "-wal"))
    with fresh.open("rb") as file:
        page = bytearray(file.read(100))
        size = int.from_bytes(page[16:18], "big")
        page += file.read(size - len(page))
    # See https://www.sqlite.org/fileformat.html#the_database_header
    page[18:20] = b"\x02\x02"  # has a write-ahead log
    page[28:32] = (-(-damaged.stat().st_size // size)).to_bytes(4, "big")
    page[32:40] = bytes(8)  # no list of free pages
    page[92:96] = page[24:28]  # the number of pages is right
    with copy.open("r+b") as file:
        file.write(page)


def beside(path: Path, suffix: str) -> Path:
    """The file of the same name with a suffix."""
    return path.with_name(path.name + suffix)


def _rows(source: sqlite3.Connection, table: Table) -> Iterator[Row | None]:
    """The sound rows of a table, and None for each other one that is known to be there."""
    known, guessed = _row_ids(source, table.name)
    select = f"SELECT {', '.join(table.columns)} FROM {table.name} NOT INDEXED WHERE rowid = ?"
    for number in sorted([*known, *guessed]):
        try:
            row = source.execute(select, (number,)).fetchone()
        except sqlite3.Error:
            row = None
        if row is not None and is_sound(row):
            yield row
        elif row is not None or number not in guessed:
            yield None


def _row_ids(source: sqlite3.Connection, table: str) -> tuple[list[int], range]:
    """The rows that are listed from either end, and those that may lie between: beyond a damaged page others follow."""
    front, whole = _listed(source, f"SELECT rowid FROM {table} NOT INDEXED ORDER BY rowid")
    if whole:
        return front, range(0)
    back, _ = _listed(source, f"SELECT rowid FROM {table} NOT INDEXED ORDER BY rowid DESC")
    first = front[-1] + 1 if front else 0
    behind = sorted(set(back) - set(front))
    last = behind[0] if behind else first + _PROBES_BEYOND
    return front + behind, range(first, min(last, first + _MOST_PROBES))


def _listed(source: sqlite3.Connection, query: str) -> tuple[list[int], bool]:
    """The row ids up to the first fault, and whether there was none. In a damaged tree they may go in a circle."""
    found: list[int] = []
    try:
        for (number,) in source.execute(query):
            if len(found) > 1 and (number - found[-1]) * (found[1] - found[0]) <= 0:
                return found, False
            found.append(number)
    except sqlite3.Error:
        return found, False
    return found, True
