"""What operators have decided about devices; it outlasts a restart."""

from __future__ import annotations

import threading

from pydantic import BaseModel, ConfigDict

from driftprint.clock import Clock
from driftprint_server.audit import Audit
from driftprint_server.operators import OperatorStore

DeviceKey = tuple[str, str]
"""Site and device."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS enrolment (
    site TEXT NOT NULL, device TEXT NOT NULL, approved INTEGER NOT NULL, who TEXT NOT NULL, at REAL NOT NULL,
    PRIMARY KEY (site, device)) WITHOUT ROWID
"""


class Decision(BaseModel):
    """One decision."""

    model_config = ConfigDict(frozen=True)

    site: str
    device: str
    approved: bool
    who: str
    """The operator's name."""
    at: float
    """Unix time in seconds."""


class EnrolmentDecisions:
    """The decisions, on disk and in memory. Safe to use from several threads.

    Args:
        store: keeps them.
        audit: told of every change.
        clock: dates them.

    Raises:
        StoreError: where the disk refuses.
    """

    def __init__(self, store: OperatorStore, audit: Audit, clock: Clock) -> None:
        self._store = store
        self._audit = audit
        self._clock = clock
        self._changing = threading.Lock()
        with store.transaction() as db:
            db.execute(_SCHEMA)
            rows = db.execute("SELECT site, device, approved, who, at FROM enrolment").fetchall()
        self._known: dict[DeviceKey, Decision] = {
            (site, device): Decision(site=site, device=device, approved=approved, who=who, at=at)
            for site, device, approved, who, at in rows
        }

    def find(self, site: str, device: str) -> Decision | None:
        """The decision about a device; None where there is none."""
        return self._known.get((site, device))

    def all(self) -> list[Decision]:
        """All of them, by site and device."""
        with self._changing:
            return [self._known[key] for key in sorted(self._known)]

    def decide(self, site: str, device: str, *, approved: bool, who: str) -> Decision:
        """Decide; the same once more changes nothing.

        Raises:
            StoreError: where the disk refuses; nothing has then changed.
        """
        with self._changing:
            known = self.find(site, device)
            if known is not None and known.approved is approved:
                return known
            new = Decision(site=site, device=device, approved=approved, who=who, at=self._clock.now().wall)
            with self._store.transaction() as db:
                db.execute("REPLACE INTO enrolment VALUES (?, ?, ?, ?, ?)", (site, device, approved, who, new.at))
                action = "enrolment.approve" if approved else "enrolment.reject"
                self._audit.write(db, who=who, action=action, target=f"{site}/{device}")
            self._known[site, device] = new
            return new

    def forget(self, site: str, device: str, *, who: str) -> bool:
        """Take a decision back; False where there is none.

        Raises:
            StoreError: where the disk refuses; nothing has then changed.
        """
        with self._changing:
            if self.find(site, device) is None:
                return False
            with self._store.transaction() as db:
                db.execute("DELETE FROM enrolment WHERE site = ? AND device = ?", (site, device))
                self._audit.write(db, who=who, action="enrolment.forget", target=f"{site}/{device}")
            del self._known[site, device]
            return True
