"""The server's MQTT connection: hears the fleet, and sends acknowledgements."""

from __future__ import annotations

import queue
from dataclasses import dataclass
from typing import Any

import paho.mqtt.client as paho
import structlog
from paho.mqtt.enums import MQTTErrorCode
from paho.mqtt.reasoncodes import ReasonCode

from driftprint.clock import Clock
from driftprint.messages import MAX_MESSAGE_BYTES
from driftprint.mqtt import MqttSettings, make_client, start
from driftprint.topics import PREFIX, DeviceTopic, StreamTopic
from driftprint_server.counts import Counts, Reason

SUBSCRIPTIONS = (
    f"{PREFIX}/+/+/{DeviceTopic.STATE.value}",
    f"{PREFIX}/+/+/{DeviceTopic.HEALTH.value}",
    f"{PREFIX}/+/+/+/{StreamTopic.WINDOW.value}",
    f"{PREFIX}/+/+/+/{StreamTopic.ALERT.value}",
)

_MOST_WAITING_ACKS = 10_000


@dataclass(frozen=True, slots=True)
class Received:
    """A message as it came from the broker.

    Attributes:
        topic: where it was published.
        payload: at most `MAX_MESSAGE_BYTES`.
        retained: whether the broker had kept it from before we subscribed.
        received_at: Unix time in seconds, by the server's clock.
    """

    topic: str
    payload: bytes
    retained: bool
    received_at: float


class Link:
    """Keeps a session at the broker, which holds messages for us while we are away.

    paho's thread only puts what it hears into the inbox. Where that is full, a message is dropped and
    counted: its device, not having been answered, sends it again.

    Args:
        settings: where the broker is.
        client_id: the session's name.
        inbox: takes what is heard.
        counts: counts what is dropped.
        clock: dates what is heard.

    Raises:
        ConfigError: where a certificate file cannot be read.
    """

    def __init__(
        self,
        settings: MqttSettings,
        *,
        client_id: str,
        inbox: queue.Queue[Received],
        counts: Counts,
        clock: Clock,
    ) -> None:
        self._settings = settings
        self._inbox = inbox
        self._counts = counts
        self._clock = clock
        self._subscribed = False
        self._stopping = False
        self._log = structlog.get_logger().bind(broker=f"{settings.host}:{settings.port}")
        self._client = make_client(settings, client_id, clean_session=False)
        self._client.max_queued_messages_set(_MOST_WAITING_ACKS)
        self._client.on_connect = self._on_connect
        self._client.on_disconnect = self._on_disconnect
        self._client.on_subscribe = self._on_subscribe
        self._client.on_message = self._on_message

    @property
    def connected(self) -> bool:
        """Whether the broker is there and has granted all subscriptions."""
        return self._subscribed and self._client.is_connected()

    def start(self) -> None:
        """Connect in the background; a broker that is away is tried again for ever."""
        start(self._client, self._settings, clean_session=False)

    def stop(self) -> None:
        """Disconnect. The broker goes on collecting messages for the next start."""
        self._stopping = True
        self._client.disconnect()
        self._client.loop_stop()

    def publish(self, topic: str, payload: bytes) -> bool:
        """Send an acknowledgement; False where there is no connection, and it is then not sent later either.

        At QoS 0: one that gets lost costs its device a message sent again, and no more; at QoS 1 each would cost the
        server two.
        """
        if not self._client.is_connected():
            return False
        return self._client.publish(topic, payload, qos=0).rc is MQTTErrorCode.MQTT_ERR_SUCCESS

    def _on_connect(
        self, client: paho.Client, _data: Any, _flags: paho.ConnectFlags, reason: ReasonCode, _properties: Any
    ) -> None:
        if reason.is_failure:
            self._log.warning("the broker refuses the connection", reason=str(reason))
            return
        self._log.info("connected")
        client.subscribe([(topic, 1) for topic in SUBSCRIPTIONS])

    def _on_subscribe(
        self, _client: paho.Client, _data: Any, _mid: int, reasons: list[ReasonCode], _properties: Any
    ) -> None:
        refused = [topic for topic, reason in zip(SUBSCRIPTIONS, reasons, strict=False) if reason.is_failure]
        if refused:
            self._log.error("the broker refuses subscriptions, check its access rules", topics=refused)
        self._subscribed = not refused

    def _on_disconnect(
        self, _client: paho.Client, _data: Any, _flags: paho.DisconnectFlags, reason: ReasonCode, _properties: Any
    ) -> None:
        self._subscribed = False
        if not self._stopping:
            self._log.warning("connection lost, trying again", reason=str(reason))

    def _on_message(self, _client: paho.Client, _data: Any, message: paho.MQTTMessage) -> None:
        try:
            topic = message.topic
        except UnicodeDecodeError:
            self._counts.reject(Reason.TOPIC)
            return
        if len(message.payload) > MAX_MESSAGE_BYTES:  # not worth a place in the inbox
            self._counts.reject(Reason.TOO_LARGE)
            return
        try:
            self._inbox.put_nowait(Received(topic, bytes(message.payload), message.retain, self._clock.now().wall))
        except queue.Full:
            self._counts.reject(Reason.QUEUE_FULL)
