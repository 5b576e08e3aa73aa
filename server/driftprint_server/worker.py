"""The way of a message through the server: inbox -> read -> keeper -> acknowledgement."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence

import structlog

from driftprint.clock import Clock
from driftprint.errors import MessageError, StoreError
from driftprint.logs import is_news
from driftprint.topics import DeviceTopic, device_topic, parse
from driftprint_server.counts import Counts, Reason
from driftprint_server.inbox import Inbox, Received
from driftprint_server.ingest import read
from driftprint_server.keepers import Keeper
from driftprint_server.records import STREAM_MESSAGES, AckRecord, FleetMessage, encode_record
from driftprint_server.rejections import Rejections

TICK_SECONDS = 1.0
"""Without messages the worker looks around this often: for what is not kept yet, and for who has been silent."""

_MOST_AT_ONCE = 1000
_MOST_SEQS = 1000  # of an acknowledgement

Publish = Callable[[str, bytes], bool]


class Worker:
    """Takes messages in, a batch at a time, and acknowledges them once they are kept.

    A batch is whatever has arrived while the last one was being kept, so that a busy server makes few large commits.
    Where that fails, nothing is acknowledged: the devices send again, and meanwhile the fleet in memory is right.

    Args:
        inbox: where the link puts what it hears.
        keeper: takes in what is read, and keeps it.
        publish: sends an acknowledgement; False where it cannot be sent.
        counts: counts everything.
        clock: the keeper's.
        acknowledge: False leaves that to others, who take in the same messages.
    """

    def __init__(
        self,
        inbox: Inbox,
        *,
        keeper: Keeper,
        publish: Publish,
        counts: Counts,
        clock: Clock,
        acknowledge: bool = True,
    ) -> None:
        self._inbox = inbox
        self._keeper = keeper
        self._publish = publish
        self._counts = counts
        self._rejections = Rejections(counts, clock)
        self._clock = clock
        self._acknowledge = acknowledge
        self._log = structlog.get_logger()
        self._store_problem: str | None = None

    @property
    def store_problem(self) -> str | None:
        """Why the last batch was not kept; None where it was."""
        return self._store_problem

    def run(self, stopping: Callable[[], bool]) -> None:
        """Work until `stopping` and the inbox is empty."""
        while self._turn() or not stopping():
            pass

    def step(self, batch: Sequence[Received]) -> None:
        """Take a batch in, keep it, acknowledge it."""
        acks = Acks()
        for received in batch:
            self._take(received, acks)
        if self._keep(wanted=bool(acks)):
            for topic, ack in acks.messages():
                if self._publish(topic, encode_record(ack)):
                    self._counts.acked(len(ack.seqs))

    def _turn(self) -> bool:
        batch = self._inbox.take(_MOST_AT_ONCE, timeout=TICK_SECONDS)
        self.step(batch)
        return bool(batch)

    def _take(self, received: Received, acks: Acks) -> None:
        try:
            if not received.payload and self._forget(received.topic):
                return
            kind, message = read(received.topic, received.payload)
            try:
                self._keeper.take(message, received)
            except MessageError as error:
                if error.reason != Reason.SUPERSEDED_INSTANCE:
                    raise
                self._rejections.reject(Reason.SUPERSEDED_INSTANCE, received.topic, error.what)
            else:
                self._counts.message(kind)
            if self._acknowledge:
                acks.add(message)
        except MessageError as error:
            self._rejections.reject(Reason(error.reason), received.topic, error.what)
        except Exception as error:  # no message may end the daemon
            self._rejections.reject(Reason.INTERNAL, received.topic, repr(error))

    def _forget(self, topic: str) -> bool:
        """An empty retained state is how a broker is told to drop it: its device is gone for good."""
        address = parse(topic)
        if address.kind is not DeviceTopic.STATE:
            return False
        self._keeper.forget(address.site, address.device)
        return True

    def _keep(self, *, wanted: bool) -> bool:
        try:
            self._keeper.keep(self._clock.now(), wanted=wanted)
        except Exception as error:  # nor may what a message leads to
            self._store_problem = str(error) if isinstance(error, StoreError) else repr(error)
            if is_news(self._counts.store_error()):
                self._log.error("store error", what=self._store_problem, total=self._counts.store_errors)
            return False
        if self._store_problem is not None:
            self._log.info("the store works again")
        self._store_problem = None
        return True


class Acks:
    """Which messages to acknowledge, by device and instance."""

    def __init__(self) -> None:
        self._seqs: defaultdict[tuple[str, str, str], list[int]] = defaultdict(list)

    def __bool__(self) -> bool:
        return bool(self._seqs)

    def add(self, message: FleetMessage) -> None:
        """Those of streams are waited for in an outbox; the others are not."""
        if isinstance(message, STREAM_MESSAGES):
            self._seqs[message.site, message.device, message.instance].append(message.seq)

    def messages(self) -> Iterator[tuple[str, AckRecord]]:
        """The acknowledgements with their topics."""
        for (site, device, instance), seqs in self._seqs.items():
            for start in range(0, len(seqs), _MOST_SEQS):
                ack = AckRecord(instance=instance, seqs=tuple(seqs[start : start + _MOST_SEQS]))
                yield device_topic(site, device, DeviceTopic.ACK), ack
