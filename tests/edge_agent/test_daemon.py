"""The agent under its systemd unit, with a stand-in for systemd at the other end of the notify socket."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from configparser import RawConfigParser
from pathlib import Path

import pytest

from driftprint_edge.agent import STOP_SECONDS
from tests.brokers import Mosquitto, wait_for
from tests.bundles import make_bundle
from tests.edge_agent.rtsp_server import serve_rtsp
from tests.edge_agent.test_agent import Agent
from tests.edge_agent.test_link import Server

UNIT = Path(__file__).parents[2] / "deploy/systemd/driftprint-agent.service"
MOST_EXPOSURE = 2.0


def unit() -> dict[str, str]:
    """Its section [Service]; of settings that are given twice the last."""
    parser = RawConfigParser(strict=False)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read(UNIT)
    return dict(parser["Service"])


class Supervised:
    """The agent, started as the unit says, by a supervisor that listens.

    Args:
        agent: has its settings.
        watchdog_seconds: how often the supervisor wants to be told.
    """

    def __init__(self, agent: Agent, *, watchdog_seconds: float) -> None:
        self.words: list[str] = []
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        address = agent.folder / "notify"
        address.unlink(missing_ok=True)
        self._socket.bind(str(address))
        self._socket.setblocking(False)
        program, *arguments = shlex.split(unit()["ExecStart"])
        assert program.endswith("/driftprint")
        command = [sys.executable, "-m", "driftprint", *arguments]
        command[command.index("--config") + 1] = str(agent.folder / "agent.toml")
        environment = os.environ | {"NOTIFY_SOCKET": str(address), "WATCHDOG_USEC": str(int(watchdog_seconds * 1e6))}
        self._log = agent.folder / "agent.log"
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)

    @property
    def log(self) -> str:
        return self._log.read_text()

    def hear(self) -> list[str]:
        """All that it has been told so far."""
        while True:
            try:
                self.words += self._socket.recv(4096).decode().splitlines()
            except BlockingIOError:
                return self.words

    def wait_for_word(self, word: str, *, after: int = 0) -> None:
        wait_for(lambda: word in self.hear()[after:], what=lambda: f"{word} in {self.words}\n{self.log}")

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        self._socket.close()


@pytest.fixture
def agent(tmp_path: Path, mosquitto: Mosquitto) -> Agent:
    return Agent(tmp_path, mosquitto.port)


@pytest.fixture
def server(mosquitto: Mosquitto) -> Iterator[Server]:
    server = Server(mosquitto)
    yield server
    server.close()


@pytest.fixture
def supervised(agent: Agent) -> Iterator[Supervised]:
    """Watching inliers."""
    agent.configure(("belt", "inliers"))
    supervised = Supervised(agent, watchdog_seconds=1)
    yield supervised
    supervised.close()


def test_the_unit_exposes_little() -> None:
    analyse = shutil.which("systemd-analyze")
    if analyse is None:
        missing = "systemd-analyze is not installed (Debian: apt-get install systemd)"
        if os.environ.get("CI") == "true":
            pytest.fail(missing)
        pytest.skip(missing)
    command = [analyse, "security", "--offline=yes", f"--threshold={10 * MOST_EXPOSURE:.0f}", str(UNIT)]
    told = subprocess.run(command, capture_output=True, text=True, check=False)
    assert told.returncode == 0, told.stdout
    checked = subprocess.run([analyse, "verify", str(UNIT)], capture_output=True, text=True, check=False)
    complaints = [line for line in checked.stderr.splitlines() if "is not executable" not in line]
    assert complaints == []


def test_the_unit_lets_the_agent_stop_before_it_kills_it() -> None:
    assert float(unit()["TimeoutStopSec"]) > STOP_SECONDS + 4
    assert unit()["Type"] == "notify"
    assert unit()["Restart"] == "always"


def test_it_says_when_it_is_ready_feeds_the_watchdog_and_stops_in_time(supervised: Supervised) -> None:
    supervised.wait_for_word("READY=1")
    supervised.wait_for_word("WATCHDOG=1")
    told = len(supervised.hear())
    supervised.wait_for_word("WATCHDOG=1", after=told)
    supervised.process.send_signal(signal.SIGTERM)
    assert supervised.process.wait(timeout=60) == 0
    assert "STOPPING=1" in supervised.hear()


def test_all_that_was_counted_is_on_the_disk_after_a_stop(supervised: Supervised, agent: Agent, server: Server) -> None:
    wait_for(lambda: len(server.said("belt/window")) > 2, what="windows")
    supervised.process.send_signal(signal.SIGTERM)
    supervised.process.wait(timeout=60)
    wait_for(lambda: server.said("state")[-1]["status"] == "offline", what="the goodbye")
    kept = [message for message in agent.outbox() if "frames_total" in message]
    said = max(window["frames_total"] for window in server.said("belt/window"))
    assert int(str(kept[-1]["frames_total"])) >= said


def test_the_watchdog_starves_when_frames_stop_and_is_fed_again_when_they_come(agent: Agent) -> None:
    with serve_rtsp() as (url, camera):
        agent.configure_sources({"belt": f"kind = 'rtsp'\nurl = '{url}'\nframes_per_second = 30"})
        config = agent.folder / "agent.toml"
        config.write_text("stall_seconds = 2\n" + config.read_text())
        supervised = Supervised(agent, watchdog_seconds=1)
        try:
            supervised.wait_for_word("WATCHDOG=1")
            camera.kill()
            supervised.wait_for_word("STATUS=standing still: frames")
            starving = len(supervised.hear())
            supervised.wait_for_word("STATUS=standing still: frames", after=starving)
            assert "WATCHDOG=1" not in supervised.hear()[starving:]
        finally:
            supervised.close()


def test_another_bundle_is_taken_over_at_a_reload(supervised: Supervised, agent: Agent, server: Server) -> None:
    wait_for(lambda: server.said("belt/window"), what="a window")
    make_bundle(agent.folder / "toy-2.driftprint", version=2)
    config = agent.folder / "agent.toml"
    config.write_text(config.read_text().replace("toy-1.driftprint", "toy-2.driftprint"))
    told = len(supervised.hear())
    supervised.process.send_signal(signal.SIGHUP)
    supervised.wait_for_word("RELOADING=1", after=told)
    supervised.wait_for_word("READY=1", after=told)
    wait_for(
        lambda: server.said("belt/window")[-1]["bundle"]["version"] == 2, what=lambda: f"the bundle\n{supervised.log}"
    )
    totals = [window["frames_total"] for window in server.said("belt/window")]
    assert totals == sorted(totals), "they go on"


def test_a_reload_of_broken_settings_or_bundles_changes_nothing(
    supervised: Supervised, agent: Agent, server: Server
) -> None:
    supervised.wait_for_word("READY=1")
    config = agent.folder / "agent.toml"
    whole = config.read_text()
    for broken, word in (("device = [", "settings not reloaded"), (whole.replace("toy-1.", "none-1."), "not swapped")):
        config.write_text(broken)
        supervised.process.send_signal(signal.SIGHUP)
        wait_for(lambda word=word: word in supervised.log, what=lambda: f"a complaint\n{supervised.log}")  # type: ignore[misc]
    wait_for(lambda: server.said("belt/window"), what="a window")
    seen = server.said("belt/window")[-1]["frames_total"]
    wait_for(lambda: server.said("belt/window")[-1]["frames_total"] > seen, what="further frames")
    assert {window["bundle"]["version"] for window in server.said("belt/window")} == {1}
