"""Who did what, and when: a line for whatever an operator changes, written together with the change."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping

from pydantic import BaseModel, ConfigDict, JsonValue

from driftprint.clock import Clock
from driftprint_server.operators import OperatorStore

_SCHEMA = """
CREATE TABLE IF NOT EXISTS audit (
    line INTEGER PRIMARY KEY AUTOINCREMENT, at REAL NOT NULL, who TEXT NOT NULL, action TEXT NOT NULL,
    target TEXT NOT NULL, detail TEXT NOT NULL)
"""


class AuditLine(BaseModel):
    """One change, or one attempt at one."""

    model_config = ConfigDict(frozen=True)

    line: int
    """Counts up, without gaps."""
    at: float
    """Unix time in seconds."""
    who: str
    """The user's name, or ``server`` for what it does by itself."""
    action: str
    """Two words with a dot, as in ``rollout.stop``."""
    target: str
    """What it was done to."""
    detail: dict[str, JsonValue]


class Audit:
    """The lines, never changed once written.

    Args:
        store: keeps them.
        clock: dates them.
    """

    def __init__(self, store: OperatorStore, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._written = 0
        with store.transaction() as db:
            db.execute(_SCHEMA)

    @property
    def written(self) -> int:
        """Lines of this process, if only begun: another number whenever there may be another line."""
        return self._written

    def write(
        self,
        db: sqlite3.Connection,
        *,
        who: str,
        action: str,
        target: str,
        detail: Mapping[str, JsonValue] | None = None,
    ) -> None:
        """Add a line within a transaction of the store, so that it is kept exactly where the change is.

        Args:
            db: of `OperatorStore.transaction`.
            who: the user's name.
            action: as in `AuditLine`.
            target: what it is done to.
            detail: whatever else is worth knowing; no secrets.
        """
        self._written += 1
        db.execute(
            "INSERT INTO audit (at, who, action, target, detail) VALUES (?, ?, ?, ?, ?)",
            (self._clock.now().wall, who, action, target, json.dumps(dict(detail or {}))),
        )

    def lines(self, *, limit: int, before: int | None = None) -> list[AuditLine]:
        """The latest lines, the newest first.

        Args:
            limit: at most so many.
            before: only lines with a smaller number.
        """
        with self._store.transaction() as db:
            rows = db.execute(
                "SELECT line, at, who, action, target, detail FROM audit WHERE line < ? ORDER BY line DESC LIMIT ?",
                (2**63 - 1 if before is None else before, limit),
            ).fetchall()
        return [
            AuditLine(line=line, at=at, who=who, action=action, target=target, detail=json.loads(detail))
            for line, at, who, action, target, detail in rows
        ]
