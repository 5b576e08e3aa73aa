"""The tables of users, tokens and sessions. No secret stands in them: passwords and keys are hashed."""

from __future__ import annotations

import hashlib
import sqlite3
from pathlib import Path

from driftprint_server.operators import OperatorStore

_SCHEMA = (
    """CREATE TABLE IF NOT EXISTS users (
        name TEXT PRIMARY KEY, role TEXT NOT NULL, password TEXT NOT NULL, made_at REAL NOT NULL)""",
    """CREATE TABLE IF NOT EXISTS tokens (
        name TEXT PRIMARY KEY, role TEXT NOT NULL, digest BLOB NOT NULL UNIQUE, made_at REAL NOT NULL,
        expires_at REAL, used_at REAL)""",
    """CREATE TABLE IF NOT EXISTS sessions (
        digest BLOB PRIMARY KEY, user TEXT NOT NULL, made_at REAL NOT NULL, seen_at REAL NOT NULL)""",
)

TOUCH_SECONDS = 60.0
"""When a session or token was last used is known to within this: not every request costs a write."""


def operators_path(server_store: Path) -> Path:
    """The `OperatorStore`'s file of the server that has `server_store`: beside it."""
    return server_store.with_name("operators.db")


def make_tables(store: OperatorStore) -> None:
    """Make those that are missing."""
    with store.transaction() as db:
        for statement in _SCHEMA:
            db.execute(statement)


def digest(secret: str) -> bytes:
    """What is kept of a random secret. One of 256 bits cannot be guessed, so a fast hash does."""
    return hashlib.sha256(secret.encode()).digest()


def end_sessions(db: sqlite3.Connection, user: str) -> None:
    """Log a user out everywhere."""
    db.execute("DELETE FROM sessions WHERE user = ?", (user,))
