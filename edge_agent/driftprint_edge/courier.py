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
BACKLOG = Share(new=100, again=20)
IN_FLIGHT = sum(share.new + share.again for share in (ALERTS, WINDOWS, BACKLOG))
"""At most this many messages are on their way at once."""


class Courier:
    """Keeps a limited number of unacknowledged messages on their way.

    Only the server's own acknowledgement takes a message out of the outbox: a broker's is no promise that
    anybody has stored it. A message that stays unanswered is sent again, ever more slowly while the server
    says nothing at all.

    Alerts go first, then windows that have come since the connection was made, then those from before: the newest of
    each stream, which says how things stand, and the others from the oldest on. Each of the three, new messages and
    those sent before, have a share each of what may be on its way, so that messages which the server never
    acknowledges (it rejects them) hold up no others, nor a long backlog what is new.

    Args:
        store: holds the outbox.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._alerts = _Traffic(store, ALERTS, urgent=True)
        self._live = _Traffic(store, WINDOWS, urgent=False)
        self._backlog = _Traffic(store, BACKLOG, urgent=False, up_to=0)
        self._traffic = (self._alerts, self._live, self._backlog)
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
        """A new connection: whatever was on its way may be lost, so it is sent again at once. Windows that are in the
        outbox now are the backlog.
        """
        newest = self._store.newest
        self._alerts.lost()
        self._live = _Traffic(self._store, WINDOWS, urgent=False, after=newest)
        self._backlog = _Traffic(self._store, BACKLOG, urgent=False, up_to=newest, latest_first=True)
        self._traffic = (self._alerts, self._live, self._backlog)
        self._resend_seconds = FIRST_RESEND_SECONDS


@dataclass(frozen=True, slots=True)
class _Sent:
    at: float
    again: bool


class _Traffic:
    """The unanswered messages of one kind.

    Args:
        store: holds the outbox.
        share: how many may be on their way.
        urgent: alerts, else windows.
        after: those numbered beyond this.
        up_to: and at most this; None: all later ones.
        latest_first: begin with the latest window of each stream.
    """

    def __init__(
        self,
        store: Store,
        share: Share,
        *,
        urgent: bool,
        after: int = 0,
        up_to: int | None = None,
        latest_first: bool = False,
    ) -> None:
        self._store = store
        self._share = share
        self._urgent = urgent
        self._after = after
        """All up to this have been sent, or are not ours."""
        self._up_to = up_to
        self._latest: list[int] | None = None if latest_first else []
        """Those to begin with that have not been sent; None: it has not been looked which they are."""
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
        return self._new(max(0, new_room)), self._find(list(islice(overdue, max(0, again_room))))

    def sent(self, now: float, new: list[Pending], again: list[Pending]) -> None:
        """These are on their way now."""
        for message in again:
            del self._sent[message.seq]
        self._sent.update((message.seq, _Sent(now, again=False)) for message in new)
        self._sent.update((message.seq, _Sent(now, again=True)) for message in again)
        latest = self._latest or []
        self._after = max([self._after, *(message.seq for message in new if message.seq not in latest)])
        if self._latest:
            self._latest = [seq for seq in latest if seq not in self._sent]

    def forget(self, seqs: Collection[int]) -> None:
        """These are answered, or gone."""
        for seq in seqs:
            self._sent.pop(seq, None)

    def lost(self) -> None:
        """Nothing is on its way any more."""
        self._sent = {seq: _Sent(float("-inf"), sent.again) for seq, sent in self._sent.items()}

    def _new(self, room: int) -> list[Pending]:
        """Up to `room` that have not been sent."""
        if self._latest is None:
            self._latest = [seq for seq in self._store.latest_windows() if self._up_to is None or seq <= self._up_to]
        latest = self._store.find(self._latest)
        known = {*self._latest, *self._sent}
        ahead = sum(seq > self._after for seq in known)
        found = self._store.pending(urgent=self._urgent, after=self._after, up_to=self._up_to, limit=room + ahead)
        return [*latest, *(message for message in found if message.seq not in known)][:room]

    def _find(self, seqs: list[int]) -> list[Pending]:
        found = self._store.find(seqs)
        self.forget(set(seqs) - {message.seq for message in found})  # the outbox was full and has dropped them
        return found
