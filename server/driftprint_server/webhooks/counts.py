"""What is counted of webhooks."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from enum import Enum


class Failure(str, Enum):
    """Why an attempt to deliver failed. It is tried again."""

    UNREACHABLE = "unreachable"
    """There was no connection, or it was lost."""
    TIMEOUT = "timeout"
    TLS = "tls"
    """The receiver's certificate is not good."""
    REDIRECT = "redirect"
    """It answered with another address, which is not followed."""
    REFUSED = "refused"
    """It answered with 4xx."""
    BROKEN = "broken"
    """It answered with 5xx, or not in HTTP."""


class Drop(str, Enum):
    """Why something is not delivered at all."""

    TOO_OLD = "too_old"
    """It was more than a week old when it came."""
    EXPIRED = "expired"
    """It could not be delivered for a day."""
    QUEUE_FULL = "queue_full"
    """Too much waited for the same receiver; the oldest goes."""
    GONE = "gone"
    """The receiver answered 410: it wants no more. It is asked again after a restart."""


class WebhookCounts:
    """Totals since the server started, by webhook. Safe to use from several threads."""

    def __init__(self, names: Sequence[str]) -> None:
        self._names = tuple(names)
        self._lock = threading.Lock()
        self._delivered: Counter[str] = Counter()
        self._failed: Counter[tuple[str, Failure]] = Counter()
        self._dropped: Counter[tuple[str, Drop]] = Counter()

    def delivery(self, name: str) -> None:
        """One was delivered."""
        with self._lock:
            self._delivered[name] += 1

    def failure(self, name: str, reason: Failure) -> int:
        """An attempt failed; returns how many have for this reason."""
        with self._lock:
            self._failed[name, reason] += 1
            return self._failed[name, reason]

    def drop(self, name: str, reason: Drop, number: int = 1) -> None:
        """So many will not be delivered."""
        with self._lock:
            self._dropped[name, reason] += number

    @property
    def delivered(self) -> Mapping[str, int]:
        """Messages delivered, for every webhook."""
        with self._lock:
            return {name: self._delivered[name] for name in self._names}

    @property
    def failed(self) -> Mapping[tuple[str, Failure], int]:
        """Attempts that failed, for every webhook and reason."""
        with self._lock:
            return {(name, reason): self._failed[name, reason] for name in self._names for reason in Failure}

    @property
    def dropped(self) -> Mapping[tuple[str, Drop], int]:
        """Messages dropped, for every webhook and reason."""
        with self._lock:
            return {(name, reason): self._dropped[name, reason] for name in self._names for reason in Drop}
