"""Hears an agent out for as long as it takes, acknowledges as the server does, and remembers what things came to."""

from __future__ import annotations

import threading
from collections import Counter

from bench.subscriber import Subscriber
from driftprint.messages import AlertMessage, StreamMessage, WindowMessage
from driftprint.mqtt import MqttSettings


class Witness(Subscriber):
    """Knows the latest word on everything. It connects again whenever the broker comes back.

    Args:
        broker: where it is.
    """

    def __init__(self, broker: MqttSettings) -> None:
        super().__init__(broker, "driftprint-witness", self._note)
        self.client.reconnect_delay_set(min_delay=1, max_delay=1)
        self.alerts: dict[str, AlertMessage] = {}
        """By alert id, the latest revision."""
        self.window: WindowMessage | None = None
        """The latest, by its number."""
        self.received: Counter[int] = Counter()
        """How often each message came, by its number."""
        self._lock = threading.Lock()

    def _note(self, message: StreamMessage) -> None:
        with self._lock:
            self.received[message.seq] += 1
            if isinstance(message, AlertMessage):
                known = self.alerts.get(message.alert_id)
                if known is None or message.revision > known.revision:
                    self.alerts[message.alert_id] = message
            elif isinstance(message, WindowMessage) and (self.window is None or message.seq > self.window.seq):
                self.window = message
