"""Connections to a broker that tell what it lets them do."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from driftprint.mqtt import MqttSettings, make_client
from driftprint_server.certificates.authority import Files
from tests.brokers import Mosquitto, wait_for

SAYING = b"spoofed or not"


@dataclass
class Heard:
    topic: str
    payload: bytes
    retained: bool


@dataclass
class Peer:
    """A connection as agent and server make it.

    Attributes:
        broker: where to.
        files: a certificate and its key; without any it speaks no TLS, unless it has a `ca`.
        ca: whom it trusts; by default what lies beside its own certificate.
        client_id: what it calls itself.
        username: likewise.
        password: of that user.
        will: a topic that it leaves a last will for.
    """

    broker: Mosquitto
    files: Files | None
    ca: Path | None = None
    client_id: str = "somebody"
    username: str | None = None
    password: str | None = None
    will: str | None = None
    host: str = Mosquitto.host
    heard: list[Heard] = field(default_factory=list)

    def __post_init__(self) -> None:
        settings = MqttSettings(
            host=self.host,
            port=self.broker.port,
            username=self.username,
            password=self.password,
            ca_file=self.ca or (self.files.ca if self.files else None),
            cert_file=self.files.certificate if self.files else None,
            key_file=self.files.key if self.files else None,
            version="5",
        )
        self.client = make_client(settings, self.client_id, clean_session=True)
        self.connections: list[bool] = []
        self.losses = 0
        self._answers: dict[int, bool] = {}
        self._gone = threading.Event()
        self.client.on_connect = lambda _c, _d, _f, reason, _p: self.connections.append(not reason.is_failure)
        self.client.on_disconnect = self._on_disconnect
        self.client.on_message = lambda _c, _d, message: self.heard.append(
            Heard(message.topic, bytes(message.payload), message.retain)
        )
        self.client.on_publish = lambda _c, _d, mid, reason, _p: self._answers.__setitem__(mid, not reason.is_failure)
        self.client.on_subscribe = lambda _c, _d, mid, reasons, _p: self._answers.__setitem__(
            mid, not any(reason.is_failure for reason in reasons)
        )
        if self.will is not None:
            self.client.will_set(self.will, SAYING, qos=1, retain=True)

    def gets_in(self) -> bool:
        """Whether the broker accepts the connection.

        Raises:
            ssl.SSLCertVerificationError: where the broker is not accepted.
        """
        self.client.connect(self.host, self.broker.port)
        self.client.loop_start()
        wait_for(lambda: self.connections or self._gone.is_set(), what="an answer of the broker")
        return bool(self.connections and self.connections[0])

    def say(self, topic: str, payload: bytes = SAYING, *, retain: bool = False) -> bool:
        """Publish, and wait until the broker has taken or refused it; whether it has taken it."""
        return self._answer(self.client.publish(topic, payload, qos=1, retain=retain).mid)

    def listen(self, *topics: str) -> bool:
        """Subscribe, and wait until the broker has answered; whether it grants all."""
        granted = True
        for topic in topics:
            mid = self.client.subscribe(topic, qos=1)[1]
            assert mid is not None
            granted &= self._answer(mid)
        return granted

    def topics(self) -> set[str]:
        """On which it has heard something."""
        return {heard.topic for heard in list(self.heard)}

    def live(self) -> list[tuple[str, bytes]]:
        """What it has heard that was said since it listens: the broker also tells what others have left behind."""
        return [(heard.topic, heard.payload) for heard in list(self.heard) if not heard.retained]

    def vanish(self) -> None:
        """Break off, so that the broker publishes the last will."""
        sock = self.client.socket()
        assert sock is not None
        self.client.loop_stop()
        sock.close()

    def close(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()

    def _answer(self, mid: int) -> bool:
        wait_for(lambda: mid in self._answers, what="the broker's answer")
        return self._answers[mid]

    def _on_disconnect(self, *_: Any) -> None:
        self.losses += 1
        self._gone.set()
