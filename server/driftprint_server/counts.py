"""What the server counts about itself."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Mapping
from enum import Enum


class Kind(str, Enum):
    """The kinds of messages that the server takes in."""

    STATE = "state"
    HEALTH = "health"
    WINDOW = "window"
    ALERT = "alert"


class Reason(str, Enum):
    """Why a message was not taken in."""

    TOPIC = "topic"
    """Its topic is none of ours."""
    TOO_LARGE = "too_large"
    INVALID = "invalid"
    """It is not the JSON that was expected."""
    SCHEMA_VERSION = "schema_version"
    """It is of a version that this server does not read."""
    IDENTITY = "identity"
    """Its body names another site, device or stream than its topic."""
    SUPERSEDED_INSTANCE = "superseded_instance"
    """It comes from a store that its device has since replaced. The only rejection that is acknowledged."""
    NOT_ENROLLED = "not_enrolled"
    """Its device is none of those that are taken in."""
    TOO_MANY_DEVICES = "too_many_devices"
    TOO_MANY_STREAMS = "too_many_streams"
    TOO_MANY_SERIES = "too_many_series"
    """It would make more series than its device, or all together, may make within an hour."""
    RATE = "rate"
    """Its device sends too many, or too many come from devices that are not known yet."""
    QUEUE_FULL = "queue_full"
    """It arrived faster than messages could be stored; its device sends it again."""
    INTERNAL = "internal"
    """Taking it in failed in a way nobody foresaw, or the connection did; the log has the details."""


class Counts:
    """Totals since the server started. Safe to use from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._messages: Counter[Kind] = Counter()
        self._rejected: Counter[Reason] = Counter()
        self._acks = 0
        self._store_errors = 0

    def message(self, kind: Kind) -> None:
        """A message was taken in."""
        with self._lock:
            self._messages[kind] += 1

    def reject(self, reason: Reason) -> int:
        """A message was rejected; returns how many have been for this reason."""
        with self._lock:
            self._rejected[reason] += 1
            return self._rejected[reason]

    def acked(self, messages: int) -> None:
        """Messages were acknowledged."""
        with self._lock:
            self._acks += messages

    def store_error(self) -> int:
        """The store refused; returns how often it has."""
        with self._lock:
            self._store_errors += 1
            return self._store_errors

    @property
    def messages(self) -> Mapping[Kind, int]:
        """Messages taken in, for every kind."""
        with self._lock:
            return {kind: self._messages[kind] for kind in Kind}

    @property
    def rejected(self) -> Mapping[Reason, int]:
        """Messages rejected, for every reason."""
        with self._lock:
            return {reason: self._rejected[reason] for reason in Reason}

    @property
    def acks(self) -> int:
        """Messages acknowledged."""
        return self._acks

    @property
    def store_errors(self) -> int:
        """How often the store refused."""
        return self._store_errors
