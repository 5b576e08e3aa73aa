"""Hears an agent out over MQTT, and acknowledges as the server does."""

from __future__ import annotations

import threading

from typing_extensions import Self

from bench.subscriber import Subscriber
from driftprint.messages import AlertMessage, StreamMessage, WindowMessage
from driftprint.mqtt import MqttSettings

_SECONDS = 10.0


class Listener(Subscriber):
    """Keeps the windows and alerts of all devices.

    Args:
        broker: where it is.

    Raises:
        TimeoutError: on entering, where the broker does not answer.
    """

    def __init__(self, broker: MqttSettings) -> None:
        super().__init__(broker, "driftprint-arm", self._keep)
        self.windows: list[WindowMessage] = []
        self.alerts: list[AlertMessage] = []
        self._where = f"{broker.host}:{broker.port}"
        self._subscribed = threading.Event()
        self.client.on_subscribe = lambda *_: self._subscribed.set()

    def __enter__(self) -> Self:
        super().__enter__()
        if not self._subscribed.wait(_SECONDS):
            raise TimeoutError(f"{self._where}: no answer from the broker")
        return self

    def _keep(self, message: StreamMessage) -> None:
        if isinstance(message, AlertMessage):
            self.alerts.append(message)
        elif isinstance(message, WindowMessage):
            self.windows.append(message)
