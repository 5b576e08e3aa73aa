"""The server as a process, and a device that talks to it, for tests over a real broker."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import httpx
import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

from driftprint.messages import AckMessage, DeviceMessage, decode, encode
from driftprint_server.views import FleetView
from tests.brokers import Mosquitto, free_port, wait_for
from tests.server.messages import topic_of

COMMAND = [sys.executable, "-c", "from driftprint.cli import main; main()", "server"]
_END_SECONDS = 10.0


class ServerProcess:
    """``driftprint server`` over a broker. It keeps its settings and store over restarts."""

    def __init__(self, folder: Path, broker_port: int, *, stale_after_seconds: float = 60) -> None:
        self.store = folder / "server.db"
        self._log = folder / "server.log"
        self._config = folder / "server.toml"
        http_port = free_port()
        self.url = f"http://127.0.0.1:{http_port}"
        self._config.write_text(
            f"[mqtt]\nhost = '127.0.0.1'\nport = {broker_port}\n"
            f"[http]\nport = {http_port}\n"
            f"[store]\npath = '{self.store}'\n"
            f"[fleet]\nstale_after_seconds = {stale_after_seconds}\n"
        )
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
            wait_for(lambda: self.health()[0] == 200, what=lambda: f"a healthy server\n{self.log}", seconds=20)

    def kill(self) -> None:
        """SIGKILL."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(timeout=_END_SECONDS)

    def stop(self) -> int:
        """SIGTERM; returns the exit code."""
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        return self._process.wait(timeout=_END_SECONDS)

    def get(self, path: str) -> httpx.Response:
        return httpx.get(self.url + path, timeout=5)

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
        """The value of a sample given as it is exposed; -1 where it is not there."""
        for line in self.get("/metrics").text.splitlines():
            name, _, value = line.rpartition(" ")
            if name == sample:
                return float(value)
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
