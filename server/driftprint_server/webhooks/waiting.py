"""What is still to be delivered: it outlasts a restart."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass

from driftprint_server.operators import OperatorStore

MOST_WAITING = 1000
"""For one webhook."""
MOST_OF_A_DEVICE = 100
"""Of these: one that raises alerts without end costs no other device its own."""
_MOST_TOLD = 20_000
"""Alerts of which it is known what a webhook has been told."""

_SCHEMA = (
    """CREATE TABLE IF NOT EXISTS webhook_waiting (
        number INTEGER PRIMARY KEY AUTOINCREMENT, webhook TEXT NOT NULL, device TEXT NOT NULL, alert TEXT NOT NULL,
        id TEXT NOT NULL, payload BLOB NOT NULL, since REAL NOT NULL, tries INTEGER NOT NULL, due REAL NOT NULL)""",
    "CREATE INDEX IF NOT EXISTS webhook_waiting_order ON webhook_waiting (webhook, alert, number)",
    """CREATE TABLE IF NOT EXISTS webhook_told (
        webhook TEXT NOT NULL, alert TEXT NOT NULL, revision INTEGER NOT NULL, number INTEGER NOT NULL,
        PRIMARY KEY (webhook, alert)) WITHOUT ROWID""",
    "CREATE INDEX IF NOT EXISTS webhook_told_order ON webhook_told (webhook, number)",
)


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A message to be queued.

    Attributes:
        device: of whom it speaks.
        alert: which of all devices' alerts it is; its messages are sent one after the other.
        id: of the message, the same for each attempt.
        payload: the body.
    """

    device: str
    alert: str
    id: str
    payload: bytes


@dataclass(frozen=True, slots=True)
class Waiting:
    """A message on its way.

    Attributes:
        number: within the queue.
        id: of the message, the same for each attempt.
        payload: the body.
        since: when it began to wait: Unix time in seconds.
        tries: attempts so far.
    """

    number: int
    id: str
    payload: bytes
    since: float
    tries: int


class Queue:
    """The messages for all webhooks. Each webhook's own are told apart by its name.

    Args:
        store: keeps them.
    """

    def __init__(self, store: OperatorStore) -> None:
        self._store = store
        with store.transaction() as db:
            for statement in _SCHEMA:
                db.execute(statement)

    def told(self, db: sqlite3.Connection, webhook: str, alert: str) -> int | None:
        """The latest revision of an alert that has been put; None where none has.

        Args:
            db: of `OperatorStore.transaction`.
            webhook: its name.
            alert: which of all devices' alerts it is.
        """
        row = db.execute(
            "SELECT revision FROM webhook_told WHERE webhook = ? AND alert = ?", (webhook, alert)
        ).fetchone()
        return row[0] if row else None

    def tell(self, db: sqlite3.Connection, webhook: str, alert: str, revision: int) -> None:
        """Remember that a revision needs no further putting."""
        db.execute(
            "INSERT OR REPLACE INTO webhook_told SELECT ?, ?, ?, coalesce(max(number), 0) + 1 FROM webhook_told "
            "WHERE webhook = ?",
            (webhook, alert, revision, webhook),
        )
        db.execute(
            "DELETE FROM webhook_told WHERE webhook = ? AND number <= "
            "(SELECT max(number) FROM webhook_told WHERE webhook = ?) - ?",
            (webhook, webhook, _MOST_TOLD),
        )

    def put(self, db: sqlite3.Connection, webhook: str, message: Outgoing, *, now: float) -> int:
        """Queue a message.

        Returns:
            how many others had to go for it: the oldest of its device, or of all.
        """
        db.execute(
            "INSERT INTO webhook_waiting (webhook, device, alert, id, payload, since, tries, due) "
            "VALUES (?, ?, ?, ?, ?, ?, 0, ?)",
            (webhook, message.device, message.alert, message.id, message.payload, now, now),
        )
        return sum(
            db.execute(
                f"DELETE FROM webhook_waiting WHERE webhook = ? {which} AND number <= (SELECT number FROM "
                f"webhook_waiting WHERE webhook = ? {which} ORDER BY number DESC LIMIT 1 OFFSET ?)",
                (webhook, *whose, webhook, *whose, most),
            ).rowcount
            for which, whose, most in (("AND device = ?", (message.device,), MOST_OF_A_DEVICE), ("", (), MOST_WAITING))
        )

    def first(self, webhook: str) -> tuple[Waiting, float] | None:
        """The message to be sent next, and when; an alert's revisions go one after the other. None: nothing waits."""
        with self._store.transaction() as db:
            row = db.execute(
                "SELECT number, id, payload, since, tries, due FROM webhook_waiting AS one WHERE webhook = ? "
                "AND NOT EXISTS (SELECT 1 FROM webhook_waiting AS earlier WHERE earlier.webhook = one.webhook "
                "AND earlier.alert = one.alert AND earlier.number < one.number) ORDER BY due, number LIMIT 1",
                (webhook,),
            ).fetchone()
        return (Waiting(*row[:5]), row[5]) if row else None

    def done(self, number: int) -> None:
        """A message has been delivered, or given up."""
        with self._store.transaction() as db:
            db.execute("DELETE FROM webhook_waiting WHERE number = ?", (number,))

    def postpone(self, number: int, *, due: float) -> None:
        """An attempt has failed; the next is to be made at Unix time `due`."""
        with self._store.transaction() as db:
            db.execute("UPDATE webhook_waiting SET tries = tries + 1, due = ? WHERE number = ?", (due, number))

    def hold(self, webhook: str, *, until: float) -> None:
        """Send no message of this webhook before Unix time `until`."""
        with self._store.transaction() as db:
            db.execute("UPDATE webhook_waiting SET due = max(due, ?) WHERE webhook = ?", (until, webhook))

    def hurry(self, webhook: str, *, due: float) -> None:
        """Send all messages of this webhook by Unix time `due`: its receiver is back."""
        with self._store.transaction() as db:
            db.execute("UPDATE webhook_waiting SET due = min(due, ?) WHERE webhook = ?", (due, webhook))

    def empty(self, webhook: str) -> int:
        """Give up all messages of a webhook; returns how many there were."""
        with self._store.transaction() as db:
            return db.execute("DELETE FROM webhook_waiting WHERE webhook = ?", (webhook,)).rowcount

    def keep_only(self, webhooks: Sequence[str]) -> None:
        """Forget the messages of all other webhooks, which are in the settings no more."""
        marks = ", ".join("?" * len(webhooks))
        with self._store.transaction() as db:
            for table in ("webhook_waiting", "webhook_told"):
                db.execute(f"DELETE FROM {table} WHERE webhook NOT IN ({marks})", tuple(webhooks))

    def length(self, webhook: str) -> int:
        """How many messages wait."""
        with self._store.transaction() as db:
            return int(db.execute("SELECT count(*) FROM webhook_waiting WHERE webhook = ?", (webhook,)).fetchone()[0])
