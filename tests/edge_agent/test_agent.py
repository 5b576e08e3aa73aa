"""The agent as a process, over a real broker: frames in, alerts out."""

from __future__ import annotations

import io
import json
import signal
import sqlite3
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image

from tests.brokers import Mosquitto, free_port, wait_for
from tests.bundles import inlier_frames, make_bundle, outlier_frames
from tests.edge_agent.test_link import Server
from tests.line.agents import COMMAND


class Agent:
    """``driftprint agent`` on two streams of one folder; it keeps its store over restarts."""

    def __init__(self, folder: Path, port: int) -> None:
        make_bundle(folder / "toy-1.driftprint")
        self.folder = folder
        self._config = folder / "agent.toml"
        self._log = folder / "agent.log"
        self._port = port
        self._process: subprocess.Popen[bytes] | None = None
        np.savez(folder / "inliers.npz", x=np.stack(list(inlier_frames(200))))
        np.savez(folder / "outliers.npz", x=np.stack(list(outlier_frames(50))))

    def configure(self, *streams: tuple[str, str], repeat: bool = True) -> None:
        """Each stream's name and the file it replays."""
        sources = {
            name: f"path = '{self.folder}/{file}.npz'\nframes_per_second = 200\nrepeat = {str(repeat).lower()}"
            for name, file in streams
        }
        self.configure_sources(sources)

    def configure_sources(self, sources: Mapping[str, str]) -> None:
        """Each stream's name and what its table ``[stream.source]`` says."""
        self._config.write_text(
            f"site = 'north'\ndevice = 'pi-1'\n[mqtt]\nhost = '127.0.0.1'\nport = {self._port}\n"
            f"[store]\npath = '{self.folder}/agent.db'\n"
            + "".join(
                f"[[stream]]\nname = '{name}'\nbundle = '{self.folder}/toy-1.driftprint'\nreport_seconds = 0.2\n"
                f"frames_per_false_alarm = 10000\n[stream.source]\n{source}\n"
                for name, source in sources.items()
            )
        )

    def start(self) -> None:
        with self._log.open("ab") as log:
            self._process = subprocess.Popen([*COMMAND, "-c", str(self._config)], stdout=log, stderr=log)

    def wait(self) -> int:
        assert self._process is not None
        return self._process.wait(timeout=30)

    def stop(self) -> int:
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        return self.wait()

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    @property
    def log(self) -> list[dict[str, object]]:
        lines = self._log.read_text().splitlines() if self._log.exists() else []
        return [json.loads(line) for line in lines if line.startswith("{")]

    def outbox(self) -> list[dict[str, object]]:
        """What a dead agent has left to send."""
        database = sqlite3.connect(f"file:{self.folder}/agent.db?mode=ro", uri=True)
        rows = database.execute("SELECT payload FROM outbox ORDER BY seq").fetchall()
        database.close()
        return [json.loads(payload) for (payload,) in rows]


@pytest.fixture
def agent(tmp_path: Path, mosquitto: Mosquitto) -> Iterator[Agent]:
    agent = Agent(tmp_path, mosquitto.port)
    yield agent
    agent.kill()


@pytest.fixture
def server(mosquitto: Mosquitto) -> Iterator[Server]:
    server = Server(mosquitto)
    yield server
    server.close()


def test_every_stream_reports_for_itself(agent: Agent, server: Server) -> None:
    agent.configure(("door", "inliers"), ("belt", "outliers"))
    agent.start()
    wait_for(lambda: server.said("belt/alert"), what="the alert of the belt")
    wait_for(lambda: len(server.said("door/window")) > 3, what="windows of the door")
    assert not server.said("door/alert")
    alert = server.said("belt/alert")[0]
    assert (alert["status"], alert["stream"], alert["frames_per_false_alarm"]) == ("raised", "belt", 10000)
    assert server.said("state")[-1]["streams"] == ["door", "belt"]


def test_frames_posted_to_it_raise_an_alert_and_leave_evidence(agent: Agent, server: Server) -> None:
    port = free_port()
    agent.configure_sources({"belt": f"kind = 'http'\nport = {port}\nframes_per_second = 1000"})
    agent.start()
    wait_for(lambda: server.said("belt/window"), what="windows with no frames at all")
    for frame in outlier_frames(50):
        buffer = io.BytesIO()
        Image.fromarray(frame).save(buffer, "PNG")
        assert httpx.post(f"http://127.0.0.1:{port}/", content=buffer.getvalue()).status_code == 202
    wait_for(lambda: server.said("belt/alert"), what="the alert")
    alert = server.said("belt/alert")[0]
    assert list((agent.folder / "evidence" / "belt" / str(alert["alert_id"])).glob("*.jpg"))
    assert agent.stop() == 0


def test_a_camera_that_is_not_there_is_tried_again_and_holds_nothing_up(agent: Agent, server: Server) -> None:
    agent.configure_sources(
        {
            "gone": "kind = 'camera'\ndevice = '/dev/video-none'\nframes_per_second = 5",
            "door": f"path = '{agent.folder}/inliers.npz'\nframes_per_second = 200",
        }
    )
    agent.start()
    wait_for(lambda: lost(server) >= 2, what="a second attempt")
    assert server.said("gone/window")[-1]["frames_total"] == 0
    assert server.said("door/window")[-1]["frames_total"] > 0
    assert agent.stop() == 0


def lost(server: Server) -> int:
    windows = server.said("gone/window")
    return windows[-1]["faults_total"].get("source_lost", 0) if windows else 0


def test_an_alert_raised_while_the_broker_is_away_waits_for_it(agent: Agent, mosquitto: Mosquitto) -> None:
    mosquitto.kill()
    agent.configure(("belt", "outliers"))
    agent.start()
    wait_for(lambda: raised(agent), what="an alert in the log")
    mosquitto.start()
    server = Server(mosquitto)
    wait_for(lambda: server.said("belt/alert"), what="the alert")
    assert server.said("belt/alert")[0]["alert_id"] == raised(agent)[0]
    server.close()


def test_an_alert_outlasts_a_kill(agent: Agent, server: Server) -> None:
    agent.configure(("belt", "outliers"))
    agent.start()
    wait_for(lambda: raised(agent), what="an alert in the log")
    agent.kill()
    assert raised(agent)[0] in [message.get("alert_id") for message in agent.outbox()]
    server.heard.clear()
    agent.configure(("belt", "inliers"))
    agent.start()
    wait_for(lambda: server.said("belt/alert"), what="the alert, again")
    assert server.said("belt/alert")[0]["alert_id"] == raised(agent)[0]


def test_without_a_servers_word_nothing_is_forgotten(agent: Agent, server: Server) -> None:
    agent.configure(("belt", "outliers"))
    agent.start()
    wait_for(lambda: len(server.said("belt/window")) > 3, what="windows")
    assert agent.stop() == 0
    sent = {message["seq"] for message in (*server.said("belt/window"), *server.said("belt/alert"))}
    assert sent <= {message["seq"] for message in agent.outbox()}


def test_it_ends_with_its_last_source_and_reports_all_frames(agent: Agent, server: Server) -> None:
    agent.configure(("door", "inliers"), repeat=False)
    agent.start()
    wait_for(lambda: any(w["frames_total"] == 200 for w in server.said("door/window")), what="the last window")
    agent.stop()
    assert server.said("state")[-1]["status"] == "offline"


def raised(agent: Agent) -> list[object]:
    return [entry["alert_id"] for entry in agent.log if entry["event"] == "alert" and entry["status"] == "raised"]
