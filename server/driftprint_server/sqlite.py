"""How the server opens SQLite files of its own."""

from __future__ import annotations

import sqlite3
from pathlib import Path


def connect(path: Path, *, busy_seconds: float) -> sqlite3.Connection:
    """A connection for several threads that take turns, which begin and end their transactions themselves.

    Args:
        path: made where it is missing, with its folder; readable by its owner alone.
        busy_seconds: how long to wait for another program that has the file locked.

    Raises:
        OSError: where it cannot be made.
        sqlite3.Error: where it cannot be opened, or is no database.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch(mode=0o600)
    db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=busy_seconds)
    db.execute("PRAGMA journal_mode = WAL")
    # What is acknowledged must survive a power cut: whoever said it forgets it.
    db.execute("PRAGMA synchronous = FULL")
    return db
