"""Checks names and passwords, and lets nobody guess."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import math
import secrets
from collections import OrderedDict
from dataclasses import dataclass

from anyio import to_thread
from pydantic import JsonValue

from driftprint.clock import Clock
from driftprint_server.access.allowance import Allowance
from driftprint_server.access.identity import Identity
from driftprint_server.access.passwords import BusyError, Passwords
from driftprint_server.access.users import LONGEST_NAME, LONGEST_PASSWORD, Users
from driftprint_server.audit import Audit
from driftprint_server.operators import OperatorStore

TRIES_OF_A_NAME = 10
TRIES_OF_AN_ADDRESS = 20
TRY_SECONDS = 60.0
"""Once they are spent, one more is allowed this often."""

FAILURES_TOLD = 30
"""Failed log-ins have so many lines in the audit at once, then one a minute: a guesser does not fill the disk."""

REMEMBERED_SECONDS = 300.0
"""A password that comes with every request is checked this often."""
_MOST_REMEMBERED = 256


class TooManyError(Exception):
    """This name or address has been tried too often, or the server is busy with others.

    Args:
        seconds: when to come back.
    """

    def __init__(self, seconds: float) -> None:
        super().__init__(f"try again in {math.ceil(seconds)} s")
        self.seconds = max(1, math.ceil(seconds))


@dataclass(frozen=True, slots=True)
class Known:
    """Somebody whose password was right.

    Attributes:
        identity: who.
        password: the hash that it was checked against.
    """

    identity: Identity
    password: str


class Doorkeeper:
    """Checks names and passwords.

    An unknown name gets the same answer as a wrong password, after the same time.

    Args:
        users: who there is.
        passwords: checks theirs.
        store: keeps the audit.
        audit: told of failures.
        clock: counts tries.
    """

    def __init__(self, users: Users, *, passwords: Passwords, store: OperatorStore, audit: Audit, clock: Clock) -> None:
        self._users = users
        self._passwords = passwords
        self._store = store
        self._audit = audit
        self._clock = clock
        self._names = Allowance(TRIES_OF_A_NAME, seconds=TRY_SECONDS, clock=clock)
        self._addresses = Allowance(TRIES_OF_AN_ADDRESS, seconds=TRY_SECONDS, clock=clock)
        self._lines = Allowance(FAILURES_TOLD, seconds=TRY_SECONDS, clock=clock)
        self._untold = 0
        self._key = secrets.token_bytes(32)
        self._remembered: OrderedDict[bytes, tuple[float, str]] = OrderedDict()

    async def check(self, name: str, password: str, *, address: str) -> Known | None:
        """Who this is; None where there is no such name with this password.

        Raises:
            TooManyError: where it has been tried too often.
            StoreError: where the store cannot be read.
        """
        network = network_of(address)
        if wait := self._addresses.take(network):
            raise TooManyError(wait)
        if wait := self._names.take(name):
            self._addresses.give_back(network)
            raise TooManyError(wait)
        login = await to_thread.run_sync(self._users.login, name)
        try:
            matches = await self._passwords.matches_soon(login.password if login else None, password)
        except BusyError:
            self._forgive(name, network)
            raise TooManyError(1.0) from None
        if login is None or not matches:
            # What was typed as an unknown name may be a password.
            await self._tell(name if login else "unknown", address)
            return None
        self._forgive(name, network)
        return Known(Identity(name=name, role=login.role), login.password)

    async def check_again(self, name: str, password: str, *, address: str) -> Identity | None:
        """`check` for who sends the password with every request: once right, it is looked up for some minutes.

        A user who has been removed or has another password is refused all the same.
        """
        key = hmac.new(self._key, f"{len(name)}:{name}{password}".encode(), hashlib.sha256).digest()
        until, hashed = self._remembered.get(key, (0.0, ""))
        if self._clock.now().monotonic < until:
            login = await to_thread.run_sync(self._users.login, name)
            if login is not None and login.password == hashed:
                return Identity(name=name, role=login.role)
        if len(name) > LONGEST_NAME or len(password) > LONGEST_PASSWORD:
            return None
        known = await self.check(name, password, address=address)
        if known is None:
            self._remembered.pop(key, None)
            return None
        self._remembered[key] = (self._clock.now().monotonic + REMEMBERED_SECONDS, known.password)
        self._remembered.move_to_end(key)
        if len(self._remembered) > _MOST_REMEMBERED:
            self._remembered.popitem(last=False)
        return known.identity

    def _forgive(self, name: str, network: str) -> None:
        self._names.give_back(name)
        self._addresses.give_back(network)

    async def _tell(self, name: str, address: str) -> None:
        if self._lines.take(""):
            self._untold += 1
            return
        untold, self._untold = self._untold, 0

        def write() -> None:
            with self._store.transaction() as db:
                detail: dict[str, JsonValue] = {"address": address, "not_told_before": untold}
                self._audit.write(db, who="nobody", action="session.refuse", target=name, detail=detail)

        await to_thread.run_sync(write)


def network_of(address: str) -> str:
    """Whom an address belongs to: one of IPv6 stands for its /64, of which one household has all.

    >>> network_of("192.0.2.7"), network_of("2001:db8::7")
    ('192.0.2.7', '2001:db8::/64')
    """
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv6Address):
        return str(parsed.ipv4_mapped or ipaddress.ip_network((parsed, 64), strict=False))
    return str(parsed)
