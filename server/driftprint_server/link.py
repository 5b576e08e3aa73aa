"""The server's MQTT connection: hears the fleet, and sends acknowledgements."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import Any

import paho.mqtt.client as paho
import structlog
from paho.mqtt.enums import MQTTErrorCode
from paho.mqtt.reasoncodes import ReasonCode

from driftprint.clock import Clock
from driftprint.logs import is_news
from driftprint.messages import MAX_MESSAGE_BYTES
from driftprint.mqtt import MqttSettings, make_client, prepare
from driftprint.topics import PREFIX, DeviceTopic, StreamTopic, stream_topic
from driftprint_server.counts import Counts, Reason
from driftprint_server.inbox import Inbox, Received
from driftprint_server.network_loop import NetworkLoop
from driftprint_server.rejections import Rejections

SUBSCRIPTIONS = (
    f"{PREFIX}/+/+/{DeviceTopic.STATE.value}",
    f"{PREFIX}/+/+/{DeviceTopic.HEALTH.value}",
    f"{PREFIX}/+/+/+/{StreamTopic.WINDOW.value}",
    f"{PREFIX}/+/+/+/{StreamTopic.ALERT.value}",
)


_ID = "x" * 64
_LONGEST_TOPIC = len(stream_topic(_ID, _ID, _ID, StreamTopic.WINDOW))


class Link:
    """Keeps a session at the broker, which holds messages for us while we are away.

    One of several replicas, which share a subscription, has none: what it does not get another one gets, or its device
    sends again, and the broker need not keep anything for a replica that is gone.

    The network's thread only puts what it hears into the inbox. Where that is full, a message is dropped and
    counted: its device, not having been answered, sends it again. No message may end that thread.

    Args:
        settings: where the broker is.
        client_id: the session's name; a replica's begins so.
        inbox: takes what is heard.
        counts: counts what is dropped, and faults of the connection.
        clock: dates what is heard.
        share: the name of the group of replicas; None where there is but one server.
        admits: whether to take in a message on a topic, at a monotonic time, before it is looked at.

    Raises:
        ConfigError: where a certificate file cannot be read.
    """

    def __init__(
        self,
        settings: MqttSettings,
        *,
        client_id: str,
        inbox: Inbox,
        counts: Counts,
        clock: Clock,
        share: str | None = None,
        admits: Callable[[str, float], bool] = lambda _topic, _now: True,
    ) -> None:
        self._settings = settings
        self._inbox = inbox
        self._counts = counts
        self._rejections = Rejections(counts, clock)
        self._clock = clock
        self._subscribed = False
        self._stopping = False
        self._log = structlog.get_logger().bind(broker=f"{settings.host}:{settings.port}")
        self._admits = admits
        self._clean_session = share is not None
        self._subscriptions = [f"$share/{share}/{topic}" if share is not None else topic for topic in SUBSCRIPTIONS]
        if share is not None:  # replicas have one configuration, and no two sessions may have one name
            client_id = f"{client_id}-{secrets.token_hex(4)}"
        self._client = make_client(settings, client_id, clean_session=self._clean_session)
        self._client.on_connect = self._on_connect
        self._client.on_disconnect = self._on_disconnect
        self._client.on_subscribe = self._on_subscribe
        self._client.on_message = self._on_message
        self._received = 0
        self._faults = 0
        self._loop = NetworkLoop(self._client, received=lambda: self._received, on_fault=self._on_fault)

    @property
    def connected(self) -> bool:
        """Whether the broker is there and has granted all subscriptions, and its messages are seen to."""
        return self._subscribed and self._has_connection

    @property
    def ended(self) -> bool:
        """Whether it was started and does nothing any more, which is right after `stop` alone."""
        return self._loop.ended

    @property
    def _has_connection(self) -> bool:
        return self._loop.serving and self._client.is_connected()

    def start(self) -> None:
        """Connect in the background; a broker that is away is tried again for ever."""
        prepare(self._client, self._settings, clean_session=self._clean_session)
        self._loop.start()

    def stop(self) -> None:
        """Disconnect. The broker goes on collecting messages for the next start."""
        self._stopping = True
        self._loop.stop()

    def publish(self, topic: str, payload: bytes) -> bool:
        """Send an acknowledgement; False where there is no connection, and it is then not sent later either.

        At QoS 0: one that gets lost costs its device a message sent again, and no more; at QoS 1 each would cost the
        server two.
        """
        return self._publish(topic, payload, qos=0, retain=False)

    def command(self, topic: str, payload: bytes) -> bool:
        """Send a command, for the broker to keep; False where there is no connection, and it is not sent later."""
        return self._publish(topic, payload, qos=1, retain=True)

    def _publish(self, topic: str, payload: bytes, *, qos: int, retain: bool) -> bool:
        if not self._has_connection:
            return False
        sent = self._client.publish(topic, payload, qos=qos, retain=retain).rc is MQTTErrorCode.MQTT_ERR_SUCCESS
        self._loop.wake()
        return sent

    def _on_connect(
        self, client: paho.Client, _data: Any, _flags: paho.ConnectFlags, reason: ReasonCode, _properties: Any
    ) -> None:
        if reason.is_failure:
            self._log.warning("the broker refuses the connection", reason=str(reason))
            return
        self._log.info("connected")
        client.subscribe([(topic, 1) for topic in self._subscriptions])

    def _on_subscribe(
        self, _client: paho.Client, _data: Any, _mid: int, reasons: list[ReasonCode], _properties: Any
    ) -> None:
        refused = [topic for topic, reason in zip(self._subscriptions, reasons, strict=False) if reason.is_failure]
        if refused:
            self._log.error("the broker refuses subscriptions, check its access rules", topics=refused)
        self._subscribed = not refused

    def _on_disconnect(
        self, _client: paho.Client, _data: Any, _flags: paho.DisconnectFlags, reason: ReasonCode, _properties: Any
    ) -> None:
        self._subscribed = False
        if not self._stopping:
            self._log.warning("connection lost, trying again", reason=str(reason))

    def _on_fault(self, fault: Exception) -> None:
        self._subscribed = False
        self._faults += 1
        self._counts.reject(Reason.INTERNAL)
        if is_news(self._faults):
            self._log.error("connection failed, trying again", what=repr(fault), total=self._faults, exc_info=fault)

    def _on_message(self, _client: paho.Client, _data: Any, message: paho.MQTTMessage) -> None:
        self._received += 1
        topic = ""
        try:
            topic = message.topic
            self._take(topic, message)
        except UnicodeDecodeError as error:
            self._rejections.reject(Reason.TOPIC, topic, str(error))
        except Exception as error:  # it would come again at the next connection, and again
            self._rejections.reject(Reason.INTERNAL, topic, repr(error))

    def _take(self, topic: str, message: paho.MQTTMessage) -> None:
        if len(topic) > _LONGEST_TOPIC:
            self._rejections.reject(Reason.TOPIC, topic, f"more than {_LONGEST_TOPIC} characters")
            return
        if len(message.payload) > MAX_MESSAGE_BYTES:  # not worth a place in the inbox
            self._rejections.reject(Reason.TOO_LARGE, topic, f"more than {MAX_MESSAGE_BYTES} bytes")
            return
        now = self._clock.now()
        if not message.retain and not self._admits(topic, now.monotonic):  # what is retained comes but once
            self._rejections.reject(Reason.RATE, topic, "sent too fast, see [caps]")
            return
        if not self._inbox.put(Received(topic, bytes(message.payload), message.retain, now.wall)):
            self._rejections.reject(Reason.QUEUE_FULL, topic, "more than can be stored so fast")
