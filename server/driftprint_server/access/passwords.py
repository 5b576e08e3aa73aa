"""Hashing passwords, slowly and with much memory, so that whoever gets hold of the file cannot guess them."""

from __future__ import annotations

import asyncio
import secrets
from concurrent.futures import ThreadPoolExecutor

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

MEMORY_KIB = 19 * 1024
"""With two passes over it and one lane: the least that OWASP's Password Storage Cheat Sheet asks of Argon2id."""
_PASSES = 2
_LANES = 1

AT_ONCE = 2
"""So many are checked at a time, which bounds the memory: 38 MiB."""
MOST_WAITING = 32
"""Further ones are turned away."""


class BusyError(Exception):
    """Too many passwords wait to be checked."""


def new_password() -> str:
    """A random one: 120 bits, readable and free of signs that a shell would take for its own."""
    return secrets.token_urlsafe(15).replace("-", "x").replace("_", "y")


class Passwords:
    """Hashes passwords and checks them."""

    def __init__(self) -> None:
        self._hasher = PasswordHasher(time_cost=_PASSES, memory_cost=MEMORY_KIB, parallelism=_LANES)
        self._pool = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="passwords")
        self._waiting = 0
        # Checked in place of an unknown user's, which takes as long.
        self._nobodys = self._hasher.hash(new_password())

    def hash(self, password: str) -> str:
        """What to keep of a password; another text each time."""
        return self._hasher.hash(password)

    def matches(self, hashed: str | None, password: str) -> bool:
        """Whether `password` is the one that was hashed; never where `hashed` is None, after just as long."""
        try:
            return self._hasher.verify(hashed or self._nobodys, password) and hashed is not None
        except (VerificationError, InvalidHashError):
            return False

    async def matches_soon(self, hashed: str | None, password: str) -> bool:
        """`matches`, off the event loop and in turn.

        Raises:
            BusyError: where too many wait already.
        """
        if self._waiting >= MOST_WAITING:
            raise BusyError
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._pool, self.matches, hashed, password)
        finally:
            self._waiting -= 1
