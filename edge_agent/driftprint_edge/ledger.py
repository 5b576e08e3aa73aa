"""Who a store is and what it counts: its head, carried through damage, restarts and times without a disk."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from pathlib import Path

from driftprint.clock import Clock
from driftprint_edge.database import Database
from driftprint_edge.salvage import DamagedError, seal
from driftprint_edge.tables import META, OUTBOX, SCHEMA, TABLES, Head, get_head, instance_told, newest_told, put_head

_RESERVE = 10_000
"""Numbers that are passed over where some may have been used that are not on record: after a kill, a disk may have lost
its latest writes, no more than fit into SQLite's write-ahead log."""


class Ledger(Database):
    """A database with a head.

    Args:
        path: the SQLite file, made where it is missing, with its folder.
        clock: dates what is moved aside.
        new_id: makes an instance's id.
    """

    instance: str
    """Made once, with the file."""

    def __init__(self, path: Path, *, clock: Clock, new_id: Callable[[], str]) -> None:
        super().__init__(path, schema=SCHEMA, tables=TABLES, clock=clock)
        self._new_id = new_id
        self._known: Head | None = None
        self._read_up_to = 0
        """Later numbers were given since the store was opened."""
        self._written = 0

    @property
    def dropped_total(self) -> int:
        """Messages dropped because the outbox was full, since the instance was made."""
        return self._head.dropped

    @property
    def mended_total(self) -> int:
        """How often the file was damaged and has been made anew of what could be read, since the instance was made."""
        return self._head.mended

    @property
    def damaged_rows_total(self) -> int:
        """Rows that were lost by it, as far as is known."""
        return self._head.damaged_rows

    @property
    def newest(self) -> int:
        """Later messages have larger numbers than this."""
        return self._written

    @property
    def _head(self) -> Head:
        if self._known is None:
            raise self._explain(sqlite3.ProgrammingError("it has not been opened"))
        return self._known

    def _begin(self, db: sqlite3.Connection) -> None:
        stored = get_head(db) or Head(instance=self._new_id())
        messages, size = db.execute("SELECT count(*), coalesce(sum(length(payload)), 0) FROM outbox").fetchone()
        head = stored.model_copy(update={"messages": messages, "size": size, "in_use": True})
        if self._known is None:
            head = head.model_copy(update={"seq": head.seq + _RESERVE if stored.in_use else head.seq})
        else:  # while the agent runs it stays who it is
            counts = ("seq", "dropped", "mended", "damaged_rows")
            highest = {name: max(getattr(head, name), getattr(self._known, name)) for name in counts}
            head = head.model_copy(update={**highest, "instance": self._known.instance})
        put_head(db, head)

    def _load(self, db: sqlite3.Connection) -> None:
        head = get_head(db)
        if head is None:
            raise self._explain(DamagedError("it has no head"))
        self._known = head
        self.instance = head.instance
        self._written = self._read_up_to = head.seq

    def _repair(self, db: sqlite3.Connection, lost: int) -> int:
        stored = get_head(db)
        (messages,) = db.execute("SELECT count(*) FROM outbox").fetchone()
        if stored is not None:
            seq, lost = stored.seq, max(lost, stored.messages - messages)
        else:
            seq = newest_told(db)
            stored = self._known or Head(instance=self._new_id())
            stored = stored.model_copy(update={"instance": instance_told(db) or stored.instance})
        counts = {"mended": stored.mended + 1, "damaged_rows": stored.damaged_rows + lost}
        put_head(db, stored.model_copy(update={"seq": seq + _RESERVE, "in_use": False, **counts}))
        return lost

    def _take_over(self, memory: sqlite3.Connection, file: sqlite3.Connection) -> None:
        """Of a file that could be read at the opening, memory has all, and what came since. Of one that has appeared
        since then, the messages get new numbers: nothing of it must be lost.
        """
        head, theirs = self._head, get_head(file)
        same = theirs is not None and theirs.instance == head.instance
        after = self._read_up_to if same else 0
        strangers = file.execute(
            "SELECT urgent, topic, payload, boot, monotonic, wall FROM outbox WHERE seq > ? ORDER BY seq", (after,)
        ).fetchall()
        for table in TABLES if same else (META, OUTBOX):
            file.execute(f"DELETE FROM {table.name}")
        for table in TABLES:
            rows = memory.execute(f"SELECT {', '.join(table.columns)} FROM {table.name}")
            file.executemany(table.put, rows)
        for seq, (urgent, topic, payload, *when) in enumerate(strangers, head.seq + 1):
            addressed = json.dumps({**json.loads(payload), "instance": head.instance, "seq": seq}, ensure_ascii=False)
            file.execute(OUTBOX.put, seal((seq, urgent, topic, addressed.encode(), *when)))
        mended = {} if theirs is None else {"mended": max(head.mended, theirs.mended)}
        put_head(file, head.model_copy(update={"seq": head.seq + len(strangers), **mended}))
