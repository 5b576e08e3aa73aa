"""Decides which of the outbox's messages to send when, and forgets those that the server has stored."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from itertools import islice, takewhile

from driftprint_edge.store import Pending, Store

FIRST_RESEND_SECONDS = 10.0
LONGEST_RESEND_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Share:
    """How many messages of one kind may be on their way at once.

    Attributes:
        new: those that have not been sent before.
        again: those that stayed unanswered.
    """

    new: int
    again: int


ALERTS = Share(new=20, again=20)
WINDOWS = Share(new=40, again=20)
IN_FLIGHT = ALERTS.new + ALERTS.again + WINDOWS.new + WINDOWS.again
"""At most this many messages are on their way at once."""


class Courier:
    """Keeps a limited number of unacknowledged messages on their way.

    Only the server's own acknowledgement takes a message out of the outbox: a broker's is no promise that
    anybody has stored it. A message that stays unanswered is sent again, ever more slowly while the server
    says nothing at all.

    Alerts go first. Alerts and windows, new messages and those sent before, have a share each of what may be
    on its way, so that messages which the server never acknowledges (it rejects them) hold up no others.

    Args:
        store: holds the outbox.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._traffic = tuple(_Traffic(store, urgent, share) for urgent, share in ((True, ALERTS), (False, WINDOWS)))
        self._resend_seconds = FIRST_RESEND_SECONDS

    def due(self, now: float) -> list[Pending]:
        """The messages to send at monotonic time `now`; they then count as on their way.

        Raises:
            StoreError: where the disk refuses.
        """
        due = [traffic.due(now, self._resend_seconds) for traffic in self._traffic]
        for traffic, (new, again) in zip(self._traffic, due, strict=True):
            traffic.sent(now, new, again)
        if any(again for _, again in due):
            self._resend_seconds = min(2 * self._resend_seconds, LONGEST_RESEND_SECONDS)
        return [message for new, again in due for message in (*new, *again)]

    def acknowledged(self, seqs: Collection[int]) -> None:
        """Forget messages that the server has stored.

        Raises:
            StoreError: where the disk refuses; they are then sent again.
        """
        self._store.acknowledge(list(seqs))
        for traffic in self._traffic:
            traffic.forget(seqs)
        self._resend_seconds = FIRST_RESEND_SECONDS

    def connected(self) -> None:
        """A new connection: whatever was on its way may be lost, so it is sent again at once."""
        for traffic in self._traffic:
            traffic.lost()
        self._resend_seconds = FIRST_RESEND_SECONDS


@dataclass(frozen=True, slots=True)
class _Sent:
    at: float
    again: bool


class _Traffic:
    """The unanswered messages of one kind: alerts or windows."""

    def __init__(self, store: Store, urgent: bool, share: Share) -> None:
        self._store = store
        self._urgent = urgent
        self._share = share
        self._newest = 0
        """Of those sent. Numbers count up, so what is beyond has not been sent."""
        self._sent: dict[int, _Sent] = {}
        """In the order of their latest sending."""

    def due(self, now: float, resend_seconds: float) -> tuple[list[Pending], list[Pending]]:
        """The messages to send now: new ones, and unanswered ones again."""

        def on_its_way(sent: _Sent) -> bool:
            return now < sent.at + resend_seconds

        again = [sent.again for sent in takewhile(on_its_way, reversed(self._sent.values()))]
        new_room = self._share.new - again.count(False)
        again_room = self._share.again - again.count(True)
        overdue: Iterator[int] = (seq for seq, _ in takewhile(lambda item: not on_its_way(item[1]), self._sent.items()))
        return (
            self._store.pending(urgent=self._urgent, after=self._newest, limit=max(0, new_room)),
            self._find(list(islice(overdue, max(0, again_room)))),
        )

    def sent(self, now: float, new: list[Pending], again: list[Pending]) -> None:
        """These are on their way now."""
        for message in again:
            del self._sent[message.seq]
        self._sent.update((message.seq, _Sent(now, again=False)) for message in new)
        self._sent.update((message.seq, _Sent(now, again=True)) for message in again)
        if new:
            self._newest = new[-1].seq

    def forget(self, seqs: Collection[int]) -> None:
        """These are answered, or gone."""
        for seq in seqs:
            self._sent.pop(seq, None)

    def lost(self) -> None:
        """Nothing is on its way any more."""
        self._sent = {seq: _Sent(float("-inf"), sent.again) for seq, sent in self._sent.items()}

    def _find(self, seqs: list[int]) -> list[Pending]:
        found = self._store.find(seqs)
        self.forget(set(seqs) - {message.seq for message in found})  # the outbox was full and has dropped them
        return found
