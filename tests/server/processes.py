"""The server as a process, and a device that talks to it, for tests over a real broker."""

from __future__ import annotations

import signal
import ssl
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import httpx
import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion
from prometheus_client.parser import text_string_to_metric_families as parse

from driftprint.messages import AckMessage, DeviceMessage, decode, encode
from driftprint_server.views import FleetView
from tests.brokers import DEADLINE_SECONDS, Mosquitto, free_port, wait_for
from tests.server.messages import topic_of

_DRIFTPRINT = [sys.executable, "-c", "from driftprint.cli import main; main()"]
COMMAND = [*_DRIFTPRINT, "server"]


class ServerProcess:
    """``driftprint server`` over a broker. It keeps its settings and store over restarts.

    Args:
        folder: for both; a second server in the same one goes on with the store.
        broker_port: where the broker listens.
        stale_after_seconds: as in ``[fleet]``.
        login: whether one must log in.
        settings: further lines of server.toml, by table.
        trust: by what clients know the server's certificate; without it HTTP is spoken.
    """

    def __init__(
        self,
        folder: Path,
        broker_port: int,
        *,
        stale_after_seconds: float = 60,
        login: bool = False,
        settings: Mapping[str, str] | None = None,
        trust: ssl.SSLContext | None = None,
    ) -> None:
        self.store = folder / "server.db"
        self._log = folder / "server.log"
        self._config = folder / "server.toml"
        http_port = free_port()
        self.url = f"{'https' if trust else 'http'}://127.0.0.1:{http_port}"
        self._verify = trust or True
        self._clients: list[httpx.Client] = []
        tables = {
            "mqtt": f"host = '127.0.0.1'\nport = {broker_port}",
            "http": f"port = {http_port}",
            "store": f"path = '{self.store}'",
            "fleet": f"stale_after_seconds = {stale_after_seconds}",
            "access": f"login = {str(login).lower()}",
        }
        for table, lines in (settings or {}).items():
            tables[table] = f"{tables.get(table, '')}\n{lines}"
        self._config.write_text("".join(f"[{table}]\n{lines}\n" for table, lines in tables.items()))
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def log(self) -> str:
        return self._log.read_text() if self._log.exists() else ""

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self, *, healthy: bool = True) -> None:
        with self._log.open("ab") as log:
            self._process = subprocess.Popen([*COMMAND, "--config", str(self._config)], stdout=log, stderr=log)
        if healthy:
            wait_for(lambda: self.health()[0] == 200, what=lambda: f"a healthy server\n{self.log}")

    def kill(self) -> None:
        """SIGKILL."""
        while self._clients:
            self._clients.pop().close()
        if self._process is not None:
            self._process.kill()
            self._process.wait(timeout=DEADLINE_SECONDS)

    def stop(self) -> int:
        """SIGTERM; returns the exit code."""
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        return self._process.wait(timeout=DEADLINE_SECONDS)

    def get(self, path: str) -> httpx.Response:
        return httpx.get(self.url + path, timeout=30, verify=self._verify)

    def client(self, name: str | None = None, password: str = "", *, token: str | None = None) -> httpx.Client:
        """Somebody who has logged in, or has a token, or is nobody in particular; good until the server is killed."""
        client = httpx.Client(base_url=self.url, timeout=30, verify=self._verify)
        self._clients.append(client)
        if token is not None:
            client.headers["Authorization"] = f"Bearer {token}"
        if name is not None:
            answer = client.post("/api/session", json={"name": name, "password": password})
            assert answer.is_success, answer.text
            client.headers["X-CSRF-Token"] = answer.json()["csrf"]
        return client

    def users(self, *arguments: str) -> str:
        """``driftprint users`` beside the running server; the password or token that it prints."""
        command = [*_DRIFTPRINT, "users", *arguments, "--config", str(self._config)]
        said = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30).stdout
        return said.strip().rpartition(" ")[2]

    def health(self) -> tuple[int, list[str]]:
        """The status of /healthz and its problems; 0 where nobody answers."""
        assert self.running, self.log
        try:
            answer = self.get("/healthz")
        except httpx.TransportError:
            return 0, []
        return answer.status_code, answer.json()["problems"]

    def fleet(self) -> FleetView:
        return FleetView.model_validate(self.get("/api/fleet").json())

    def metric(self, sample: str) -> float:
        """The value of a sample given as it is exposed, in whatever order of labels; -1 where it is not there."""
        (wanted,) = (sample for family in parse(f"{sample} 0\n") for sample in family.samples)
        for family in parse(self.get("/metrics").text):
            for found in family.samples:
                if (found.name, found.labels) == (wanted.name, wanted.labels):
                    return float(found.value)
        return -1


class DeviceClient:
    """A device's connection, and the acknowledgements it has received."""

    def __init__(self, broker: Mosquitto, *, site: str = "north", device: str = "pi-1") -> None:
        self.acks: list[AckMessage] = []
        self._client = paho.Client(CallbackAPIVersion.VERSION2, client_id=f"{site}-{device}")
        self._client.on_message = self._on_message
        self._subscribed = False
        self._client.on_subscribe = self._on_subscribe
        self._client.connect(broker.host, broker.port)
        self._client.loop_start()
        self._client.subscribe(f"driftprint/v1/{site}/{device}/ack", qos=1)
        wait_for(lambda: self._subscribed, what="the subscription")

    @property
    def acked(self) -> list[int]:
        return [seq for ack in self.acks for seq in ack.seqs]

    def send(self, *messages: DeviceMessage, retain: bool = False) -> None:
        for message in messages:
            self.publish(topic_of(message), encode(message), retain=retain)

    def publish(self, topic: str, payload: bytes, *, retain: bool = False) -> None:
        """Publish at QoS 1, and wait until the broker has it."""
        self._client.publish(topic, payload, qos=1, retain=retain).wait_for_publish(10)

    def wait_for_acks(self, seqs: Sequence[int]) -> None:
        wait_for(lambda: set(seqs) <= set(self.acked), what=lambda: f"acks of {seqs}, got {self.acked}")

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def _on_message(self, _client: object, _data: object, message: paho.MQTTMessage) -> None:
        self.acks.append(decode(AckMessage, bytes(message.payload), topic=message.topic))

    def _on_subscribe(self, *_: object) -> None:
        self._subscribed = True
