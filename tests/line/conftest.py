"""The whole line for tests: frames, agents, a broker, the server, Prometheus."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from driftprint_demo.scenes import make_scenes, write_frames
from tests.brokers import Mosquitto
from tests.line.agents import AgentProcess
from tests.line.prometheus import Prometheus
from tests.server.processes import ServerProcess


@pytest.fixture(scope="session")
def inliers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of digits that the bundle has not seen."""
    folder = tmp_path_factory.mktemp("inliers")
    clean = make_scenes(np.random.default_rng(0))[0]
    write_frames(clean.frames, folder)
    return folder


@pytest.fixture(scope="session")
def outliers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of digits out of focus."""
    folder = tmp_path_factory.mktemp("outliers")
    defocused = make_scenes(np.random.default_rng(0))[2]
    assert defocused.change_at is not None
    write_frames(defocused.frames[defocused.change_at + 200 : defocused.change_at + 700], folder)
    return folder


@pytest.fixture
def server(mosquitto: Mosquitto, tmp_path: Path) -> Iterator[ServerProcess]:
    """A server over the broker; not started yet."""
    process = ServerProcess(tmp_path, mosquitto.port)
    yield process
    process.kill()


@pytest.fixture
def prometheus(server: ServerProcess, tmp_path: Path) -> Iterator[Prometheus]:
    """A running Prometheus that scrapes the server."""
    process = Prometheus(tmp_path / "prometheus", server.url.removeprefix("http://"))
    process.start()
    yield process
    process.kill()


@pytest.fixture
def make_agent(mosquitto: Mosquitto, tmp_path: Path) -> Iterator[Callable[[str, Path], AgentProcess]]:
    """Makes agents over the broker, not started yet, and ends them after the test."""
    agents: list[AgentProcess] = []

    def make(device: str, frames: Path) -> AgentProcess:
        agents.append(AgentProcess(tmp_path, mosquitto.port, device=device, frames=frames))
        return agents[-1]

    yield make
    for agent in agents:
        agent.kill()
