"""What operators decide about alerts: who has taken one on, and whose stream is silenced until when."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass

from driftprint.clock import Clock
from driftprint_server.audit import Audit
from driftprint_server.history.views import Acknowledgement, Mute
from driftprint_server.operators import OperatorStore

_SCHEMA = (
    "CREATE TABLE IF NOT EXISTS acknowledgement "
    "(alert_id TEXT PRIMARY KEY, who TEXT NOT NULL, at REAL NOT NULL, note TEXT NOT NULL) WITHOUT ROWID",
    "CREATE TABLE IF NOT EXISTS mute "
    "(alert_id TEXT PRIMARY KEY, site TEXT NOT NULL, device TEXT NOT NULL, stream TEXT NOT NULL, "
    "who TEXT NOT NULL, at REAL NOT NULL, until REAL NOT NULL, note TEXT NOT NULL) WITHOUT ROWID",
)


@dataclass(frozen=True, slots=True)
class AlertKey:
    """Which alert, and of which stream."""

    site: str
    device: str
    stream: str
    alert_id: str


class Decisions:
    """Acknowledgements and mutes. Of two at once the last holds, and the audit has both.

    Muting an alert silences its stream until the end that was given, whatever alerts come meanwhile. It changes what
    people are told, not what is recorded.

    Args:
        store: keeps them.
        audit: tells who did what.
        clock: dates them.
    """

    def __init__(self, store: OperatorStore, audit: Audit, clock: Clock) -> None:
        self._store = store
        self._audit = audit
        self._clock = clock
        with store.transaction() as db:
            for statement in _SCHEMA:
                db.execute(statement)

    def acknowledge(self, alert: AlertKey, *, who: str, note: str) -> Acknowledgement:
        """Take an alert on, in place of whoever has done so before."""
        made = Acknowledgement(who=who, at=self._clock.now().wall, note=note)
        with self._store.transaction() as db:
            db.execute(
                "INSERT OR REPLACE INTO acknowledgement VALUES (?, ?, ?, ?)", (alert.alert_id, who, made.at, note)
            )
            self._write(db, who, "alert.acknowledge", alert, {"note": note})
        return made

    def unacknowledge(self, alert: AlertKey, *, who: str) -> bool:
        """Take that back; whether there was anything to take back."""
        with self._store.transaction() as db:
            found = db.execute("DELETE FROM acknowledgement WHERE alert_id = ?", (alert.alert_id,)).rowcount > 0
            if found:
                self._write(db, who, "alert.unacknowledge", alert, {})
        return found

    def mute(self, alert: AlertKey, *, who: str, seconds: float, note: str) -> Mute:
        """Silence an alert's stream, in place of what held for this alert before."""
        now = self._clock.now().wall
        made = Mute(who=who, at=now, until=now + seconds, note=note)
        with self._store.transaction() as db:
            db.execute("DELETE FROM mute WHERE until <= ?", (now,))
            db.execute(
                "INSERT OR REPLACE INTO mute VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (alert.alert_id, alert.site, alert.device, alert.stream, who, now, made.until, note),
            )
            self._write(db, who, "alert.mute", alert, {"until": made.until, "note": note})
        return made

    def unmute(self, alert: AlertKey, *, who: str) -> bool:
        """Take that back; whether there was anything to take back."""
        now = self._clock.now().wall
        with self._store.transaction() as db:
            db.execute("DELETE FROM mute WHERE until <= ?", (now,))
            found = db.execute("DELETE FROM mute WHERE alert_id = ?", (alert.alert_id,)).rowcount > 0
            if found:
                self._write(db, who, "alert.unmute", alert, {})
        return found

    def of(self, alert_ids: Iterable[str]) -> tuple[dict[str, Acknowledgement], dict[str, Mute]]:
        """What holds now for some alerts, by their ids."""
        ids = json.dumps(list(alert_ids))
        among = "alert_id IN (SELECT value FROM json_each(?))"
        with self._store.transaction() as db:
            taken = db.execute(f"SELECT alert_id, who, at, note FROM acknowledgement WHERE {among}", (ids,)).fetchall()
            muted = db.execute(
                f"SELECT alert_id, who, at, until, note FROM mute WHERE {among} AND until > ?",
                (ids, self._clock.now().wall),
            ).fetchall()
        return (
            {alert_id: Acknowledgement(who=who, at=at, note=note) for alert_id, who, at, note in taken},
            {alert_id: Mute(who=who, at=at, until=until, note=note) for alert_id, who, at, until, note in muted},
        )

    def muted_streams(self, now: float) -> set[tuple[str, str, str]]:
        """The streams, as site, device and name, that are silenced at Unix time `now`."""
        with self._store.transaction() as db:
            return set(db.execute("SELECT DISTINCT site, device, stream FROM mute WHERE until > ?", (now,)))

    def _write(
        self, db: sqlite3.Connection, who: str, action: str, alert: AlertKey, detail: dict[str, str | float]
    ) -> None:
        place = {"site": alert.site, "device": alert.device, "stream": alert.stream}
        self._audit.write(db, who=who, action=action, target=alert.alert_id, detail={**place, **detail})
