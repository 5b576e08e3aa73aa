"""How agent and server reach the broker: one set of settings, one way to make a client."""

from __future__ import annotations

from pathlib import Path
from random import Random
from typing import Annotated, Any, Literal

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.exception import MalformedPacket
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties, VariableByteIntegers
from pydantic import BaseModel, ConfigDict, Field, SecretStr, model_validator

from driftprint.tls import client_context

_FOR_EVER = 0xFFFFFFFF
"""Of a session: it does not expire (3.1.2.11.2)."""


class MqttSettings(BaseModel):
    """The table ``[mqtt]`` of agent.toml and server.toml."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    host: str = "localhost"
    port: Annotated[int, Field(ge=1, le=65535)] = 1883
    username: str | None = None
    password: SecretStr | None = None
    ca_file: Path | None = None
    """Certificate authority of the broker; setting it turns TLS on."""
    cert_file: Path | None = None
    """This client's certificate, for brokers that ask for one."""
    key_file: Path | None = None
    keepalive_seconds: Annotated[int, Field(ge=5, le=3600)] = 30
    """A peer that is silent for one and a half times this is taken for dead by the broker."""
    version: Literal["3.1.1", "5"] = "3.1.1"
    """Of MQTT."""
    transport: Literal["tcp", "websockets"] = "tcp"
    """Websockets pass where only web traffic may."""
    websocket_path: Annotated[str, Field(pattern="^/")] = "/mqtt"

    @model_validator(mode="after")
    def _consistent(self) -> MqttSettings:
        if self.password is not None and self.username is None:
            raise ValueError("password needs username")
        if (self.cert_file is None) != (self.key_file is None):
            raise ValueError("cert_file and key_file go together")
        if self.cert_file is not None and self.ca_file is None:
            raise ValueError("cert_file needs ca_file")
        return self


class Client(paho.Client):
    """paho's client, which takes in whatever message a broker may pass on.

    By MQTT 5 a message has properties, which its publisher chooses. Of those that brokers pass on, paho calls some
    malformed (U+FEFF, which 1.5.4 of the specification allows, and payload format indicators beyond 1), and it takes
    seconds to read as many as there is room for. It then hangs up before it has acknowledged, and at each new
    connection a session that is kept has the same message again. Nothing of ours reads them, so they are taken out.
    """

    def _handle_publish(self) -> MQTTErrorCode:
        if self._protocol == MQTTProtocolVersion.MQTTv5:
            _drop_properties(self._in_packet["packet"], qos=self._in_packet["command"] >> 1 & 3)
        return super()._handle_publish()


def make_client(
    settings: MqttSettings, client_id: str, *, clean_session: bool, random: Random | None = None
) -> paho.Client:
    """A client, not yet connected. Call `start` on it once its callbacks are set.

    Args:
        settings: where the broker is and how to log in.
        client_id: must be stable where the broker keeps a session.
        clean_session: False asks the broker to keep subscriptions and queued messages while away. With MQTT 5 that is
            asked when connecting (3.1.2.11.2 of its specification); so say it to `start` as well.
        random: scatters the attempts at a broker that is away, lest a whole fleet comes back in one moment.

    Raises:
        ConfigError: where a certificate file cannot be read.
    """
    client = Client(
        CallbackAPIVersion.VERSION2,
        client_id=client_id,
        clean_session=clean_session if settings.version == "3.1.1" else None,
        protocol=MQTTProtocolVersion.MQTTv311 if settings.version == "3.1.1" else MQTTProtocolVersion.MQTTv5,
        transport=settings.transport,
    )
    if settings.transport == "websockets":
        client.ws_set_options(path=settings.websocket_path)
    random = random or Random()
    client.reconnect_delay_set(min_delay=random.randint(1, 3), max_delay=random.randint(20, 40))
    if settings.username is not None:
        password = settings.password.get_secret_value() if settings.password else None
        client.username_pw_set(settings.username, password)
    if settings.ca_file is not None:
        client.tls_set_context(
            client_context(settings.ca_file, settings.cert_file, settings.key_file, where="mqtt.ca_file")
        )
    return client


def start(client: paho.Client, settings: MqttSettings, *, clean_session: bool = True) -> None:
    """Connect in the background and stay connected: a broker that is away is tried again for ever."""
    prepare(client, settings, clean_session=clean_session)
    client.loop_start()


def prepare(client: paho.Client, settings: MqttSettings, *, clean_session: bool = True) -> None:
    """Tell a client where to connect to, for whoever runs its network traffic."""
    client.connect_async(settings.host, settings.port, settings.keepalive_seconds, **_session(settings, clean_session))


def _session(settings: MqttSettings, clean: bool) -> dict[str, Any]:
    """What a connection by MQTT 5 says of the session; by 3.1.1 the client has been told."""
    if settings.version == "3.1.1":
        return {}
    properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
    properties.SessionExpiryInterval = 0 if clean else _FOR_EVER
    return {"clean_start": clean, "properties": properties}


def _drop_properties(publish: bytearray, *, qos: int) -> None:
    """Leave a PUBLISH without properties (3.3.2, 3.3.3): topic, packet identifier from QoS 1 on, properties, payload.

    Raises:
        MalformedPacket: where it is shorter than it says.
    """
    start = 2 + int.from_bytes(publish[:2], "big") + (2 if qos else 0)
    length, size = VariableByteIntegers.decode(publish[start : start + 4])  # type: ignore[no-untyped-call]
    end = start + size + length
    if end > len(publish):
        raise MalformedPacket("properties beyond the packet's end")
    publish[start:end] = b"\0"
