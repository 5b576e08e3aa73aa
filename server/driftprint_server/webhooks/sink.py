"""Alerts and news of rollouts on their way to webhooks: queued at once, and delivered by threads of their own."""

from __future__ import annotations

import sqlite3
import threading
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from random import Random

from driftprint.clock import Clock
from driftprint.messages import AlertMessage, AlertStatus
from driftprint_server.operators import OperatorStore
from driftprint_server.rollout.model import Rollout, Step
from driftprint_server.sinks import Accepted
from driftprint_server.webhooks.counts import Drop, WebhookCounts
from driftprint_server.webhooks.courier import Courier
from driftprint_server.webhooks.payloads import message_id, payload
from driftprint_server.webhooks.post import Receiver
from driftprint_server.webhooks.rollout_payloads import is_told, rollout_message_id, rollout_payload
from driftprint_server.webhooks.settings import WebhookSettings, check_names
from driftprint_server.webhooks.waiting import Outgoing, Queue

MOST_AGE_SECONDS = 7 * 86_400.0
"""Older news is none: a device that was away for longer tells it to the history alone."""

_CLOSE_SECONDS = 1.0
_ROLLOUTS = "rollouts"
"""In place of a device's name, which has a site before it: what is told of rollouts is bounded as of one device."""


class Webhooks:
    """All webhooks, as one `Sink`, and as the `News` of rollouts.

    Every revision is put once, however often it comes. An alert that was raised and cleared while its device was away
    is told as such, with its times. What the broker has kept is told where it has not been before.

    Args:
        settings: of each.
        store: keeps what waits, and what has been told.
        clock: dates attempts.
        random: spreads them.
        muted: the streams that are silenced at a Unix time, as site, device and name. Nothing is told of their alerts,
            but that one is over of which it had been told that it was raised.

    Raises:
        ConfigError: where two share a name, or an authority's file cannot be used.
        StoreError: where the store cannot be used.
    """

    def __init__(
        self,
        settings: Sequence[WebhookSettings],
        *,
        store: OperatorStore,
        clock: Clock,
        random: Random,
        muted: Callable[[float], Collection[tuple[str, str, str]]] = lambda _now: (),
    ) -> None:
        check_names(settings)
        names = [one.name for one in settings]
        self._settings = tuple(settings)
        self._store = store
        self._queue = Queue(store)
        self._clock = clock
        self._muted = muted
        self.counts = WebhookCounts(names)
        self.couriers = {
            one.name: Courier(
                one.name, queue=self._queue, receiver=Receiver(one), counts=self.counts, clock=clock, random=random
            )
            for one in settings
        }
        self.threads = tuple(
            threading.Thread(target=courier.run, name=f"webhook {name}", daemon=True)
            for name, courier in self.couriers.items()
        )
        self._queue.keep_only(names)

    def start(self) -> None:
        """Begin to deliver."""
        for thread in self.threads:
            thread.start()

    def stop(self) -> None:
        """Deliver no more; what waits is kept."""
        for courier in self.couriers.values():
            courier.stop()
        for thread in self.threads:
            if thread.is_alive():
                thread.join(_CLOSE_SECONDS)

    @property
    def waiting(self) -> Mapping[str, int]:
        """Messages that are still to be delivered, by webhook."""
        return {name: self._queue.length(name) for name in self.couriers}

    def write(self, batch: Sequence[Accepted]) -> None:
        """Queue the alerts of a batch.

        Raises:
            StoreError: where the store refuses; nothing is queued then.
        """
        alerts = [(one, one.message) for one in batch if isinstance(one.message, AlertMessage)]
        if not alerts or not self._settings:
            return
        muted = self._muted(self._clock.now().wall)
        dropped: Counter[tuple[str, Drop]] = Counter()
        with self._store.transaction() as db:
            for accepted, alert in alerts:
                for webhook in self._settings:
                    if not webhook.causes or alert.cause in webhook.causes:
                        silent = (alert.site, alert.device, alert.stream) in muted
                        self._write(db, webhook, accepted, alert, dropped, silent=silent)
        for (name, reason), number in dropped.items():
            self.counts.drop(name, reason, number)
        self.wake()

    def rollout(self, db: sqlite3.Connection, rollout: Rollout, step: Step) -> None:
        """Queue that a rollout has stopped by itself, or is held; nothing is told of what operators do.

        Args:
            db: of the store's transaction. `wake` once that is over.
            rollout: which.
            step: what has happened to it.

        Raises:
            StoreError: where the store refuses.
        """
        if not is_told(step):
            return
        for webhook in self._settings:
            if not webhook.rollouts:
                continue
            body = rollout_payload(rollout, step, webhook.format)
            message = Outgoing(_ROLLOUTS, f"{_ROLLOUTS}/{rollout.id}", rollout_message_id(step), body)
            self.counts.drop(webhook.name, *self._put(db, webhook.name, message, now=self._clock.now().wall))

    def wake(self) -> None:
        """There may be something new to deliver."""
        for courier in self.couriers.values():
            courier.wake()

    def _write(
        self,
        db: sqlite3.Connection,
        webhook: WebhookSettings,
        accepted: Accepted,
        alert: AlertMessage,
        dropped: Counter[tuple[str, Drop]],
        *,
        silent: bool,
    ) -> None:
        name, now = webhook.name, self._clock.now().wall
        device = f"{alert.site}/{alert.device}"
        # A device that uses another's ids must not keep that one's alert from being told.
        key = f"{device}/{alert.stream}/{alert.alert_id}"
        told = self._queue.told(db, name, key)
        if told is not None and told >= alert.revision:
            return
        if silent and (told is None or alert.status is not AlertStatus.CLEARED):
            return
        self._queue.tell(db, name, key, alert.revision)
        if told is not None and alert.status is AlertStatus.UPDATED and not webhook.updates:
            return
        if told is None and alert.status is AlertStatus.CLEARED and accepted.retained:
            return
        if now - accepted.at > MOST_AGE_SECONDS and not accepted.retained:
            dropped[name, Drop.TOO_OLD] += 1
            return
        message = Outgoing(device, key, message_id(alert), payload(accepted, alert, webhook.format))
        reason, number = self._put(db, name, message, now=now)
        dropped[name, reason] += number

    def _put(self, db: sqlite3.Connection, name: str, message: Outgoing, *, now: float) -> tuple[Drop, int]:
        """Queue a message for a webhook; why how many are dropped for it."""
        if self.couriers[name].gone:
            return Drop.GONE, 1
        return Drop.QUEUE_FULL, self._queue.put(db, name, message, now=now)
