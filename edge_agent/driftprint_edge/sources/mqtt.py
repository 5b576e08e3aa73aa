"""Frames from MQTT topics, as Frigate and small cameras publish them."""

from __future__ import annotations

import secrets
from threading import Event
from typing import Annotated, Any, Literal

import paho.mqtt.client as paho
from pydantic import Field

from driftprint.clock import Clock
from driftprint.errors import SourceError
from driftprint.frames import FrameRef
from driftprint.mqtt import MqttSettings, make_client
from driftprint_edge.sources.live import POLL_SECONDS, LiveSettings, LiveSource, Put


class MqttSourceSettings(LiveSettings):
    """A ``[stream.source]`` of kind "mqtt"."""

    kind: Literal["mqtt"]
    topic: Annotated[str, Field(min_length=1, max_length=1024)]
    """Whose messages are JPEG or PNG files, one a frame. Wildcards are allowed."""
    broker: MqttSettings = MqttSettings()
    """Where that topic is, which may be another broker than the one that is reported to."""

    def open(self, clock: Clock) -> LiveSource:
        """The source.

        Raises:
            ConfigError: where a certificate of the broker cannot be read.
        """
        make_client(self.broker, "check", clean_session=True)
        return self.source_of(MqttFeed(self.broker, self.topic), clock)


class MqttFeed:
    """Subscribes to a topic.

    Args:
        broker: where it is.
        topic: what to subscribe to.
    """

    def __init__(self, broker: MqttSettings, topic: str) -> None:
        self._broker = broker
        self._topic = topic

    def run(self, put: Put, stop: Event) -> None:
        """See `Feed.run`."""
        client = make_client(self._broker, f"driftprint-frames-{secrets.token_hex(4)}", clean_session=True)
        refused: list[str] = []

        def on_connect(client: paho.Client, _data: Any, _flags: Any, reason: Any, _properties: Any) -> None:
            if reason.is_failure:
                refused.append(f"the broker refuses the connection ({reason})")
            else:
                client.subscribe(self._topic)

        def on_subscribe(_client: paho.Client, _data: Any, _mid: int, reasons: list[Any], _properties: Any) -> None:
            refused.extend(f"the broker refuses the topic ({reason})" for reason in reasons if reason.is_failure)

        def on_message(_client: paho.Client, _data: Any, message: paho.MQTTMessage) -> None:
            put(FrameRef(message.topic, bytes(message.payload)))

        client.on_connect, client.on_subscribe, client.on_message = on_connect, on_subscribe, on_message
        where = f"{self._broker.host}:{self._broker.port} {self._topic}"
        try:
            client.connect(self._broker.host, self._broker.port, self._broker.keepalive_seconds)
            while not stop.is_set():
                result = client.loop(POLL_SECONDS)
                if refused or result != paho.MQTT_ERR_SUCCESS:
                    raise SourceError(refused[0] if refused else paho.error_string(result), where=where)
        except (OSError, ValueError) as error:
            raise SourceError(f"cannot connect ({error})", where=where) from None
        finally:
            client.disconnect()
