"""What becomes of messages once they have been read: who knows what they say, and where it is kept."""

from __future__ import annotations

import queue
from collections.abc import Callable, Sequence
from typing import Protocol

from driftprint.clock import Instant
from driftprint_server.device import happened_at
from driftprint_server.fleet import Fleet
from driftprint_server.inbox import Received
from driftprint_server.records import FleetMessage
from driftprint_server.sinks import Accepted, Sink, Sinks
from driftprint_server.store import Store
from driftprint_server.times import EventTimes, Settling

PROBE_SECONDS = 10.0
"""A store that had nothing to save for this long is tried with an empty write."""

SWEEP_SECONDS = 10.0
"""The whole fleet is gone through this often, for who has been silent for too long."""


class Keeper(Protocol):
    """Takes in the messages of a batch, one by one, and then keeps them together. For one thread."""

    def take(self, message: FleetMessage, received: Received) -> None:
        """Take a message in.

        Raises:
            MessageError: where it is refused.
        """
        ...

    def forget(self, site: str, device: str) -> None:
        """A device is gone for good."""
        ...

    def keep(self, now: Instant, *, wanted: bool) -> None:
        """Let all that has been taken in outlast a crash. `wanted` asks for proof even where there is nothing.

        Raises:
            StoreError: where that is not possible now; whoever sent it must send it again.
        """
        ...


class FleetKeeper:
    """Keeps a fleet, in memory and on disk, and hands on what it takes in.

    Args:
        fleet: takes messages in.
        store: keeps what the fleet has learnt.
        sinks: are given what the fleet has taken in.
        now: when this begins.
    """

    def __init__(self, fleet: Fleet, store: Store, *, sinks: Sequence[Sink] = (), now: Instant) -> None:
        self._times = EventTimes()
        self._fleet = fleet
        self._store = store
        self._sinks = Sinks(sinks)
        self._taken: list[Accepted] = []
        self._gone: queue.SimpleQueue[tuple[str, str]] = queue.SimpleQueue()
        self._settling = Settling(now)
        self._kept_at = self._swept_at = now.monotonic
        self._kept_all = True

    def take(self, message: FleetMessage, received: Received) -> None:
        """See `Keeper`."""
        if self._fleet.apply(message, received.received_at, retained=received.retained):
            self._taken.append(_accepted(message, received, self._times))

    def forget(self, site: str, device: str) -> None:
        """See `Keeper`."""
        self._fleet.forget(site, device)

    def forget_later(self, site: str, device: str) -> None:
        """The same, from any thread; it is done before anything is next kept."""
        self._gone.put((site, device))

    def keep(self, now: Instant, *, wanted: bool) -> None:
        """See `Keeper`."""
        while not self._gone.empty():
            self.forget(*self._gone.get())
        if now.monotonic - self._swept_at >= SWEEP_SECONDS:
            self._fleet.forget_silent(now.wall, settled=self._settling.over(now))
            self._swept_at = now.monotonic
        taken, self._taken = self._taken, []
        changes = self._fleet.unsaved()
        if not changes and not wanted and self._kept_all and now.monotonic - self._kept_at < PROBE_SECONDS:
            return
        self._kept_all = False
        self._sinks.write(taken)
        self._store.save(changes)
        self._fleet.saved()
        self._kept_at = now.monotonic
        self._kept_all = True


class Relay:
    """Keeps nothing itself: what it takes in is for its sinks, and what these could not take for their next batch.

    Args:
        sinks: are given it.
        admit: raises MessageError for what is not to be taken in.
    """

    def __init__(self, sinks: Sequence[Sink], *, admit: Callable[[FleetMessage], None] = lambda _message: None) -> None:
        self._times = EventTimes()
        self._sinks = Sinks(sinks)
        self._admit = admit
        self._taken: list[Accepted] = []

    def take(self, message: FleetMessage, received: Received) -> None:
        """See `Keeper`."""
        self._admit(message)
        self._taken.append(_accepted(message, received, self._times))

    def forget(self, site: str, device: str) -> None:
        """See `Keeper`; there is nothing to forget."""

    def keep(self, now: Instant, *, wanted: bool) -> None:  # noqa: ARG002
        """See `Keeper`."""
        taken, self._taken = self._taken, []
        self._sinks.write(taken)


def _accepted(message: FleetMessage, received: Received, times: EventTimes) -> Accepted:
    at = happened_at(message, received.received_at)
    return Accepted(message, times.at(message, at, received.received_at), received.retained)
