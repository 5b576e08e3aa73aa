"""Bundles rolled out by a real server to real agents over a real broker: a good one all the way, a bad one no further
than its first stage, and one that nobody trusts not at all.
"""

from __future__ import annotations

import ssl
import subprocess
from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from driftprint.keys import make_key, public_file
from driftprint.signing import sign
from driftprint_server.certificates.authority import found
from driftprint_server.certificates.holder import Kind, holder_of
from tests.brokers import Mosquitto, free_port, wait_for
from tests.bundles import make_bundle, make_frame
from tests.line.agents import COMMAND
from tests.server.processes import ServerProcess

DEVICES = tuple(f"pi-{number}" for number in range(10))


class Agent:
    """``driftprint agent`` that asks for signatures, with a model whose frames it has been calibrated on."""

    def __init__(
        self, folder: Path, broker_port: int, device: str, *, bundle: Path, trusted: Path, authority: Path | None
    ) -> None:
        folder.mkdir()
        frames = folder / "frames.npz"
        # Well within what the first version calls inliers.
        np.savez(frames, x=np.stack([make_frame(value) for value in np.linspace(0.25, 0.55, 50)]))
        config = folder / "agent.toml"
        known = "" if authority is None else f"ca_file = '{authority}'\n"
        config.write_text(
            f"site = 'north'\ndevice = '{device}'\nhealth_seconds = 0.5\n"
            f"[mqtt]\nhost = '127.0.0.1'\nport = {broker_port}\n"
            f"[store]\npath = '{folder}/agent.db'\n"
            f"[bundles]\ntrusted_keys = '{trusted}'\n{known}"
            f"[[stream]]\nname = 'belt'\nbundle = '{bundle}'\nreport_seconds = 0.3\nframes_per_false_alarm = 1e6\n"
            f"[stream.source]\npath = '{frames}'\nframes_per_second = 50\n"
        )
        self._log = folder / "log"
        with self._log.open("wb") as log:
            self._process = subprocess.Popen([*COMMAND, "--config", str(config)], stdout=log, stderr=log)

    @property
    def log(self) -> str:
        return self._log.read_text()

    def kill(self) -> None:
        self._process.kill()
        self._process.wait(timeout=15)


class Line:
    """Agents and a server that are given bundles.

    Args:
        folder: for everything.
        broker_port: where the broker listens.
        secured: whether the server speaks HTTPS and asks to log in; an operator then has a token.
    """

    def __init__(self, folder: Path, broker_port: int, *, secured: bool = False) -> None:
        self._folder = folder
        self._port = broker_port
        self.key = folder / "ours.key"
        make_key(self.key)
        self.trusted = folder / "trusted"
        self.trusted.mkdir()
        (self.trusted / "ours.pub").write_bytes(public_file(self.key).read_bytes())
        self.first = self.make_bundle(1)
        self.agents: list[Agent] = []
        self.authority: Path | None = None
        self._options: dict[str, Any] = {"settings": {}}
        if secured:
            self._secure()
        self.start_server(self.trusted)
        assert self.upload(self.first).status_code == 201

    def _secure(self) -> None:
        office = found(self._folder / "certificates", now=datetime.now(timezone.utc))
        holder = holder_of(Kind.BROKER, "server")
        office.issue(holder, hosts=["127.0.0.1"], force=False)
        files = office.files(holder)
        self.authority = files.ca
        http = f"cert_file = '{files.certificate}'\nkey_file = '{files.key}'"
        self._options = {
            "login": True,
            "trust": ssl.create_default_context(cafile=files.ca),
            "settings": {"http": http, "access": "metrics = 'login'"},
        }

    def start_server(self, trusted: Path | None, *, public_url: str | None = None) -> None:
        """Start one with what the last one has kept.

        Args:
            trusted: whose signatures it asks for; None for nobody's.
            public_url: where devices are to fetch bundles; None for where it listens.
        """
        rollout = f"bundles = '{self._folder}/bundles'\ntick_seconds = 0.3\nrefused_after_seconds = 1"
        if public_url is not None:
            rollout += f"\npublic_url = '{public_url}'"
        keys = "" if trusted is None else f"\ntrusted_keys = '{trusted}'"
        settings = {**self._options["settings"], "rollout": rollout + keys}
        self.server = ServerProcess(self._folder, self._port, **{**self._options, "settings": settings})
        self.server.start()
        token = None if self.authority is None else self.server.users("token", "add", "ann", "--role", "operator")
        self.operator = self.server.client(token=token)

    def make_bundle(self, version: int, *, key: Path | None = None, calibration: list[float] | None = None) -> Path:
        path = self._folder / f"toy-{version}.driftprint"
        make_bundle(path, version=version, calibration=calibration, zipped=True)
        sign(path, key or self.key)
        return path

    def upload(self, bundle: Path) -> httpx.Response:
        return self.operator.post("/api/bundles", content=bundle.read_bytes())

    def start(self, bundle: str, stages: list[int]) -> str:
        """Start a rollout; its id."""
        answer = self.operator.post("/api/rollouts", json={"bundle": bundle, "stages": stages, "soak_seconds": 2})
        assert answer.status_code == 201, answer.text
        return str(answer.json()["id"])

    def rollout(self, rollout_id: str) -> dict[str, Any]:
        answer: dict[str, Any] = self.operator.get(f"/api/rollouts/{rollout_id}").json()
        return answer

    def run_what(self) -> dict[str, str]:
        """What each device runs, by its own word."""
        return {
            device["device"]: stream["bundle"]
            for device in self.operator.get("/api/fleet").json()["devices"]
            for stream in device["streams"]
        }

    def frames(self) -> int:
        """Scored by all devices."""
        devices = self.operator.get("/api/fleet").json()["devices"]
        return sum(stream["frames_total"] for device in devices for stream in device["streams"])

    def start_agents(self, *devices: str) -> None:
        for device in devices:
            self.agents.append(
                Agent(
                    self._folder / device,
                    self._port,
                    device,
                    bundle=self.first,
                    trusted=self.trusted,
                    authority=self.authority,
                )
            )
        self.wait_for(lambda: self.run_what() == dict.fromkeys(devices, "toy-1"), "all agents to report")

    def wait_for(self, condition: Callable[[], object], what: str) -> None:
        wait_for(condition, what=lambda: f"{what}\n{self.run_what()}\n{self.agents[0].log}")

    def wait_for_status(self, rollout: str, status: str) -> dict[str, Any]:
        self.wait_for(
            lambda: self.rollout(rollout)["status"] == status, f"{rollout} to be {status}: {self.rollout(rollout)}"
        )
        return self.rollout(rollout)

    def close(self) -> None:
        for agent in self.agents:
            agent.kill()
        self.server.kill()


@pytest.fixture
def start_line(mosquitto: Mosquitto, tmp_path: Path) -> Iterator[Callable[..., Line]]:
    lines: list[Line] = []

    def start(**options: Any) -> Line:
        lines.append(Line(tmp_path, mosquitto.port, **options))
        return lines[-1]

    yield start
    for line in lines:
        line.close()


@pytest.fixture
def line(start_line: Callable[..., Line]) -> Line:
    return start_line()


def test_a_good_bundle_reaches_all_ten_agents_and_a_bad_one_stops_by_itself_at_its_first_stage(line: Line) -> None:
    line.start_agents(*DEVICES)
    line.wait_for(lambda: line.frames() > 3000, "some history of the first version")

    assert line.upload(line.make_bundle(2)).status_code == 201
    good = line.start("toy-2", [30, 100])
    found = line.wait_for_status(good, "done")
    assert line.run_what() == dict.fromkeys(DEVICES, "toy-2")
    assert [step["action"] for step in found["history"]] == ["start", "widen", "done"]
    assert found["progress"] == {"running": 10}

    # To this one's calibration everything at the site is an outlier. Its signature is as good as any.
    assert line.upload(line.make_bundle(3, calibration=np.linspace(0.0, 0.1, 1000).tolist())).status_code == 201
    bad = line.start("toy-3", [30, 100])
    found = line.wait_for_status(bad, "stopped")
    assert "alarms in" in found["reason"]
    line.wait_for(lambda: line.run_what() == dict.fromkeys(DEVICES, "toy-2"), "all to be back")
    line.wait_for(lambda: line.rollout(bad)["progress"].get("back") == 3, "the server to know that they are")
    assert line.rollout(bad)["progress"] == {"back": 3, "waiting": 7}
    swapped = [agent for agent in line.agents if '"toy-3"' in agent.log]
    assert len(swapped) == 3


def test_with_the_default_stages_a_bad_bundle_goes_no_further_than_its_only_device(line: Line) -> None:
    line.start_agents(*DEVICES[:4])
    line.wait_for(lambda: line.frames() > 1000, "some history of the first version")
    assert line.upload(line.make_bundle(2, calibration=np.linspace(0.0, 0.1, 1000).tolist())).status_code == 201
    rollout = line.start("toy-2", [10, 50, 100])
    line.wait_for(lambda: "is in alarm with it" in str(line.rollout(rollout)["held"]), "it to be held")
    held_since = line.rollout(rollout)["held_since"]
    line.wait_for(lambda: line.rollout(rollout)["now"] - held_since > 6, "three times the time of a stage")
    found = line.rollout(rollout)
    assert (found["status"], found["percent"]) == ("running", 10)
    assert list(line.run_what().values()).count("toy-2") == 1


def test_an_outage_of_the_bundles_address_is_no_refusal(line: Line) -> None:
    devices = DEVICES[:3]
    line.start_agents(*devices)
    line.server.kill()
    line.start_server(line.trusted, public_url=f"http://127.0.0.1:{free_port()}")
    assert line.upload(line.make_bundle(2)).status_code == 201
    rollout = line.start("toy-2", [100])

    def told() -> list[dict[str, Any]]:
        return [member for member in line.rollout(rollout)["members"] if member["error"]]

    line.wait_for(lambda: len(told()) == 3, "all to say that they cannot fetch it")
    begun = line.rollout(rollout)["now"]
    line.wait_for(lambda: line.rollout(rollout)["now"] - begun > 3, "three times refused_after_seconds")
    assert len(told()) == 3
    assert line.rollout(rollout)["status"] == "running"
    assert line.rollout(rollout)["progress"] == {"told": 3}


def test_a_bundle_that_a_stranger_signed_is_taken_neither_by_the_server_nor_by_any_agent(
    line: Line, tmp_path: Path
) -> None:
    devices = DEVICES[:3]
    line.start_agents(*devices)
    stranger = tmp_path / "stranger.key"
    make_key(stranger)
    foreign = line.make_bundle(2, key=stranger)
    answer = line.upload(foreign)
    assert answer.status_code == 422
    assert "is signed by nobody whose key is in" in answer.json()["detail"]

    # As if somebody had taken the server over.
    line.server.kill()
    line.start_server(None)
    line.wait_for(lambda: line.run_what() == dict.fromkeys(devices, "toy-1"), "all agents to report")
    assert line.upload(foreign).status_code == 201
    found = line.wait_for_status(line.start("toy-2", [100]), "stopped")
    assert "devices do not run it" in found["reason"]
    assert all("is signed by nobody whose key is in" in member["error"] for member in found["members"])
    assert line.run_what() == dict.fromkeys(devices, "toy-1")


def test_a_server_that_is_killed_with_ten_agents_under_way_takes_the_rollout_to_its_end(line: Line) -> None:
    line.start_agents(*DEVICES)
    assert line.upload(line.make_bundle(2)).status_code == 201
    rollout = line.start("toy-2", [30, 100])
    line.wait_for(lambda: "toy-2" in line.run_what().values(), "the first ones to follow")
    line.server.kill()
    line.server.start()
    line.operator = line.server.client()
    found = line.wait_for_status(rollout, "done")
    assert [step["action"] for step in found["history"]] == ["start", "widen", "done"]
    assert line.run_what() == dict.fromkeys(DEVICES, "toy-2")
    swaps = [agent.log.count("bundle swapped") for agent in line.agents]
    assert swaps == [1] * len(DEVICES)


def test_over_https_devices_fetch_by_an_address_nobody_guesses_and_all_else_asks_who_it_is(
    start_line: Callable[..., Line],
) -> None:
    line = start_line(secured=True)
    devices = DEVICES[:3]
    line.start_agents(*devices)
    assert line.upload(line.make_bundle(2)).status_code == 201
    line.wait_for_status(line.start("toy-2", [50, 100]), "done")
    assert line.run_what() == dict.fromkeys(devices, "toy-2")

    stranger = line.server.client()
    for path in ("/api/rollouts", "/api/bundles", "/api/fleet", "/metrics", "/openapi.json"):
        assert stranger.get(path).status_code == 401, path
    assert stranger.post("/api/rollouts", json={"bundle": "toy-1"}).status_code == 401
    assert stranger.post("/api/bundles", content=b"PK").status_code == 401
    for guess in ("toy-2", "toy-3"):
        assert stranger.get(f"/bundles/{'0' * 40}/{guess}.driftprint").status_code == 404
    assert [one["bundle"] for one in line.operator.get("/api/rollouts").json()["rollouts"]] == ["toy-2"]
