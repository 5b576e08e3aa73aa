"""Decides which of the outbox's messages to send when, and forgets those that the server has stored."""

from __future__ import annotations

from collections.abc import Iterable

from driftprint_edge.store import Pending, Store

IN_FLIGHT = 100
"""At most this many messages are on their way at once."""

FIRST_RESEND_SECONDS = 10.0
LONGEST_RESEND_SECONDS = 60.0


class Courier:
    """Keeps a limited number of unacknowledged messages on their way.

    Only the server's own acknowledgement takes a message out of the outbox: a broker's is no promise that
    anybody has stored it. A message that stays unanswered is sent again, ever more slowly while the server
    says nothing at all.

    Args:
        store: holds the outbox.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._sent_at: dict[int, float] = {}
        self._resend_seconds = FIRST_RESEND_SECONDS

    def due(self, now: float) -> list[Pending]:
        """The messages to send at monotonic time `now`; they then count as on their way.

        Raises:
            StoreError: where the disk refuses.
        """
        window = self._store.pending(IN_FLIGHT)
        # Alerts may push windows out of the flight; those are sent again when they come back in.
        self._sent_at = {message.seq: self._sent_at[message.seq] for message in window if message.seq in self._sent_at}
        due = [
            message
            for message in window
            if message.seq not in self._sent_at or now >= self._sent_at[message.seq] + self._resend_seconds
        ]
        if any(message.seq in self._sent_at for message in due):
            self._resend_seconds = min(2 * self._resend_seconds, LONGEST_RESEND_SECONDS)
        self._sent_at.update((message.seq, now) for message in due)
        return due

    def acknowledged(self, seqs: Iterable[int]) -> None:
        """Forget messages that the server has stored.

        Raises:
            StoreError: where the disk refuses; they are then sent again.
        """
        self._store.acknowledge(list(seqs))
        self._resend_seconds = FIRST_RESEND_SECONDS

    def connected(self) -> None:
        """A new connection: whatever was on its way may be lost, so it is sent again at once."""
        self._sent_at.clear()
        self._resend_seconds = FIRST_RESEND_SECONDS
