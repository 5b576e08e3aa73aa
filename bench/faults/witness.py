"""Hears an agent out for as long as it takes, acknowledges as the server does, and remembers what things came to."""

from __future__ import annotations

import threading
from collections import Counter
from types import TracebackType

import paho.mqtt.client as paho

from driftprint.messages import AckMessage, AlertMessage, StreamMessage, WindowMessage, decode, encode
from driftprint.mqtt import MqttSettings, make_client, start
from driftprint.topics import DeviceTopic, StreamTopic, device_topic, parse, stream_topic


class Witness:
    """A subscriber, for as long as the context lasts. It connects again whenever the broker comes back.

    Args:
        broker: where it is.
    """

    def __init__(self, broker: MqttSettings) -> None:
        self.alerts: dict[str, AlertMessage] = {}
        """By alert id, the latest revision."""
        self.window: WindowMessage | None = None
        """The latest, by its number."""
        self.received: Counter[int] = Counter()
        """How often each message came, by its number."""
        self._broker = broker
        self._lock = threading.Lock()
        self._client = make_client(broker, "driftprint-witness", clean_session=True)
        self._client.reconnect_delay_set(min_delay=1, max_delay=1)
        self._client.on_connect = lambda client, *_: client.subscribe(
            [(stream_topic("+", "+", "+", kind), 1) for kind in (StreamTopic.WINDOW, StreamTopic.ALERT)]
        )
        self._client.on_message = self._on_message

    def __enter__(self) -> Witness:
        start(self._client, self._broker)
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def _on_message(self, client: paho.Client, _data: object, received: paho.MQTTMessage) -> None:
        message: StreamMessage
        if parse(received.topic).kind is StreamTopic.ALERT:
            message = self._alert(decode(AlertMessage, bytes(received.payload), topic=received.topic))
        else:
            message = self._window(decode(WindowMessage, bytes(received.payload), topic=received.topic))
        ack = AckMessage(instance=message.instance, seqs=(message.seq,))
        client.publish(device_topic(message.site, message.device, DeviceTopic.ACK), encode(ack), qos=1)

    def _alert(self, alert: AlertMessage) -> AlertMessage:
        with self._lock:
            self.received[alert.seq] += 1
            known = self.alerts.get(alert.alert_id)
            if known is None or alert.revision > known.revision:
                self.alerts[alert.alert_id] = alert
        return alert

    def _window(self, window: WindowMessage) -> WindowMessage:
        with self._lock:
            self.received[window.seq] += 1
            if self.window is None or window.seq > self.window.seq:
                self.window = window
        return window
