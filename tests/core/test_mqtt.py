import threading
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
import pytest
from pydantic import ValidationError

from driftprint.errors import ConfigError
from driftprint.mqtt import MqttSettings, make_client, start
from tests.brokers import Mosquitto


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
