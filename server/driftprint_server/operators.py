"""What operators decide, in one SQLite file of its own: each module keeps its tables in it."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from driftprint.errors import StoreError
from driftprint_server.sqlite import connect

_BUSY_SECONDS = 5.0


class OperatorStore:
    """The file. Safe to use from several threads, which take turns.

    Args:
        path: made where it is missing, with its folder; readable by its owner alone.

    Raises:
        StoreError: where it cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        try:
            self._db = connect(path, busy_seconds=_BUSY_SECONDS)
        except (OSError, sqlite3.Error) as error:
            raise self._explain(error) from None

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """All that is written within is kept as a whole, or, where anything is raised, not at all.

        Raises:
            StoreError: where the disk refuses.
        """
        with self._lock:
            try:
                self._db.execute("BEGIN IMMEDIATE")
                try:
                    yield self._db
                    self._db.execute("COMMIT")
                finally:
                    if self._db.in_transaction:
                        self._db.execute("ROLLBACK")
            except sqlite3.Error as error:
                raise self._explain(error) from None

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._db.close()

    def _explain(self, error: Exception) -> StoreError:
        return StoreError(f"operators' decisions cannot be kept ({error})", where=str(self._path))
