"""Replicas as processes, and devices that send again until they are acknowledged."""

from __future__ import annotations

import signal
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import httpx
import paho.mqtt.client as paho

from driftprint.messages import AckMessage, WindowMessage, decode, encode
from driftprint.mqtt import MqttSettings, make_client, start
from driftprint.topics import PREFIX
from tests.brokers import DEADLINE_SECONDS, Mosquitto, free_port, wait_for
from tests.server.messages import topic_of

_IMPATIENT = "give_up_after_seconds = 1\ntimeout_seconds = 5\n"
_RESEND_SECONDS = 2.0
_MOST_ON_THEIR_WAY = 200


class ReplicaProcess:
    """A replica over a broker.

    Args:
        folder: for its configuration and log; made here.
        broker: where it hears devices.
        write_urls: where it writes.
        settings: further lines of its file, by table.
        trust: by what clients know its certificate; without it HTTP is spoken.
    """

    def __init__(
        self,
        folder: Path,
        broker: Mosquitto,
        write_urls: Sequence[str],
        *,
        settings: Mapping[str, str] | None = None,
        trust: ssl.SSLContext | None = None,
    ) -> None:
        folder.mkdir()
        self._log = folder / "log"
        self._config = folder / "replica.toml"
        port = free_port()
        url = f"{'https' if trust else 'http'}://127.0.0.1:{port}"
        self._http = httpx.Client(base_url=url, verify=trust or True, timeout=30)
        tables = {
            "mqtt": f"share = 'replicas'\nhost = '{broker.host}'\nport = {broker.port}",
            "http": f"port = {port}",
        }
        for table, lines in (settings or {}).items():
            tables[table] = f"{tables.get(table, '')}\n{lines}"
        self._config.write_text(
            "".join(f"[{table}]\n{lines}\n" for table, lines in tables.items())
            + "".join(f"[[remote_write]]\nurl = '{url}'\n{_IMPATIENT}" for url in write_urls)
        )
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def log(self) -> str:
        return self._log.read_text() if self._log.exists() else ""

    def start(self) -> None:
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "driftprint", "server", "--config", str(self._config)],
                stdout=log,
                stderr=log,
            )
        wait_for(lambda: self.problems() == [], what=lambda: f"a healthy replica\n{self.log}")

    def kill(self) -> None:
        """SIGKILL."""
        self._http.close()
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def stop(self) -> int:
        """SIGTERM; returns the exit code."""
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        return self._process.wait(timeout=DEADLINE_SECONDS)

    def problems(self) -> list[str] | None:
        """What /healthz says; None where nobody answers."""
        assert self._process is not None
        assert self._process.poll() is None, self.log
        try:
            found: list[str] = self._http.get("/healthz").json()["problems"]
        except httpx.TransportError:
            return None
        return found

    def metric(self, name: str) -> float:
        """The value of a sample as it is exposed, or the sum of a family's."""
        lines = self._http.get("/metrics").text.splitlines()
        return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith((f"{name} ", f"{name}{{")))


StartReplica = Callable[..., ReplicaProcess]
"""What `start_replica` gives: takes addresses, and options of `ReplicaProcess`."""


class Devices:
    """All devices of a site, over one connection. As agents do, they send windows until these are acknowledged.

    Args:
        broker: where to.
        windows: what they have to say; a window's age is reckoned by its `recorded_at`.
    """

    def __init__(self, broker: Mosquitto, windows: Sequence[WindowMessage]) -> None:
        self._outbox = {(window.instance, window.seq): window for window in windows}
        self._lock = threading.Lock()
        self.acknowledged = 0
        settings = MqttSettings(host=broker.host, port=broker.port)
        self._client = make_client(settings, "devices", clean_session=True)
        self._client.max_inflight_messages_set(_MOST_ON_THEIR_WAY)
        subscribed = threading.Event()
        self._client.on_connect = lambda client, *_: client.subscribe(f"{PREFIX}/+/+/ack", qos=1)
        self._client.on_subscribe = lambda *_: subscribed.set()
        self._client.on_message = self._on_ack
        start(self._client, settings)
        assert subscribed.wait(DEADLINE_SECONDS)
        self._sent: dict[tuple[str, int], float] = {}

    def send(self) -> bool:
        """Send what is due; whether all is acknowledged."""
        now = time.monotonic()
        with self._lock:
            waiting = list(self._outbox.items())[:_MOST_ON_THEIR_WAY]
        for key, window in waiting:
            if now - self._sent.get(key, 0.0) > _RESEND_SECONDS:
                self._sent[key] = now
                aged = window.model_copy(update={"age_seconds": max(time.time() - window.recorded_at, 0.0)})
                self._client.publish(topic_of(window), encode(aged), qos=1)
        return not waiting

    def publish(self, topic: str, payload: bytes) -> None:
        self._client.publish(topic, payload, qos=1)

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def _on_ack(self, _client: paho.Client, _data: object, message: paho.MQTTMessage) -> None:
        ack = decode(AckMessage, bytes(message.payload), topic=message.topic)
        with self._lock:
            for seq in ack.seqs:
                self.acknowledged += self._outbox.pop((ack.instance, seq), None) is not None
