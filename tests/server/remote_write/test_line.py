"""A real agent over replicas into a real database."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import paho.mqtt.client as paho
import pytest

from driftprint.messages import WindowMessage, decode
from driftprint.mqtt import MqttSettings, make_client, start
from driftprint.topics import PREFIX
from driftprint_demo.scenes import make_scenes, write_frames
from tests.brokers import Mosquitto, wait_for
from tests.line.agents import AgentProcess
from tests.server.remote_write.databases import VictoriaMetrics
from tests.server.remote_write.replicas import StartReplica


@pytest.fixture
def agent(mosquitto: Mosquitto, tmp_path: Path) -> Iterator[AgentProcess]:
    """An agent over the broker that looks at digits; not started yet."""
    frames = tmp_path / "frames"
    frames.mkdir()
    write_frames(make_scenes(np.random.default_rng(0))[0].frames[:300], frames)
    process = AgentProcess(tmp_path, mosquitto.port, device="pi-1", frames=frames)
    yield process
    process.kill()


class Listener:
    """Hears what agents say of their streams, over and over until they are answered."""

    def __init__(self, broker: Mosquitto) -> None:
        self.windows: dict[int, WindowMessage] = {}
        """By number."""
        settings = MqttSettings(host=broker.host, port=broker.port)
        self._client = make_client(settings, "listener", clean_session=True)
        self._client.on_connect = lambda client, *_: client.subscribe(f"{PREFIX}/+/+/+/window", qos=1)
        self._client.on_message = self._on_message
        start(self._client, settings)

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def _on_message(self, _client: object, _data: object, message: paho.MQTTMessage) -> None:
        window = decode(WindowMessage, bytes(message.payload), topic=message.topic)
        self.windows[window.seq] = window


@pytest.fixture
def listener(mosquitto: Mosquitto) -> Iterator[Listener]:
    listener = Listener(mosquitto)
    yield listener
    listener.close()


def outbox(folder: Path) -> set[int]:
    """The numbers of the messages that the agent still keeps, once it has ended."""
    with sqlite3.connect(f"file:{folder / 'agent-pi-1.db'}?mode=ro", uri=True) as db:
        return {seq for (seq,) in db.execute("SELECT seq FROM outbox")}


def test_what_an_agent_has_kept_and_what_it_says_then_is_in_the_database_at_its_time(
    start_replica: StartReplica,
    victoria_metrics: VictoriaMetrics,
    agent: AgentProcess,
    listener: Listener,
    tmp_path: Path,
) -> None:
    agent.start()
    wait_for(lambda: len(listener.windows) > 30, what=lambda: f"windows\n{agent.log}")
    kept = dict(listener.windows)
    for _ in range(2):
        start_replica([victoria_metrics.write_url])

    def waiting() -> float | None:
        return victoria_metrics.value('driftprint_outbox_messages{device="pi-1"}')

    wait_for(lambda: waiting() is not None, what=lambda: f"its health\n{agent.log}")
    wait_for(lambda: (waiting() or 0) < 10, what=lambda: f"the outbox to empty, {waiting()} in it")
    wait_for(lambda: len(listener.windows) > 2 * len(kept), what="more windows")
    assert agent.stop() == 0

    assert not kept.keys() & outbox(tmp_path)
    written = victoria_metrics.samples('driftprint_frames_total{device="pi-1"}')
    for window in kept.values():
        assert written[int(window.recorded_at * 1000)] == window.frames_total
    assert len(written) > len(kept)
    assert [written[at] for at in sorted(written)] == sorted(written.values())
