"""Hears devices out over MQTT, and acknowledges as the server does."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType

import paho.mqtt.client as paho
from typing_extensions import Self

from driftprint.messages import AckMessage, AlertMessage, StreamMessage, WindowMessage, decode, encode
from driftprint.mqtt import MqttSettings, make_client, start
from driftprint.topics import DeviceTopic, StreamTopic, device_topic, parse, stream_topic


class Subscriber:
    """Takes the windows and alerts of all devices, for as long as the context lasts.

    Args:
        broker: where it is.
        client_id: what it is called there.
        take: told of every message, before it is acknowledged.
    """

    def __init__(self, broker: MqttSettings, client_id: str, take: Callable[[StreamMessage], None]) -> None:
        self.client = make_client(broker, client_id, clean_session=True)
        self.client.on_connect = lambda client, *_: client.subscribe(
            [(stream_topic("+", "+", "+", kind), 1) for kind in (StreamTopic.WINDOW, StreamTopic.ALERT)]
        )
        self.client.on_message = self._on_message
        self._broker = broker
        self._take = take

    def __enter__(self) -> Self:
        start(self.client, self._broker)
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self.client.disconnect()
        self.client.loop_stop()

    def _on_message(self, client: paho.Client, _data: object, received: paho.MQTTMessage) -> None:
        kind: type[StreamMessage] = AlertMessage if parse(received.topic).kind is StreamTopic.ALERT else WindowMessage
        message = decode(kind, bytes(received.payload), topic=received.topic)
        self._take(message)
        ack = AckMessage(instance=message.instance, seqs=(message.seq,))
        client.publish(device_topic(message.site, message.device, DeviceTopic.ACK), encode(ack), qos=1)
