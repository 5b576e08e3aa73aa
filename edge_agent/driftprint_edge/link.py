"""The agent's MQTT connection."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import paho.mqtt.client as paho
import structlog
from paho.mqtt.enums import MQTTErrorCode
from paho.mqtt.reasoncodes import ReasonCode

from driftprint.clock import Clock
from driftprint.errors import MessageError, StoreError
from driftprint.logs import is_news
from driftprint.messages import (
    AckMessage,
    CommandMessage,
    DeviceStatus,
    HealthMessage,
    StateMessage,
    Vitals,
    WindowMessage,
    decode,
    encode,
    with_age,
)
from driftprint.mqtt import MqttSettings, make_client, start
from driftprint.topics import DeviceTopic, StreamTopic, device_topic, stream_topic
from driftprint.version import VERSION
from driftprint_edge.courier import Courier
from driftprint_edge.home_assistant import BIRTH, Retained
from driftprint_edge.store import Store

_TICK_SECONDS = 0.5
_CLOSE_SECONDS = 1.5
_SETTLE_SECONDS = 60.0
"""A store that is in memory alone tries so often whether the disk takes writes again."""


@dataclass(frozen=True, slots=True)
class AgentHealth:
    """How the agent is, beside its outbox.

    Attributes:
        store_errors_total: writes that the disk has refused.
        providers: by stream, the execution providers in use.
        bundle_errors: by stream, why it does not run the bundle that was wanted.
        bundle_unfetched: those of them for which it is only that it cannot be fetched.
        vitals: how the device is.
    """

    store_errors_total: int = 0
    providers: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    bundle_errors: Mapping[str, str] = field(default_factory=dict)
    bundle_unfetched: tuple[str, ...] = ()
    vitals: Vitals = field(default_factory=Vitals)


@dataclass(frozen=True, slots=True)
class Discovery:
    """What Home Assistant is told.

    Attributes:
        message: of the device.
        birth_topic: on which Home Assistant says that it has started.
    """

    message: Retained
    birth_topic: str


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
        health: how the agent is.
        on_health: told of every health message, whether there is a connection or not.
        on_command: told what the server wants the streams to run.
        discovery: what Home Assistant is told of the device at every connection, and whenever it starts; None where
            it is not told.
        on_turn: told, several times a second, that it still works.
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
        health: Callable[[], AgentHealth],
        on_health: Callable[[HealthMessage], None] = lambda _: None,
        on_command: Callable[[CommandMessage], None] = lambda _: None,
        discovery: Discovery | None = None,
        on_turn: Callable[[], None] = lambda: None,
    ) -> None:
        self._settings = settings
        self._site = site
        self._device = device
        self._streams = tuple(streams)
        self._store = store
        self._clock = clock
        self._health_seconds = health_seconds
        self._agent_health = health
        self._on_health = on_health
        self._on_command = on_command
        self._discovery = discovery
        self._on_turn = on_turn
        self._courier = Courier(store)
        self._flush_errors = 0
        self._started = clock.now()
        self._next_settle = self._started.monotonic + _SETTLE_SECONDS
        self._events: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._stopping = threading.Event()
        self._log = structlog.get_logger().bind(broker=f"{settings.host}:{settings.port}")
        self._client = make_client(settings, f"driftprint-agent-{site}-{device}", clean_session=True)
        self._client.will_set(self._topic(DeviceTopic.STATE), self._state(DeviceStatus.OFFLINE), qos=1, retain=True)
        self._client.on_connect = self._on_connect
        self._client.on_disconnect = self._on_disconnect
        self._client.message_callback_add(self._topic(DeviceTopic.ACK), self._on_ack)
        self._client.message_callback_add(self._topic(DeviceTopic.COMMAND), self._on_command_message)
        if discovery is not None:
            self._client.message_callback_add(discovery.birth_topic, self._on_birth)
        self._thread = threading.Thread(target=self._run, name="link", daemon=True)

    def start(self) -> None:
        """Connect in the background; a broker that is away is tried again for ever."""
        start(self._client, self._settings)
        self._thread.start()

    def wake(self) -> None:
        """There is something new in the outbox."""
        self._events.put(lambda: None)

    def show(self, window: WindowMessage) -> None:
        """Let Home Assistant see a stream's latest window, if it is told of the device."""
        if self._discovery is not None:
            topic = stream_topic(self._site, self._device, window.stream, StreamTopic.WINDOW_CURRENT)
            payload = encode(window)
            self._events.put(lambda: self._publish(topic, payload, qos=0, retain=True))

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
            self._tend_store()
            if self._client.is_connected():
                self._send_due()
            now = self._clock.now().monotonic
            if now >= next_health:
                self._tell_health()
                next_health = now + self._health_seconds
            self._on_turn()
            if self._stopping.is_set():
                return

    def _tend_store(self) -> None:
        """Have it write what has waited long enough, or all at the end."""
        try:
            self._store.flush(at_once=self._stopping.is_set())
        except StoreError as error:
            self._flush_errors += 1
            if is_news(self._flush_errors):
                self._log.error("store error", what=str(error), total=self._flush_errors)
        now = self._clock.now().monotonic
        if now >= self._next_settle:
            self._store.settle()
            self._next_settle = now + _SETTLE_SECONDS

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
        self._client.subscribe([(self._topic(kind), 1) for kind in (DeviceTopic.ACK, DeviceTopic.COMMAND)])
        if self._discovery is not None:
            self._client.subscribe(self._discovery.birth_topic, qos=1)
            self._discover()
        self._publish(self._topic(DeviceTopic.STATE), self._state(DeviceStatus.ONLINE), qos=1, retain=True)
        self._publish_current_alerts()
        self._courier.connected()
        self._tell_health()

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

    def _on_command_message(self, _client: paho.Client, _data: Any, message: paho.MQTTMessage) -> None:
        if not message.payload:  # the retained one has been cleared
            self._on_command(CommandMessage())
            return
        try:
            self._on_command(decode(CommandMessage, bytes(message.payload), topic=message.topic))
        except MessageError as error:
            self._log.warning("message ignored", what=str(error))

    def _on_birth(self, _client: paho.Client, _data: Any, message: paho.MQTTMessage) -> None:
        if bytes(message.payload) == BIRTH:
            self._events.put(self._discover)

    def _discover(self) -> None:
        if self._discovery is not None:
            message = self._discovery.message
            self._publish(message.topic, message.payload, qos=1, retain=True)

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

    def _tell_health(self) -> None:
        health = self._health()
        self._on_health(health)
        self._publish(self._topic(DeviceTopic.HEALTH), encode(health), qos=0)

    def _health(self) -> HealthMessage:
        health = self._agent_health()
        return HealthMessage(
            site=self._site,
            device=self._device,
            instance=self._store.instance,
            uptime_seconds=self._clock.now().monotonic - self._started.monotonic,
            outbox_messages=self._store.outbox_messages,
            outbox_dropped_total=self._store.dropped_total,
            store_errors_total=health.store_errors_total + self._flush_errors,
            providers=dict(health.providers),
            vitals=health.vitals,
            bundle_errors=dict(health.bundle_errors),
            bundle_unfetched=health.bundle_unfetched,
            store_volatile=self._store.volatile,
            store_mended_total=self._store.mended_total,
        )

    def _topic(self, kind: DeviceTopic) -> str:
        return device_topic(self._site, self._device, kind)
