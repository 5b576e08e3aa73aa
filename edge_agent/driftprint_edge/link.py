"""The agent's MQTT connection."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import paho.mqtt.client as paho
import structlog
from paho.mqtt.enums import MQTTErrorCode
from paho.mqtt.reasoncodes import ReasonCode

from driftprint.clock import Clock
from driftprint.errors import MessageError, StoreError
from driftprint.messages import (
    AckMessage,
    DeviceStatus,
    HealthMessage,
    StateMessage,
    decode,
    encode,
    with_age,
)
from driftprint.mqtt import MqttSettings, make_client, start
from driftprint.topics import DeviceTopic, StreamTopic, device_topic, stream_topic
from driftprint.version import VERSION
from driftprint_edge.courier import Courier
from driftprint_edge.store import Store

_TICK_SECONDS = 0.5
_CLOSE_SECONDS = 2.0


class Link:
    """Sends what the outbox holds, takes the server's acknowledgements, and says that the device is alive.

    All sending is done by one thread of its own; paho's thread only hands over what it hears.

    Args:
        settings: where the broker is.
        site: the device's site.
        device: the device's id.
        streams: the names of its streams.
        store: holds the outbox.
        clock: dates messages.
        health_seconds: how often a health message is sent.
        store_errors: how many writes the disk has refused.
        providers: by stream, the execution providers in use.
    """

    def __init__(
        self,
        settings: MqttSettings,
        *,
        site: str,
        device: str,
        streams: Sequence[str],
        store: Store,
        clock: Clock,
        health_seconds: float,
        store_errors: Callable[[], int],
        providers: Callable[[], Mapping[str, tuple[str, ...]]],
    ) -> None:
        self._settings = settings
        self._site = site
        self._device = device
        self._streams = tuple(streams)
        self._store = store
        self._clock = clock
        self._health_seconds = health_seconds
        self._store_errors = store_errors
        self._providers = providers
        self._courier = Courier(store)
        self._started = clock.now()
        self._events: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._stopping = threading.Event()
        self._log = structlog.get_logger().bind(broker=f"{settings.host}:{settings.port}")
        self._client = make_client(settings, f"driftprint-agent-{site}-{device}", clean_session=True)
        self._client.will_set(self._topic(DeviceTopic.STATE), self._state(DeviceStatus.OFFLINE), qos=1, retain=True)
        self._client.on_connect = self._on_connect
        self._client.on_disconnect = self._on_disconnect
        self._client.message_callback_add(self._topic(DeviceTopic.ACK), self._on_ack)
        self._thread = threading.Thread(target=self._run, name="link", daemon=True)

    def start(self) -> None:
        """Connect in the background; a broker that is away is tried again for ever."""
        start(self._client, self._settings)
        self._thread.start()

    def wake(self) -> None:
        """There is something new in the outbox."""
        self._events.put(lambda: None)

    def stop(self) -> None:
        """Send what can still be sent, say goodbye and disconnect, within a few seconds."""
        self._stopping.set()
        self.wake()
        self._thread.join(timeout=_CLOSE_SECONDS)
        if self._client.is_connected():
            goodbye = self._client.publish(
                self._topic(DeviceTopic.STATE), self._state(DeviceStatus.OFFLINE), qos=1, retain=True
            )
            if goodbye.rc is MQTTErrorCode.MQTT_ERR_SUCCESS:
                goodbye.wait_for_publish(_CLOSE_SECONDS)
        self._client.disconnect()
        self._client.loop_stop()

    def _run(self) -> None:
        next_health = self._clock.now().monotonic
        while True:
            try:
                self._events.get(timeout=_TICK_SECONDS)()
                while not self._events.empty():
                    self._events.get_nowait()()
            except queue.Empty:
                pass
            except StoreError as error:
                self._log.warning("store error", what=str(error))
            if self._client.is_connected():
                self._send_due()
                now = self._clock.now().monotonic
                if now >= next_health:
                    self._publish(self._topic(DeviceTopic.HEALTH), self._health(), qos=0)
                    next_health = now + self._health_seconds
            if self._stopping.is_set():
                return

    def _send_due(self) -> None:
        try:
            due = self._courier.due(self._clock.now().monotonic)
        except StoreError as error:
            self._log.warning("store error", what=str(error))
            return
        for message in due:
            self._publish(message.topic, with_age(message.payload, message.age_seconds), qos=1)
        if any(message.topic.endswith(f"/{StreamTopic.ALERT.value}") for message in due):
            self._publish_current_alerts()

    def _publish_current_alerts(self) -> None:
        """Each stream's latest alert, retained for those who subscribe later."""
        try:
            alerts = self._store.current_alerts()
        except StoreError as error:
            self._log.warning("store error", what=str(error))
            return
        for stream, payload in alerts:
            topic = stream_topic(self._site, self._device, stream, StreamTopic.ALERT_CURRENT)
            self._publish(topic, payload, qos=1, retain=True)

    def _greet(self) -> None:
        """What is said at every new connection."""
        self._client.subscribe(self._topic(DeviceTopic.ACK), qos=1)
        self._publish(self._topic(DeviceTopic.STATE), self._state(DeviceStatus.ONLINE), qos=1, retain=True)
        self._publish_current_alerts()
        self._courier.connected()

    def _publish(self, topic: str, payload: bytes, *, qos: int, retain: bool = False) -> None:
        # Without a connection paho would queue it, beside the outbox that does so already.
        if self._client.is_connected():
            self._client.publish(topic, payload, qos=qos, retain=retain)

    def _on_connect(
        self, _client: paho.Client, _data: Any, _flags: paho.ConnectFlags, reason: ReasonCode, _properties: Any
    ) -> None:
        if reason.is_failure:
            self._log.warning("the broker refuses the connection", reason=str(reason))
            return
        self._log.info("connected")
        self._events.put(self._greet)

    def _on_disconnect(
        self, _client: paho.Client, _data: Any, _flags: paho.DisconnectFlags, reason: ReasonCode, _properties: Any
    ) -> None:
        if not self._stopping.is_set():
            self._log.warning("connection lost, trying again", reason=str(reason))

    def _on_ack(self, _client: paho.Client, _data: Any, message: paho.MQTTMessage) -> None:
        try:
            ack = decode(AckMessage, bytes(message.payload), topic=message.topic)
        except MessageError as error:
            self._log.warning("message ignored", what=str(error))
            return
        if ack.instance == self._store.instance:
            self._events.put(lambda: self._courier.acknowledged(ack.seqs))

    def _state(self, status: DeviceStatus) -> bytes:
        return encode(
            StateMessage(
                site=self._site,
                device=self._device,
                instance=self._store.instance,
                status=status,
                agent_version=VERSION,
                started_at=self._started.wall,
                streams=self._streams,
            )
        )

    def _health(self) -> bytes:
        return encode(
            HealthMessage(
                site=self._site,
                device=self._device,
                instance=self._store.instance,
                uptime_seconds=self._clock.now().monotonic - self._started.monotonic,
                outbox_messages=self._store.outbox_messages,
                outbox_dropped_total=self._store.dropped_total,
                store_errors_total=self._store_errors(),
                providers=dict(self._providers()),
            )
        )

    def _topic(self, kind: DeviceTopic) -> str:
        return device_topic(self._site, self._device, kind)
