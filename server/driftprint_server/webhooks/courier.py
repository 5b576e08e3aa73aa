"""Delivers what waits for one webhook."""

from __future__ import annotations

import threading
from random import Random

import structlog

from driftprint.clock import Clock
from driftprint.errors import StoreError
from driftprint.logs import is_news
from driftprint_server.webhooks.counts import Drop, WebhookCounts
from driftprint_server.webhooks.post import MOST_RETRY_AFTER_SECONDS, Answer, Receiver
from driftprint_server.webhooks.waiting import Queue, Waiting

STEPS_SECONDS = (5.0, 15.0, 60.0, 300.0, 600.0)
"""After a failure it is tried again after the first, after the next failure after the second; then by the last."""
_JITTER = 0.2

MOST_SECONDS = 86_400.0
"""What could not be delivered for this long is given up."""

_LOOK_SECONDS = 60.0
_DISK_SECONDS = 5.0


class Courier:
    """Takes the messages of one webhook, one at a time, to its receiver.

    Args:
        name: of the webhook.
        queue: of messages.
        receiver: of them.
        counts: told how it went.
        clock: dates attempts.
        random: spreads them, so that not all servers come at once.
    """

    def __init__(
        self, name: str, *, queue: Queue, receiver: Receiver, counts: WebhookCounts, clock: Clock, random: Random
    ) -> None:
        self._name = name
        self._queue = queue
        self._receiver = receiver
        self._counts = counts
        self._clock = clock
        self._random = random
        self._wake = threading.Event()
        self._stopping = False
        self._away = False
        self._gone = False
        self._log = structlog.get_logger().bind(webhook=name)

    @property
    def gone(self) -> bool:
        """Whether the receiver has said that it wants no more."""
        return self._gone

    def wake(self) -> None:
        """There is something new."""
        self._wake.set()

    def stop(self) -> None:
        """Let `run` end."""
        self._stopping = True
        self._wake.set()

    def run(self) -> None:
        """Deliver until `stop`."""
        while not self._stopping:
            try:
                wait = self.step()
            except StoreError as error:
                # Delivered perhaps, and to be again: receivers know it by its id.
                self._log.error("store_error", error=str(error))
                wait = _DISK_SECONDS
            if wait > 0:
                self._wake.wait(wait)
            self._wake.clear()

    def step(self) -> float:
        """Deliver one message, where one is due.

        Returns:
            seconds until there may be something to do.

        Raises:
            StoreError: where the store refuses.
        """
        found = self._queue.first(self._name)
        if found is None:
            return _LOOK_SECONDS
        waiting, due = found
        now = self._clock.now().wall
        if now - waiting.since >= MOST_SECONDS:
            self._queue.done(waiting.number)
            self._counts.drop(self._name, Drop.EXPIRED)
            self._log.warning("given_up", message=waiting.id, tries=waiting.tries)
            return 0.0
        # One that is due later than anything can be was dated by a clock that has since been set.
        if 0 < due - now <= MOST_RETRY_AFTER_SECONDS:
            return min(due - now, _LOOK_SECONDS)
        self._take(waiting, self._receiver.post(waiting.id, waiting.payload, now=now))
        return 0.0

    def _take(self, waiting: Waiting, answer: Answer) -> None:
        """Draw the consequences of an attempt."""
        now = self._clock.now().wall
        was_away, self._away = self._away, answer.away
        if answer.failure is None:
            self._counts.delivery(self._name)
            self._queue.done(waiting.number)
            if was_away:
                self._queue.hurry(self._name, due=now)
            return
        if is_news(self._counts.failure(self._name, answer.failure)):
            self._log.warning(
                "not_delivered", reason=answer.failure.value, detail=answer.detail, tries=waiting.tries + 1
            )
        if answer.gone:
            self._gone = True
            self._counts.drop(self._name, Drop.GONE, self._queue.empty(self._name))
            self._log.error("receiver_gone", fix="take the webhook out of server.toml, or correct its url")
            return
        step = STEPS_SECONDS[min(waiting.tries, len(STEPS_SECONDS) - 1)]
        due = now + max(answer.retry_after, step * self._random.uniform(1 - _JITTER, 1 + _JITTER))
        self._queue.postpone(waiting.number, due=due)
        if answer.away:
            self._queue.hold(self._name, until=due)
