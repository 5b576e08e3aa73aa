"""Whatever comes as a frame is scored as the picture that it is, or counted as a fault by its reason."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import ExifTags, Image

from driftprint.bundle import read_bundle
from driftprint.clock import SystemClock
from driftprint.errors import FrameError
from driftprint.scorer import Scorer
from driftprint_edge.sources.replay import ReplaySettings
from tests.brokers import Mosquitto, free_port, wait_for
from tests.bundles import make_bundle
from tests.edge_agent.test_agent import Agent
from tests.edge_agent.test_link import Server
from tests.edge_agent.test_sources import post

Pixels = NDArray[np.uint8]


def _picture() -> Pixels:
    """Flat squares of 8 x 8 pixels, which JPEG keeps, and which look different turned, mirrored or recoloured."""
    squares = np.random.default_rng(3).integers(20, 236, (4, 5, 3), dtype=np.uint8)
    return squares.repeat(8, axis=0).repeat(8, axis=1)


COLOUR = _picture()
GREY: Pixels = np.ascontiguousarray(COLOUR[..., 0])
SIDEWAYS: Pixels = np.ascontiguousarray(np.rot90(COLOUR))
"""As a camera held upright stores it, with the orientation 6: turn it clockwise."""
DEEP_COLOUR = COLOUR.astype(np.uint16) * 257
DEEP_GREY = GREY.astype(np.uint16) * 257
FEW_COLOURS = Image.fromarray(COLOUR).quantize(16)
FEW_PIXELS = np.asarray(FEW_COLOURS.convert("RGB"))
HUGE = 10_001
"""The side of a square with more pixels than are decoded."""
ALPHA: Pixels = np.tile(np.arange(40, dtype=np.uint8), (32, 1))


def encoded(picture: Pixels | NDArray[Any] | Image.Image, kind: str, **choices: Any) -> bytes:
    buffer = io.BytesIO()
    image = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
    image.save(buffer, kind, **choices)
    return buffer.getvalue()


def jpeg(picture: Pixels | Image.Image, **choices: Any) -> bytes:
    return encoded(picture, "jpeg", quality=100, subsampling=0, **choices)


def deep_colour_png() -> bytes:
    """Pillow cannot write one."""
    return cv2.imencode(".png", DEEP_COLOUR[..., ::-1])[1].tobytes()


def turned(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    return exif


def animation(kind: str) -> bytes:
    return encoded(FEW_COLOURS, kind, save_all=True, append_images=[Image.fromarray(255 - COLOUR).quantize(16)])


def cut(data: bytes, share: float) -> bytes:
    return data[: int(share * len(data))]


SCORED = {
    "a grey JPEG": (jpeg(GREY), GREY),
    "a CMYK JPEG": (jpeg(Image.fromarray(COLOUR).convert("CMYK")), COLOUR),
    "a grey PNG of 16 bits": (encoded(DEEP_GREY, "png"), GREY),
    "a colour PNG of 16 bits": (deep_colour_png(), COLOUR),
    "a grey TIFF of 16 bits": (encoded(DEEP_GREY, "tiff"), GREY),
    "a PNG of 1 bit": (encoded(GREY > 128, "png"), np.where(GREY > 128, 255, 0).astype(np.uint8)),
    "a PNG with a palette": (encoded(FEW_COLOURS, "png"), FEW_PIXELS),
    "a PNG with a palette and a transparent colour": (encoded(FEW_COLOURS, "png", transparency=3), FEW_PIXELS),
    "a colour PNG with transparency": (encoded(np.dstack([COLOUR, ALPHA]), "png"), COLOUR),
    "a grey PNG with transparency": (encoded(np.dstack([GREY, ALPHA]), "png"), GREY),
    "a JPEG with an orientation": (jpeg(SIDEWAYS, exif=turned(6)), COLOUR),
    "a PNG with an orientation": (encoded(SIDEWAYS, "png", exif=turned(6)), COLOUR),
    "a TIFF with an orientation": (encoded(SIDEWAYS, "tiff", exif=turned(6)), COLOUR),
    "an animated GIF": (animation("gif"), FEW_PIXELS),
    "an animated PNG": (animation("png"), FEW_PIXELS),
    "a JPEG with something behind it": (jpeg(COLOUR) + b"trailer", COLOUR),
}


FAULTS = {
    "an empty file": (b"", "undecodable"),
    "a text": (b"the camera is not connected\n", "undecodable"),
    "a web page": (b"<!doctype html><title>401 Unauthorized</title>", "undecodable"),
    "a program in PostScript": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\n", "undecodable"),
    "half a JPEG": (cut(jpeg(COLOUR), 0.5), "undecodable"),
    "almost all of a JPEG": (jpeg(COLOUR)[:-2], "undecodable"),
    "half a PNG": (cut(encoded(COLOUR, "png"), 0.5), "undecodable"),
    "half a GIF": (cut(animation("gif"), 0.2), "undecodable"),
    "a TIFF of floats": (encoded(GREY.astype(np.float32) / 255, "tiff"), "dtype"),
    "a small file with a huge picture": (encoded(Image.new("1", (HUGE, HUGE)), "png"), "too_large"),
}


SIZES = (COLOUR, COLOUR.repeat(5, axis=0).repeat(3, axis=1), GREY, COLOUR)
"""A stream's frames that are of two sizes and two colour modes."""


@pytest.fixture(scope="module")
def scorer(tmp_path_factory: pytest.TempPathFactory) -> Scorer:
    return Scorer(read_bundle(make_bundle(tmp_path_factory.mktemp("bundle") / "toy-1.driftprint")))


@pytest.fixture
def replayed(tmp_path: Path, scorer: Scorer) -> Callable[..., list[NDArray[Any]]]:
    """What the model is given of these files."""

    def replay(*files: bytes) -> list[NDArray[Any]]:
        write(tmp_path, *files)
        source = ReplaySettings(path=tmp_path, frames_per_second=10_000, repeat=False).open(SystemClock())
        return [scorer.prepare(frame.load()) for frame in source.frames(Event())]

    return replay


def write(folder: Path, *files: bytes) -> None:
    """Their names are in order, and say nothing of their formats."""
    folder.mkdir(exist_ok=True)
    for number, content in enumerate(files):
        (folder / f"{number:02}.png").write_bytes(content)


@pytest.mark.parametrize("what", SCORED)
def test_it_is_scored_as_the_picture_that_it_is(
    what: str, replayed: Callable[..., list[NDArray[Any]]], scorer: Scorer
) -> None:
    content, plain = SCORED[what]
    [given] = replayed(content)
    np.testing.assert_allclose(given, scorer.prepare(plain), atol=0.02)


def test_frames_of_another_size_or_colour_mode_are_scored_as_they_are_alone(
    replayed: Callable[..., list[NDArray[Any]]], scorer: Scorer
) -> None:
    given = replayed(*(encoded(frame, "png") for frame in SIZES))
    np.testing.assert_array_equal(given, [scorer.prepare(frame) for frame in SIZES])


def test_a_picture_taken_wrong_looks_different(scorer: Scorer) -> None:
    """Otherwise the tests above would say nothing."""
    right = scorer.prepare(COLOUR)
    wrong = [255 - COLOUR, COLOUR[..., ::-1], COLOUR[::-1], COLOUR[:, ::-1], SIDEWAYS, COLOUR // 16, GREY]
    assert all(np.abs(scorer.prepare(np.ascontiguousarray(frame)) - right).max() > 0.1 for frame in wrong)


@pytest.mark.parametrize("what", FAULTS)
def test_it_is_a_fault_with_a_reason(what: str, replayed: Callable[..., list[NDArray[Any]]]) -> None:
    content, reason = FAULTS[what]
    with pytest.raises(FrameError) as raised:
        replayed(content)
    assert raised.value.reason == reason
    assert "\n" not in str(raised.value)


def test_a_file_that_vanishes_before_its_turn_is_a_fault(tmp_path: Path) -> None:
    write(tmp_path, encoded(COLOUR, "png"))
    source = ReplaySettings(path=tmp_path, frames_per_second=10_000, repeat=False).open(SystemClock())
    (tmp_path / "00.png").unlink()
    [frame] = source.frames(Event())
    with pytest.raises(FrameError) as raised:
        frame.load()
    assert raised.value.reason == "unreadable"


# The agent as a process


@contextmanager
def agent_on(source: str, folder: Path, broker: Mosquitto) -> Iterator[Server]:
    """Starts the agent with one stream, `belt`; gives who hears it."""
    server, agent = Server(broker), Agent(folder, broker.port)
    agent.configure_sources({"belt": source})
    agent.start()
    try:
        wait_for(lambda: server.said("belt/window"), what=lambda: f"a window, {agent.log}")
        yield server
    finally:
        agent.kill()
        server.close()


def counted(server: Server, frames: int) -> tuple[int, dict[str, int]]:
    """Once so many frames have come: how many were scored, and how many were not, by reason."""

    def counts() -> tuple[int, dict[str, int]]:
        last = max(server.said("belt/window"), key=lambda window: window["seq"])  # they may come twice
        return last["frames_total"], last["faults_total"]

    wait_for(
        lambda: counts()[0] + sum(counts()[1].values()) >= frames,
        what=lambda: f"{frames} frames, got {counts()}",
    )
    return counts()


def test_the_agent_scores_what_it_can_and_counts_the_rest(tmp_path: Path, mosquitto: Mosquitto) -> None:
    contents = [content for content, _ in (*SCORED.values(), *FAULTS.values())]
    write(tmp_path / "frames", *contents, encoded(COLOUR, "png"))
    with agent_on(
        f"path = '{tmp_path}/frames'\nframes_per_second = 100\nrepeat = false", tmp_path, mosquitto
    ) as server:
        counts = counted(server, len(contents) + 1)
    assert counts == (len(SCORED) + 1, Counter(reason for _, reason in FAULTS.values()))


def test_a_client_that_posts_garbage_may_post_frames_thereafter(tmp_path: Path, mosquitto: Mosquitto) -> None:
    port = free_port()
    bodies = [FAULTS["a web page"][0], FAULTS["half a JPEG"][0], FAULTS["a TIFF of floats"][0], encoded(COLOUR, "png")]
    with agent_on(f"kind = 'http'\nport = {port}\nframes_per_second = 1000", tmp_path, mosquitto) as server:
        for number, body in enumerate(bodies, 1):
            assert post(port, body) == 202
            counts = counted(server, number)
    assert counts == (1, {"undecodable": 2, "dtype": 1})


def test_a_source_that_gives_nothing_is_reported_and_missed(tmp_path: Path, mosquitto: Mosquitto) -> None:
    source = f"kind = 'http'\nport = {free_port()}\nframes_per_second = 1\n"
    camera = "[stream.camera]\nchecks = ['missing']\nmissing_seconds = 0.5\n"
    with agent_on(source + camera, tmp_path, mosquitto) as server:
        wait_for(lambda: server.said("belt/window")[-1]["camera_faults"], what="a window that says so")
        assert counted(server, 0) == (0, {})
        assert {alert["cause"] for alert in server.said("belt/alert")} == {"missing"}
