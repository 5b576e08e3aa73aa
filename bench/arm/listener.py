"""Hears an agent out over MQTT, and acknowledges as the server does."""

from __future__ import annotations

import threading
from types import TracebackType

import paho.mqtt.client as paho
from paho.mqtt.reasoncodes import ReasonCode

from driftprint.messages import AckMessage, AlertMessage, StreamMessage, WindowMessage, decode, encode
from driftprint.mqtt import MqttSettings, make_client, start
from driftprint.topics import DeviceTopic, StreamTopic, device_topic, parse, stream_topic

_SECONDS = 10.0


class Listener:
    """Takes the windows and alerts of all devices, for as long as the context lasts.

    Args:
        broker: where it is.

    Raises:
        TimeoutError: on entering, where the broker does not answer.
    """

    def __init__(self, broker: MqttSettings) -> None:
        self.windows: list[WindowMessage] = []
        self.alerts: list[AlertMessage] = []
        self._broker = broker
        self._subscribed = threading.Event()
        self._client = make_client(broker, "driftprint-arm", clean_session=True)
        self._client.on_connect = self._on_connect
        self._client.on_subscribe = lambda *_: self._subscribed.set()
        self._client.on_message = self._on_message

    def __enter__(self) -> Listener:
        start(self._client, self._broker)
        if not self._subscribed.wait(_SECONDS):
            raise TimeoutError(f"{self._broker.host}:{self._broker.port}: no answer from the broker")
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def _on_connect(
        self, client: paho.Client, _data: object, _flags: paho.ConnectFlags, _code: ReasonCode, _properties: object
    ) -> None:
        kinds = (StreamTopic.WINDOW, StreamTopic.ALERT)
        client.subscribe([(stream_topic("+", "+", "+", kind), 1) for kind in kinds])

    def _on_message(self, client: paho.Client, _data: object, received: paho.MQTTMessage) -> None:
        message: StreamMessage
        if parse(received.topic).kind is StreamTopic.ALERT:
            message = decode(AlertMessage, bytes(received.payload), topic=received.topic)
            self.alerts.append(message)
        else:
            message = decode(WindowMessage, bytes(received.payload), topic=received.topic)
            self.windows.append(message)
        ack = AckMessage(instance=message.instance, seqs=(message.seq,))
        client.publish(device_topic(message.site, message.device, DeviceTopic.ACK), encode(ack), qos=1)
