import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
import pytest
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from pydantic import ValidationError

from driftprint.errors import ConfigError
from driftprint.mqtt import MqttSettings, make_client, start
from tests.brokers import Mosquitto, find_mosquitto, free_port, wait_for


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"port": 0}, "port"),
        ({"port": 65536}, "port"),
        ({"keepalive_seconds": 1}, "keepalive_seconds"),
        ({"password": "x"}, "password needs username"),
        ({"ca_file": "ca", "cert_file": "c"}, "go together"),
        ({"ca_file": "ca", "key_file": "k"}, "go together"),
        ({"cert_file": "c", "key_file": "k"}, "cert_file needs ca_file"),
        ({"version": "4"}, "version"),
        ({"transport": "pigeon"}, "transport"),
        ({"websocket_path": "mqtt"}, "websocket_path"),
        ({"hots": "broker"}, "hots"),
    ],
)
def test_senseless_settings_are_refused(settings: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValidationError, match=complaint):
        MqttSettings.model_validate(settings)


def test_the_password_is_not_shown() -> None:
    assert "secret" not in repr(MqttSettings.model_validate({"username": "pi", "password": "secret"}))


@pytest.mark.parametrize("content", [None, "no certificate"], ids=["missing", "junk"])
def test_an_unreadable_certificate_is_refused(tmp_path: Path, content: str | None) -> None:
    ca_file = tmp_path / "ca.pem"
    if content is not None:
        ca_file.write_text(content)

    with pytest.raises(ConfigError, match=r"mqtt\.ca_file: cannot load"):
        make_client(MqttSettings(ca_file=ca_file), "pi-7", clean_session=True)


def test_a_client_connects_to_a_broker_that_comes_up_later(mosquitto: Mosquitto) -> None:
    mosquitto.stop()
    client = make_client(MqttSettings(host=mosquitto.host, port=mosquitto.port), "pi-7", clean_session=True)
    failed, connected = threading.Event(), threading.Event()
    client.on_connect_fail = lambda *_: failed.set()

    def on_connect(_client: paho.Client, _data: object, _flags: object, reason: Any, _properties: object) -> None:
        if not reason.is_failure:
            connected.set()

    client.on_connect = on_connect
    start(client, MqttSettings(host=mosquitto.host, port=mosquitto.port))
    try:
        assert failed.wait(10)
        mosquitto.start()
        assert connected.wait(10)
    finally:
        client.disconnect()
        client.loop_stop()


@pytest.fixture(params=[("3.1.1", "tcp"), ("5", "tcp"), ("3.1.1", "websockets"), ("5", "websockets")], ids=" by ".join)
def settings(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[MqttSettings]:
    """Of a broker that speaks all of them."""
    version, transport = request.param
    web = free_port()
    broker = Mosquitto(find_mosquitto(), tmp_path, settings=[f"listener {web} 127.0.0.1", "protocol websockets"])
    broker.start()
    port = web if transport == "websockets" else broker.port
    yield MqttSettings(host=broker.host, port=port, version=version, transport=transport)
    broker.stop()


class Peer:
    """A client that remembers what it hears."""

    def __init__(self, settings: MqttSettings, name: str, *, clean_session: bool) -> None:
        self.heard: list[bytes] = []
        self.losses = 0
        self._subscribed = threading.Event()
        self._client = make_client(settings, name, clean_session=clean_session)
        self._client.on_connect = lambda client, *_: client.subscribe("frames", qos=1)
        self._client.on_subscribe = lambda *_: self._subscribed.set()
        self._client.on_message = lambda _client, _data, message: self.heard.append(bytes(message.payload))
        self._client.on_disconnect = self._on_disconnect
        start(self._client, settings, clean_session=clean_session)
        assert self._subscribed.wait(10)

    def say(self, payload: bytes, properties: Properties | None = None, *, qos: int = 1) -> None:
        self._client.publish("frames", payload, qos=qos, properties=properties).wait_for_publish(10)

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def _on_disconnect(self, *_: object) -> None:
        self.losses += 1


def test_messages_pass_by_every_version_and_transport(settings: MqttSettings) -> None:
    ann, bob = (Peer(settings, name, clean_session=True) for name in ("ann", "bob"))
    ann.say(b"hello")
    wait_for(lambda: bob.heard == [b"hello"], what="the message")
    ann.close()
    bob.close()


def test_a_session_that_is_kept_has_what_was_said_meanwhile_and_a_clean_one_has_not(settings: MqttSettings) -> None:
    kept, clean, other = (
        Peer(settings, "kept", clean_session=False),
        Peer(settings, "clean", clean_session=True),
        Peer(settings, "other", clean_session=True),
    )
    kept.close()
    clean.close()
    other.say(b"meanwhile")
    kept, clean = Peer(settings, "kept", clean_session=False), Peer(settings, "clean", clean_session=True)
    other.say(b"now")
    wait_for(lambda: kept.heard == [b"meanwhile", b"now"], what="both messages")
    wait_for(lambda: clean.heard == [b"now"], what="the second message alone")
    for peer in (kept, clean, other):
        peer.close()


BYTE_ORDER_MARK = "\ufeff"


@pytest.mark.parametrize(
    "properties",
    [
        {"UserProperty": [("name", BYTE_ORDER_MARK)]},
        {"UserProperty": [(BYTE_ORDER_MARK, "value")]},
        {"ContentType": BYTE_ORDER_MARK},
        {"ResponseTopic": f"a/{BYTE_ORDER_MARK}"},
        {"PayloadFormatIndicator": 2},  # which the specification does not allow, and mosquitto does
        {"UserProperty": [("\u202e", "\U0001f600")] * 100, "CorrelationData": bytes(300), "MessageExpiryInterval": 100},
    ],
    ids=["value", "name", "content type", "response topic", "format", "many"],
)
@pytest.mark.parametrize("qos", [0, 1])
def test_whatever_properties_a_message_has_it_is_taken_in_and_the_connection_is_kept(
    mosquitto: Mosquitto, properties: dict[str, Any], qos: int
) -> None:
    settings = MqttSettings(host=mosquitto.host, port=mosquitto.port, version="5")
    odd = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
    vars(odd).update(properties)  # past the checks of one's own client
    listener = Peer(settings, "listener", clean_session=False)
    talker = Peer(settings, "talker", clean_session=True)
    talker.say(b"odd", odd, qos=qos)
    talker.say(b"", odd, qos=qos)
    talker.say(b"next", qos=qos)
    wait_for(lambda: listener.heard == [b"odd", b"", b"next"], what=lambda: f"all, got {listener.heard}", seconds=20)
    assert listener.losses == 0
    for peer in (listener, talker):
        peer.close()
