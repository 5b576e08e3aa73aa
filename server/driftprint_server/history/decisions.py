"""What operators decide about alerts: who has taken one on, and whose stream is silenced until when."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection
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


StreamKey = tuple[str, str, str]
"""Site, device and stream."""


@dataclass(frozen=True, slots=True)
class AlertKey:
    """Which alert, and of which stream."""

    site: str
    device: str
    stream: str
    alert_id: str

    @property
    def of_stream(self) -> StreamKey:
        """Its stream."""
        return self.site, self.device, self.stream


class AlertDecisions:
    """Acknowledgements and mutes. Of two at once the last holds, and the audit has both.

    Muting an alert silences its stream until the end that was given, whatever alerts come meanwhile: a stream has one
    mute at most, whichever of its alerts it was made by. It changes what people are told, not what is recorded.

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
        """Silence an alert's stream, in place of what held for that stream before."""
        now = self._clock.now().wall
        made = Mute(who=who, at=now, until=now + seconds, note=note)
        with self._store.transaction() as db:
            self._end_mute(db, alert, now)
            db.execute(
                "INSERT OR REPLACE INTO mute VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (alert.alert_id, *alert.of_stream, who, now, made.until, note),
            )
            self._write(db, who, "alert.mute", alert, {"until": made.until, "note": note})
        return made

    def unmute(self, alert: AlertKey, *, who: str) -> bool:
        """Take that back; whether there was anything to take back."""
        with self._store.transaction() as db:
            found = self._end_mute(db, alert, self._clock.now().wall)
            if found:
                self._write(db, who, "alert.unmute", alert, {})
        return found

    def of(self, alerts: Collection[AlertKey]) -> tuple[dict[str, Acknowledgement], dict[StreamKey, Mute]]:
        """What holds now for some alerts: acknowledgements by their ids, mutes by their streams."""
        ids = json.dumps([alert.alert_id for alert in alerts])
        streams = json.dumps(sorted({"/".join(alert.of_stream) for alert in alerts}))
        among = "IN (SELECT value FROM json_each(?))"
        with self._store.transaction() as db:
            taken = db.execute(f"SELECT alert_id, who, at, note FROM acknowledgement WHERE alert_id {among}", (ids,))
            muted = db.execute(
                "SELECT site, device, stream, who, at, until, note FROM mute "
                f"WHERE until > ? AND site || '/' || device || '/' || stream {among} ORDER BY until",
                (self._clock.now().wall, streams),
            )
            return (
                {alert_id: Acknowledgement(who=who, at=at, note=note) for alert_id, who, at, note in taken},
                {
                    (site, device, stream): Mute(who=who, at=at, until=until, note=note)
                    for site, device, stream, who, at, until, note in muted
                },
            )

    def muted_streams(self, now: float) -> set[StreamKey]:
        """The streams, as site, device and name, that are silenced at Unix time `now`."""
        with self._store.transaction() as db:
            return set(db.execute("SELECT DISTINCT site, device, stream FROM mute WHERE until > ?", (now,)))

    @staticmethod
    def _end_mute(db: sqlite3.Connection, alert: AlertKey, now: float) -> bool:
        """End mutes that are over, and that of an alert's stream; whether it had one."""
        db.execute("DELETE FROM mute WHERE until <= ?", (now,))
        return db.execute("DELETE FROM mute WHERE (site, device, stream) = (?, ?, ?)", alert.of_stream).rowcount > 0

    def _write(
        self, db: sqlite3.Connection, who: str, action: str, alert: AlertKey, detail: dict[str, str | float]
    ) -> None:
        place = {"site": alert.site, "device": alert.device, "stream": alert.stream}
        self._audit.write(db, who=who, action=action, target=alert.alert_id, detail={**place, **detail})
