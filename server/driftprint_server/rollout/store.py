"""Rollouts on disk, in the operators' file."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass

import msgspec

from driftprint_server.operators import OperatorStore
from driftprint_server.rollout.model import DeviceKey, Facts, Rollout, Step, StreamKey

_SCHEMA = (
    "CREATE TABLE IF NOT EXISTS rollouts (id TEXT PRIMARY KEY, number INTEGER NOT NULL, rollout TEXT NOT NULL)",
    """CREATE TABLE IF NOT EXISTS rollout_streams (
    rollout TEXT NOT NULL, site TEXT NOT NULL, device TEXT NOT NULL, stream TEXT NOT NULL, facts TEXT NOT NULL,
    PRIMARY KEY (rollout, site, device, stream)) WITHOUT ROWID""",
    """CREATE TABLE IF NOT EXISTS rollout_steps (
    step INTEGER PRIMARY KEY, rollout TEXT NOT NULL, at REAL NOT NULL, who TEXT NOT NULL, action TEXT NOT NULL,
    detail TEXT NOT NULL)""",
    "CREATE INDEX IF NOT EXISTS rollout_steps_of ON rollout_steps (rollout, step)",
    """CREATE TABLE IF NOT EXISTS rollout_commands (
    site TEXT NOT NULL, device TEXT NOT NULL, payload BLOB NOT NULL, sent_at REAL,
    PRIMARY KEY (site, device)) WITHOUT ROWID""",
)

_encode = msgspec.json.encode
_decode_rollout = msgspec.json.Decoder(Rollout).decode
_decode_facts = msgspec.json.Decoder(Facts).decode


@dataclass(frozen=True, slots=True)
class Command:
    """What a device is told.

    Attributes:
        payload: the retained message; empty where nothing is wanted of it.
        sent_at: when it was last handed to the broker's link; None where it has not been.
    """

    payload: bytes
    sent_at: float | None = None


class RolloutStore:
    """The tables.

    Args:
        store: the file.

    Raises:
        StoreError: where the disk refuses.
    """

    def __init__(self, store: OperatorStore) -> None:
        self._store = store
        self.transaction = store.transaction
        with store.transaction() as db:
            for statement in _SCHEMA:
                db.execute(statement)

    def rollouts(self) -> dict[str, Rollout]:
        """All of them by id, the latest first."""
        with self._store.transaction() as db:
            rows = db.execute("SELECT id, rollout FROM rollouts ORDER BY number DESC").fetchall()
        return {rollout: _decode_rollout(text) for rollout, text in rows}

    def facts(self, rollout: str) -> dict[StreamKey, Facts]:
        """What is known of a rollout's streams."""
        with self._store.transaction() as db:
            rows = db.execute(
                "SELECT site, device, stream, facts FROM rollout_streams WHERE rollout = ?", (rollout,)
            ).fetchall()
        return {StreamKey(site, device, stream): _decode_facts(text) for site, device, stream, text in rows}

    def commands(self) -> dict[DeviceKey, Command]:
        """What devices are told."""
        with self._store.transaction() as db:
            rows = db.execute("SELECT site, device, payload, sent_at FROM rollout_commands").fetchall()
        return {DeviceKey(site, device): Command(bytes(payload), sent) for site, device, payload, sent in rows}

    def steps(self, rollout: str) -> list[Step]:
        """What has happened to a rollout, in order."""
        with self._store.transaction() as db:
            rows = db.execute(
                "SELECT rollout, at, who, action, detail FROM rollout_steps WHERE rollout = ? ORDER BY step", (rollout,)
            ).fetchall()
        return [Step(*row) for row in rows]

    @staticmethod
    def put_rollouts(db: sqlite3.Connection, rollouts: Iterable[Rollout]) -> None:
        """Keep rollouts as they are now."""
        db.executemany(
            "REPLACE INTO rollouts VALUES (?, ?, ?)",
            ((each.id, each.number, _encode(each).decode()) for each in rollouts),
        )

    @staticmethod
    def put_facts(db: sqlite3.Connection, rollout: str, facts: Iterable[tuple[StreamKey, Facts]]) -> None:
        """Keep what is known of streams now."""
        db.executemany(
            "REPLACE INTO rollout_streams VALUES (?, ?, ?, ?, ?)",
            ((rollout, *key, _encode(known).decode()) for key, known in facts),
        )

    @staticmethod
    def put_commands(db: sqlite3.Connection, commands: Iterable[tuple[DeviceKey, Command | None]]) -> None:
        """Keep what devices are told; None forgets it."""
        for (site, device), command in commands:
            if command is None:
                db.execute("DELETE FROM rollout_commands WHERE site = ? AND device = ?", (site, device))
            else:
                row = (site, device, command.payload, command.sent_at)
                db.execute("REPLACE INTO rollout_commands VALUES (?, ?, ?, ?)", row)

    @staticmethod
    def add_steps(db: sqlite3.Connection, steps: Iterable[Step]) -> None:
        """Keep what has happened."""
        db.executemany(
            "INSERT INTO rollout_steps (rollout, at, who, action, detail) VALUES (?, ?, ?, ?, ?)",
            ((step.rollout, step.at, step.who, step.action, step.detail) for step in steps),
        )
