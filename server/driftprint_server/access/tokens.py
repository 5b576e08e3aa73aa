"""Keys for programs: Prometheus, scripts."""

from __future__ import annotations

import secrets
from contextlib import suppress
from dataclasses import dataclass

from driftprint.clock import Clock
from driftprint.errors import ConfigError, StoreError
from driftprint_server.access.identity import Identity, Role
from driftprint_server.access.tables import TOUCH_SECONDS, digest, make_tables
from driftprint_server.access.users import check_name
from driftprint_server.audit import Audit
from driftprint_server.operators import OperatorStore

TOKEN_PREFIX = "driftprint_"
"""By it a scanner for leaked secrets, and a person, know what they have found."""

_DAY_SECONDS = 86_400.0


@dataclass(frozen=True, slots=True)
class Token:
    """What is known of a token; the token itself is not.

    Attributes:
        name: what it is for; unique among tokens.
        role: what its bearer may do.
        made_at: Unix time in seconds, as the others.
        expires_at: None: never.
        used_at: to within a minute; None: not yet.
    """

    name: str
    role: Role
    made_at: float
    expires_at: float | None
    used_at: float | None


class Tokens:
    """All tokens. Every question is asked of the store, so a change made by another process holds at once.

    Args:
        store: keeps them.
        audit: told of every change.
        clock: dates them, and ends them.
    """

    def __init__(self, store: OperatorStore, *, audit: Audit, clock: Clock) -> None:
        self._store = store
        self._audit = audit
        self._clock = clock
        make_tables(store)

    def all(self) -> list[Token]:
        """By name; expired ones, too."""
        with self._store.transaction() as db:
            rows = db.execute("SELECT name, role, made_at, expires_at, used_at FROM tokens ORDER BY name").fetchall()
        return [
            Token(name, Role(role), made_at, expires_at, used_at) for name, role, made_at, expires_at, used_at in rows
        ]

    def add(self, name: str, role: Role, *, who: str, days: float | None = None) -> str:
        """Make a token.

        Args:
            name: what it is for.
            role: what its bearer may do.
            who: makes it.
            days: it is good for; None: for ever.

        Returns:
            the token, 256 random bits, which is nowhere else.

        Raises:
            ConfigError: where the name will not do, or is taken.
        """
        check_name(name)
        secret = TOKEN_PREFIX + secrets.token_urlsafe(32)
        now = self._clock.now().wall
        expires_at = None if days is None else now + days * _DAY_SECONDS
        with self._store.transaction() as db:
            if db.execute("SELECT 1 FROM tokens WHERE name = ?", (name,)).fetchone():
                raise ConfigError("is a token already", where=name, fix="take another name, or remove that one first")
            db.execute(
                "INSERT INTO tokens VALUES (?, ?, ?, ?, ?, NULL)", (name, role.value, digest(secret), now, expires_at)
            )
            detail = {"role": role.value, "expires_at": expires_at}
            self._audit.write(db, who=who, action="token.add", target=name, detail=detail)
        return secret

    def remove(self, name: str, *, who: str) -> None:
        """Make a token worthless, at once.

        Raises:
            ConfigError: where there is none of this name.
        """
        with self._store.transaction() as db:
            if not db.execute("DELETE FROM tokens WHERE name = ?", (name,)).rowcount:
                raise ConfigError("no such token", where=name, fix="`driftprint users token list` shows them all")
            self._audit.write(db, who=who, action="token.remove", target=name)

    def find(self, secret: str) -> Identity | None:
        """Whose token this is; None where it is none, or expired."""
        now = self._clock.now().wall
        with self._store.transaction() as db:
            row = db.execute(
                "SELECT name, role, expires_at, used_at FROM tokens WHERE digest = ?", (digest(secret),)
            ).fetchone()
        if row is None:
            return None
        name, role, expires_at, used_at = row
        if expires_at is not None and now >= expires_at:
            return None
        if used_at is None or abs(now - used_at) >= TOUCH_SECONDS:
            self._touch(name, now)
        return Identity(name=f"token {name}", role=Role(role))

    def _touch(self, name: str, now: float) -> None:
        # A disk that takes no writes is no reason to let nobody look.
        with suppress(StoreError), self._store.transaction() as db:
            db.execute("UPDATE tokens SET used_at = ? WHERE name = ?", (now, name))
