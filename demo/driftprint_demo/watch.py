"""What the demo sees of the product: alerts as any MQTT subscriber gets them, and the server's view of the fleet."""

from __future__ import annotations

import json
import queue
import urllib.error
import urllib.request
from dataclasses import dataclass

import paho.mqtt.client as paho
from paho.mqtt.reasoncodes import ReasonCode
from pydantic import BaseModel, ConfigDict, ValidationError

from driftprint.errors import MessageError
from driftprint.messages import AlertMessage, decode
from driftprint.mqtt import MqttSettings, make_client, start
from driftprint.topics import StreamTopic, stream_topic

_HTTP_SECONDS = 2.0


@dataclass(frozen=True)
class ReceivedAlert:
    """An alert with the topic and the payload it came as."""

    topic: str
    payload: str
    message: AlertMessage


class AlertSubscriber:
    """Subscribes to the alerts of all devices."""

    def __init__(self, broker: MqttSettings) -> None:
        self._broker = broker
        self._received: queue.SimpleQueue[ReceivedAlert] = queue.SimpleQueue()
        self._client = make_client(broker, "driftprint-demo", clean_session=True)
        self._client.on_connect = self._on_connect
        self._client.on_message = self._on_message

    def start(self) -> None:
        """Connect in the background."""
        start(self._client, self._broker)

    def stop(self) -> None:
        """Disconnect."""
        self._client.disconnect()
        self._client.loop_stop()

    def take(self) -> list[ReceivedAlert]:
        """The alerts that have come since the last call."""
        alerts = []
        while not self._received.empty():
            alerts.append(self._received.get())
        return alerts

    def _on_connect(
        self, client: paho.Client, _data: object, _flags: paho.ConnectFlags, _code: ReasonCode, _properties: object
    ) -> None:
        client.subscribe(stream_topic("+", "+", "+", StreamTopic.ALERT), qos=1)

    def _on_message(self, _client: paho.Client, _data: object, message: paho.MQTTMessage) -> None:
        try:
            alert = decode(AlertMessage, payload := bytes(message.payload), topic=message.topic)
        except MessageError:
            return
        self._received.put(ReceivedAlert(message.topic, payload.decode(), alert))


class StreamRow(BaseModel):
    """What the table shows of a stream."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    alarm: bool
    frames_per_second: float | None
    outlier_ratio: float | None
    frames_total: int
    alerts_total: int


class DeviceRow(BaseModel):
    """What the table shows of a device."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    device: str
    state: str
    streams: tuple[StreamRow, ...]

    @property
    def stream(self) -> StreamRow | None:
        """The demo's devices have one stream each."""
        return self.streams[0] if self.streams else None


class _Fleet(BaseModel):
    model_config = ConfigDict(extra="ignore")

    devices: tuple[DeviceRow, ...]


def read_fleet(url: str) -> dict[str, DeviceRow]:
    """The server's devices by id; none where it does not answer (yet).

    Args:
        url: the server's address, without a slash at the end.
    """
    try:
        with urllib.request.urlopen(f"{url}/api/fleet", timeout=_HTTP_SECONDS) as answer:
            fleet = _Fleet.model_validate(json.load(answer))
    except (OSError, urllib.error.URLError, ValueError, ValidationError):
        return {}
    return {device.device: device for device in fleet.devices}
