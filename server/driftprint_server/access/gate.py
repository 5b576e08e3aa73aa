"""Finds out who sends a request: by a session's cookie, a token, or a name and password."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from enum import Enum

from anyio import to_thread
from starlette.requests import HTTPConnection

from driftprint.clock import Clock
from driftprint_server.access.doorkeeper import Doorkeeper
from driftprint_server.access.identity import Identity, Role
from driftprint_server.access.passwords import Passwords
from driftprint_server.access.schemes import COOKIE
from driftprint_server.access.sessions import Sessions
from driftprint_server.access.settings import AccessSettings
from driftprint_server.access.tokens import TOKEN_PREFIX, Tokens
from driftprint_server.access.users import Users
from driftprint_server.audit import Audit
from driftprint_server.operators import OperatorStore

ANYONE = Identity(name="anyone", role=Role.OPERATOR)
"""Where there is no login."""

_HOUR_SECONDS = 3600.0


class Means(str, Enum):
    """By what somebody is known."""

    OPEN = "open"
    """There is no login."""
    SESSION = "session"
    BEARER = "bearer"
    BASIC = "basic"


@dataclass(frozen=True, slots=True)
class Sender:
    """Who sends a request.

    Attributes:
        identity: who.
        means: by what they are known.
        secret: of the session; empty for other means.
    """

    identity: Identity
    means: Means
    secret: str = ""


class Gate:
    """All that decides who may come in.

    Args:
        settings: the table ``[access]``.
        store: keeps users, tokens and sessions.
        audit: told of changes, log-ins and failures.
        clock: ends sessions and tokens, and counts tries.
    """

    def __init__(self, settings: AccessSettings, *, store: OperatorStore, audit: Audit, clock: Clock) -> None:
        passwords = Passwords()
        self.settings = settings
        self.users = Users(store, audit=audit, clock=clock, passwords=passwords)
        self.tokens = Tokens(store, audit=audit, clock=clock)
        self.sessions = Sessions(
            store,
            audit=audit,
            clock=clock,
            idle_seconds=settings.idle_hours * _HOUR_SECONDS,
            most_seconds=settings.session_hours * _HOUR_SECONDS,
        )
        self.doorkeeper = Doorkeeper(self.users, passwords=passwords, store=store, audit=audit, clock=clock)

    async def sender(self, connection: HTTPConnection) -> Sender | None:
        """Who sends a request; None for nobody we know. What an ``Authorization`` header says goes before a cookie.

        Raises:
            TooManyError: where a name and password have been tried too often.
            StoreError: where the store cannot be read.
        """
        if not self.settings.login:
            return Sender(ANYONE, Means.OPEN)
        if header := connection.headers.get("authorization"):
            scheme, _, value = header.partition(" ")
            if scheme.lower() == "bearer":
                return await self._by_token(value.strip(), Means.BEARER)
            if scheme.lower() == "basic":
                return await self._by_basic(value.strip(), address_of(connection))
            return None
        if secret := connection.cookies.get(cookie_name(connection)):
            identity = await to_thread.run_sync(self.sessions.find, secret)
            return Sender(identity, Means.SESSION, secret) if identity else None
        return None

    async def _by_token(self, token: str, means: Means) -> Sender | None:
        identity = await to_thread.run_sync(self.tokens.find, token)
        return Sender(identity, means) if identity else None

    async def _by_basic(self, value: str, address: str) -> Sender | None:
        """A name with its password, or any name with a token (RFC 7617)."""
        try:
            name, colon, password = base64.b64decode(value, validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            return None
        if not colon:
            return None
        if password.startswith(TOKEN_PREFIX):
            return await self._by_token(password, Means.BASIC)
        identity = await self.doorkeeper.check_again(name, password, address=address)
        return Sender(identity, Means.BASIC) if identity else None


def address_of(connection: HTTPConnection) -> str:
    """Where a request comes from."""
    return connection.client.host if connection.client else "unknown"


def is_secure(connection: HTTPConnection) -> bool:
    """Whether the browser speaks TLS, with us or with the proxy before us."""
    return connection.url.scheme == "https"


def cookie_name(connection: HTTPConnection) -> str:
    """What the session's cookie is called. With TLS the prefix has browsers refuse one set from elsewhere."""
    return f"__Host-{COOKIE}" if is_secure(connection) else COOKIE
