"""The people who may log in."""

from __future__ import annotations

import re
import sqlite3
from dataclasses import dataclass

from driftprint.clock import Clock
from driftprint.errors import ConfigError
from driftprint_server.access.identity import Role
from driftprint_server.access.passwords import Passwords, new_password
from driftprint_server.access.tables import end_sessions, make_tables
from driftprint_server.audit import Audit
from driftprint_server.operators import OperatorStore

FIRST_USER = "admin"
LONGEST_NAME = 64
NAME_PATTERN = rf"[A-Za-z0-9_.@-]{{1,{LONGEST_NAME}}}"
SHORTEST_PASSWORD = 12
LONGEST_PASSWORD = 1024


@dataclass(frozen=True, slots=True)
class User:
    """Somebody who may log in.

    Attributes:
        name: unique among users.
        role: what they may do.
        made_at: Unix time in seconds.
    """

    name: str
    role: Role
    made_at: float


@dataclass(frozen=True, slots=True)
class Login:
    """What a password is checked against.

    Attributes:
        role: of the user.
        password: its hash.
    """

    role: Role
    password: str


class Users:
    """All users. Every question is asked of the store, so a change made by another process holds at once.

    Args:
        store: keeps them.
        audit: told of every change.
        clock: dates them.
        passwords: hashes theirs.
    """

    def __init__(self, store: OperatorStore, *, audit: Audit, clock: Clock, passwords: Passwords) -> None:
        self._store = store
        self._audit = audit
        self._clock = clock
        self._passwords = passwords
        make_tables(store)

    def all(self) -> list[User]:
        """By name."""
        with self._store.transaction() as db:
            rows = db.execute("SELECT name, role, made_at FROM users ORDER BY name").fetchall()
        return [User(name, Role(role), made_at) for name, role, made_at in rows]

    def login(self, name: str) -> Login | None:
        """What the password of `name` is checked against; None where there is no such user."""
        with self._store.transaction() as db:
            row = db.execute("SELECT role, password FROM users WHERE name = ?", (name,)).fetchone()
        return Login(Role(row[0]), row[1]) if row else None

    def first(self) -> str | None:
        """Where there is no user yet, make the first, an operator named `FIRST_USER`.

        Returns:
            its password, which is nowhere else; None where there are users.
        """
        if self.all():
            return None
        password = new_password()
        hashed = self._passwords.hash(password)
        with self._store.transaction() as db:
            if db.execute("SELECT count(*) FROM users").fetchone() != (0,):
                return None
            self._insert(db, FIRST_USER, Role.OPERATOR, hashed, who="server")
        return password

    def add(self, name: str, role: Role, password: str, *, who: str) -> None:
        """Let somebody in.

        Raises:
            ConfigError: where the name or the password will not do, or the name is taken.
        """
        check_name(name)
        _check_password(password)
        hashed = self._passwords.hash(password)
        with self._store.transaction() as db:
            if _exists(db, name):
                raise ConfigError("is a user already", where=name, fix="`driftprint users password` gives a new one")
            self._insert(db, name, role, hashed, who=who)

    def set_password(self, name: str, password: str, *, who: str) -> None:
        """Give a user another password, and log them out everywhere.

        Raises:
            ConfigError: where there is no such user, or the password will not do.
        """
        _check_password(password)
        hashed = self._passwords.hash(password)
        with self._store.transaction() as db:
            _require(db, name)
            db.execute("UPDATE users SET password = ? WHERE name = ?", (hashed, name))
            end_sessions(db, name)
            self._audit.write(db, who=who, action="user.password", target=name)

    def remove(self, name: str, *, who: str) -> None:
        """Let somebody in no more; they are logged out at once.

        Raises:
            ConfigError: where there is no such user, or nobody who may act would be left.
        """
        with self._store.transaction() as db:
            _require(db, name)
            others = "SELECT 1 FROM users WHERE role = ? AND name != ?"
            if not db.execute(others, (Role.OPERATOR.value, name)).fetchone():
                raise ConfigError(
                    "is the last operator",
                    where=name,
                    fix="first: driftprint users add NAME --role operator",
                )
            db.execute("DELETE FROM users WHERE name = ?", (name,))
            end_sessions(db, name)
            self._audit.write(db, who=who, action="user.remove", target=name)

    def _insert(self, db: sqlite3.Connection, name: str, role: Role, hashed: str, *, who: str) -> None:
        db.execute("INSERT INTO users VALUES (?, ?, ?, ?)", (name, role.value, hashed, self._clock.now().wall))
        self._audit.write(db, who=who, action="user.add", target=name, detail={"role": role.value})


def check_name(name: str) -> None:
    """Whether a user or a token may be called so.

    Raises:
        ConfigError: where not.
    """
    if not re.fullmatch(NAME_PATTERN, name):
        raise ConfigError("not a name", where=repr(name), fix="use 1 to 64 letters, digits, _, ., @ and -")


def _check_password(password: str) -> None:
    if not SHORTEST_PASSWORD <= len(password) <= LONGEST_PASSWORD:
        raise ConfigError(
            f"has {len(password)} characters", where="password", fix=f"use {SHORTEST_PASSWORD} to {LONGEST_PASSWORD}"
        )


def _exists(db: sqlite3.Connection, name: str) -> bool:
    return db.execute("SELECT 1 FROM users WHERE name = ?", (name,)).fetchone() is not None


def _require(db: sqlite3.Connection, name: str) -> None:
    if not _exists(db, name):
        raise ConfigError("no such user", where=name, fix="`driftprint users list` shows them all")
