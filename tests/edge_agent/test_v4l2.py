"""Cameras: what V4L2 gives is what the agent gets, and a camera may be unplugged, stall and come back."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from threading import Thread
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest

from tests.brokers import Mosquitto, wait_for
from tests.edge_agent.test_bad_input import agent_on, counted
from tests.edge_agent.v4l2 import camera as stand_in
from tests.edge_agent.v4l2.camera import Camera, Given, build

RED, BLUE = (255, 0, 0), (0, 0, 255)
NONE: Mapping[str, Any] = MappingProxyType({})


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("v4l2"))


@pytest.fixture
def camera(library: Path, tmp_path: Path) -> Camera:
    return Camera(library, tmp_path)


class Opened:
    """The agent's source on a camera, in a process of its own."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.given: list[Given] = []
        self._process = process
        self._thread = Thread(target=self._read)
        self._thread.start()

    @property
    def frames(self) -> list[Given]:
        return list(filter(a_frame, self.given))

    def wait_for(self, condition: Callable[[Given], bool], what: str) -> Given:
        """What is given from now on, until it is such."""
        start = len(self.given)
        wait_for(
            lambda: any(map(condition, self.given[start:])),
            what=lambda: f"{what}, got {self.given[-3:]}",
        )
        return next(filter(condition, self.given[start:]))

    def end(self) -> None:
        self._process.kill()
        self._process.wait()
        self._thread.join(10)

    def _read(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as lines:
            for line in lines:
                self.given.append(json.loads(line))


@contextmanager
def opened(camera: Camera, wishes: Mapping[str, int] = NONE, environment: Mapping[str, str] = NONE) -> Iterator[Opened]:
    settings = {"kind": "camera", "device": camera.device, "frames_per_second": 1000, **wishes}
    process = subprocess.Popen(
        [sys.executable, stand_in.__file__, json.dumps(settings)],
        env={**os.environ, **camera.environment, **environment},
        stdout=subprocess.PIPE,
        text=True,
    )
    source = Opened(process)
    try:
        yield source
    finally:
        source.end()


def a_frame(given: Given) -> bool:
    return bool(given["size"])


def nothing(given: Given) -> bool:
    return not given["size"]


def lost(given: Given) -> bool:
    return given["faults"].get("source_lost", 0) >= 1


def lost_again(given: Given) -> bool:
    return given["faults"].get("source_lost", 0) >= 2


def test_frames_come_one_after_another_in_rgb(camera: Camera) -> None:
    with opened(camera) as source:
        wait_for(lambda: len(source.frames) >= 10, what=lambda: f"frames, got {source.given}")
        frames = source.frames
    for frame in frames:
        np.testing.assert_allclose([frame["left"], frame["right"]], [RED, BLUE], atol=3)
    steps = np.diff([frame["number"] for frame in frames]) % 256
    assert steps.min() >= 1, "none comes twice"
    assert frames[-1]["faults"].keys() <= {"dropped"}


@pytest.mark.parametrize(
    ("wishes", "size"),
    [
        ({}, [480, 640]),
        ({"width": 320, "height": 240}, [240, 320]),
        ({"width": 300, "height": 200}, [240, 320]),
        ({"width": 1920, "height": 1080}, [480, 640]),
        ({"width": 160}, [120, 160]),
        ({"height": 120}, [120, 160]),
    ],
)
def test_the_camera_takes_the_size_nearest_to_the_wishes(
    camera: Camera, wishes: dict[str, int], size: list[int]
) -> None:
    with opened(camera, wishes) as source:
        assert source.wait_for(a_frame, "a frame")["size"] == size


def test_a_camera_that_is_unplugged_is_lost_and_found_again_when_plugged_in(camera: Camera) -> None:
    with opened(camera) as source:
        source.wait_for(a_frame, "a frame")
        camera.does("unplug")
        source.wait_for(lost_again, "a second attempt")
        assert nothing(source.given[-1])
        camera.does("run")
        again = source.wait_for(a_frame, "a frame again")
    assert lost_again(again), "counts do not fall"


def test_a_camera_that_is_plugged_in_later_is_found(camera: Camera) -> None:
    camera.does("unplug")
    with opened(camera) as source:
        source.wait_for(lost, "an attempt")
        camera.does("run")
        source.wait_for(a_frame, "a frame")


def test_a_camera_that_stalls_gives_nothing_and_goes_on_without_being_opened_again(camera: Camera) -> None:
    with opened(camera) as source:
        source.wait_for(a_frame, "a frame")
        camera.does("stall")
        source.wait_for(nothing, "nothing")
        source.wait_for(nothing, "nothing again")
        camera.does("run")
        again = source.wait_for(a_frame, "a frame")
    assert not lost(again)


def test_a_camera_that_stalls_for_long_is_opened_again(camera: Camera) -> None:
    # OpenCV waits for 10 seconds if not told otherwise.
    with opened(camera, environment={"OPENCV_VIDEOIO_V4L_SELECT_TIMEOUT": "1"}) as source:
        source.wait_for(a_frame, "a frame")
        camera.does("stall")
        source.wait_for(lost, "that it is lost")
        camera.does("run")
        source.wait_for(a_frame, "a frame")


def test_the_agent_reports_what_is_wrong_with_a_camera_and_that_it_is_over(
    camera: Camera, tmp_path: Path, mosquitto: Mosquitto, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in camera.environment.items():
        monkeypatch.setenv(name, value)
    source = f"kind = 'camera'\ndevice = '{camera.device}'\nframes_per_second = 30\n"
    checks = "[stream.camera]\nchecks = ['missing', 'black']\nhold_seconds = 0.3\nmissing_seconds = 0.5\n"

    with agent_on(source + checks, tmp_path, mosquitto) as server:

        def alerts() -> list[tuple[str, str]]:
            said = server.said("belt/alert")
            return [(alert["cause"], alert["status"]) for alert in said if alert["alert_id"] not in before]

        def wait_for_alert(cause: str, status: str) -> None:
            wait_for(lambda: (cause, status) in alerts(), what=lambda: f"{cause} {status}, got {alerts()}")

        assert counted(server, 1)[0] > 0
        before = {alert["alert_id"] for alert in server.said("belt/alert")}  # a slow start is one
        camera.does("unplug")
        wait_for_alert("missing", "raised")
        camera.does("run")
        wait_for_alert("missing", "cleared")
        camera.does("black")
        wait_for_alert("black", "raised")
        camera.does("run")
        wait_for_alert("black", "cleared")
