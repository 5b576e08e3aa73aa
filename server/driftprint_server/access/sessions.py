"""Who is logged in: a random id in a cookie, of which the hash is kept."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from contextlib import suppress

from driftprint.clock import Clock
from driftprint.errors import StoreError
from driftprint_server.access.identity import Identity, Role
from driftprint_server.access.tables import TOUCH_SECONDS, digest, make_tables
from driftprint_server.audit import Audit
from driftprint_server.operators import OperatorStore

MOST_OF_ONE_USER = 100
"""Sessions; beyond them the one not used for the longest ends."""


class Sessions:
    """All sessions. They outlast a restart of the server.

    Args:
        store: keeps them.
        audit: told who logs in and out.
        clock: ends them.
        idle_seconds: a session that is not used for this long ends.
        most_seconds: it ends this long after log-in in any case.
    """

    def __init__(
        self, store: OperatorStore, *, audit: Audit, clock: Clock, idle_seconds: float, most_seconds: float
    ) -> None:
        self._store = store
        self._audit = audit
        self._clock = clock
        self._idle_seconds = idle_seconds
        self._most_seconds = most_seconds
        make_tables(store)

    def start(self, user: str, password: str, *, address: str) -> str | None:
        """Log a user in whose password has been checked.

        Args:
            user: the name.
            password: the hash that it was checked against.
            address: where they are, for the audit.

        Returns:
            the session's secret, never used before; None where the password has changed, or the user been removed,
            meanwhile.
        """
        secret = secrets.token_urlsafe(32)
        now = self._clock.now().wall
        with self._store.transaction() as db:
            db.execute(
                "DELETE FROM sessions WHERE seen_at <= ? OR made_at <= ?",
                (now - self._idle_seconds, now - self._most_seconds),
            )
            started = db.execute(
                "INSERT INTO sessions SELECT ?, name, ?, ? FROM users WHERE name = ? AND password = ?",
                (digest(secret), now, now, user, password),
            ).rowcount
            if not started:
                return None
            db.execute(
                "DELETE FROM sessions WHERE user = ? AND digest NOT IN "
                "(SELECT digest FROM sessions WHERE user = ? ORDER BY seen_at DESC, made_at DESC LIMIT ?)",
                (user, user, MOST_OF_ONE_USER),
            )
            self._audit.write(db, who=user, action="session.start", target=user, detail={"address": address})
        return secret

    def find(self, secret: str) -> Identity | None:
        """Who is logged in by this secret; None where nobody is any more. Counts as use."""
        now = self._clock.now().wall
        with self._store.transaction() as db:
            row = db.execute(
                "SELECT user, role, sessions.made_at, seen_at FROM sessions JOIN users ON users.name = user "
                "WHERE digest = ?",
                (digest(secret),),
            ).fetchone()
        if row is None:
            return None
        user, role, made_at, seen_at = row
        if now - seen_at >= self._idle_seconds or now - made_at >= self._most_seconds:
            return None
        if abs(now - seen_at) >= TOUCH_SECONDS:
            # A disk that takes no writes is no reason to let nobody look.
            with suppress(StoreError), self._store.transaction() as db:
                db.execute("UPDATE sessions SET seen_at = ? WHERE digest = ?", (now, digest(secret)))
        return Identity(name=user, role=Role(role))

    def end(self, secret: str) -> None:
        """Log out. A session that is none changes nothing."""
        with self._store.transaction() as db:
            row = db.execute("SELECT user FROM sessions WHERE digest = ?", (digest(secret),)).fetchone()
            if row is not None:
                db.execute("DELETE FROM sessions WHERE digest = ?", (digest(secret),))
                self._audit.write(db, who=row[0], action="session.end", target=row[0])


def csrf_token(secret: str) -> str:
    """What a page must say with every change, and another site cannot know: derived from the session's secret.

    See OWASP's Cross-Site Request Forgery Prevention Cheat Sheet, "HMAC-based token".
    """
    return hmac.new(secret.encode(), b"csrf", hashlib.sha256).hexdigest()
