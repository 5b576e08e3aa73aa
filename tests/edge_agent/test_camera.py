"""Faults of a camera are named as what they are, on real pictures, and nothing else is."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage
from skimage import data

from driftprint.clock import Instant
from driftprint.messages import AlertStatus, Cause
from driftprint_edge.camera import ALL_CHECKS, CameraAlert, CameraWatch, Look, Normal, look

Pixels = NDArray[np.uint8]

SIDE = 200
PICTURES = ("astronaut", "coffee", "chelsea", "rocket")


def photographs(count: int, seed: int) -> list[Pixels]:
    """Parts of photographs, as a camera that pans would see them, with the noise of a sensor."""
    random = np.random.default_rng(seed)
    scenes = [getattr(data, name)() for name in PICTURES]
    frames = []
    for _ in range(count):
        scene = scenes[random.integers(len(scenes))]
        top, left = (int(random.integers(0, side - SIDE)) for side in scene.shape[:2])
        part = scene[top : top + SIDE, left : left + SIDE].astype(float)
        frames.append(np.clip(part + random.normal(0, 3, part.shape), 0, 255).astype(np.uint8))
    return frames


def seen(frame: Pixels) -> Look:
    """As a model of half the size sees it."""
    halved = frame.reshape(SIDE // 2, 2, SIDE // 2, 2, 3).mean(axis=(1, 3))
    return look(frame, halved.transpose(2, 0, 1)[None].astype(np.float32))


@pytest.fixture(scope="module")
def normal() -> Normal:
    return Normal.of([seen(frame) for frame in photographs(16, seed=0)])


def noisy(frame: Pixels, seed: int) -> Pixels:
    noise = np.random.default_rng(seed).normal(0, 2, frame.shape)
    return np.clip(frame + noise, 0, 255).astype(np.uint8)


def blurred(frame: Pixels) -> Pixels:
    soft: Pixels = ndimage.gaussian_filter(frame, (4, 4, 0))
    return soft


FAULTS: dict[Cause, Callable[[Pixels], Pixels]] = {
    Cause.BLACK: lambda frame: (frame * 0.02).astype(np.uint8),
    Cause.BLOWN_OUT: lambda frame: np.clip(frame.astype(int) * 3 + 254, 0, 255).astype(np.uint8),
    Cause.COVERED: lambda frame: np.clip(frame * 0.02 + (90, 60, 50), 0, 255).astype(np.uint8),
    Cause.BLURRED: blurred,
}


@pytest.mark.parametrize("cause", FAULTS)
def test_each_fault_is_named_as_what_it_is(normal: Normal, cause: Cause) -> None:
    found = [normal.faults(seen(noisy(FAULTS[cause](frame), i)), None) for i, frame in enumerate(photographs(100, 1))]
    assert np.mean([faults == {cause} for faults in found]) > 0.8
    assert set().union(*found) <= {cause, Cause.COVERED}, "a blurred wall may look covered"


def test_working_cameras_hardly_ever_look_faulty(normal: Normal) -> None:
    found = [normal.faults(seen(frame), None) for frame in photographs(500, seed=2)]
    assert np.mean([bool(faults) for faults in found]) < 0.02


@pytest.mark.parametrize("change", [lambda x: x // 2, lambda x: 255 - x, lambda x: x[::-1], lambda x: np.roll(x, 9, 1)])
def test_a_world_that_has_changed_is_no_fault_of_the_camera(normal: Normal, change: Callable[[Pixels], Pixels]) -> None:
    found = [normal.faults(seen(np.ascontiguousarray(change(frame))), None) for frame in photographs(200, seed=3)]
    assert np.mean([bool(faults) for faults in found]) < 0.05


def test_the_same_frame_again_is_frozen_and_a_still_scene_is_not(normal: Normal) -> None:
    [scene] = photographs(1, seed=4)
    first, second = seen(noisy(scene, 0)), seen(noisy(scene, 1))
    assert Cause.FROZEN in normal.faults(first, first)
    assert Cause.FROZEN not in normal.faults(second, first)


def test_where_inliers_are_dark_darkness_is_no_fault() -> None:
    dark = [(frame * 0.02).astype(np.uint8) for frame in photographs(16, seed=0)]
    normal = Normal.of([seen(frame) for frame in dark])
    assert Cause.BLACK not in normal.faults(seen(dark[3]), None)


SHARP = Look(dark=0, bright=0, contrast=50, sharpness=1, digest=b"")
DARK = Look(dark=1, bright=0, contrast=0, sharpness=1, digest=b"")
NORMAL = Normal(contrast=50, sharpness=1, dark=0, bright=0)


class Watch:
    """A watch, a clock, and what it has said."""

    def __init__(self, *, hold: float = 5, missing: float = 10, normal: Normal | None = NORMAL) -> None:
        ids = itertools.count()
        self.watch = CameraWatch(
            ALL_CHECKS,
            hold_seconds=hold,
            missing_seconds=missing,
            normal=normal,
            start=Instant(0, 1000),
            new_id=lambda: str(next(ids)),
        )
        self.now = 0.0
        self.said: list[CameraAlert] = []
        self._numbers = itertools.count()

    def frames(self, kind: Look, seconds: int) -> None:
        for _ in range(seconds):
            self.now += 1
            digest = str(next(self._numbers)).encode()
            different = Look(kind.dark, kind.bright, kind.contrast, kind.sharpness, digest)
            self.said += self.watch.frame(different, Instant(self.now, 1000 + self.now))[1]

    def nothing(self, seconds: int) -> None:
        for _ in range(seconds):
            self.now += 1
            self.said += self.watch.nothing(Instant(self.now, 1000 + self.now))

    @property
    def words(self) -> list[tuple[str, str]]:
        return [(alert.cause.value, alert.status.value) for alert in self.said]


def test_faults_that_pass_at_once_are_none() -> None:
    watch = Watch()
    for _ in range(20):
        watch.frames(DARK, 2)
        watch.frames(SHARP, 3)
    assert watch.words == []


def test_a_fault_with_a_good_frame_now_and_then_is_one() -> None:
    watch = Watch()
    for _ in range(20):
        watch.frames(DARK, 6)
        watch.frames(SHARP, 1)
    assert watch.words == [("black", "raised")]


def test_no_single_frame_after_a_pause_decides() -> None:
    watch = Watch(missing=1e6)
    watch.frames(SHARP, 5)
    watch.now += 1000
    watch.frames(DARK, 1)
    assert watch.words == []


def test_a_lasting_fault_is_one_alert_from_raise_to_clear() -> None:
    watch = Watch()
    watch.frames(DARK, 100)
    assert watch.words == [("black", "raised")]
    watch.frames(SHARP, 3)
    watch.frames(DARK, 20)
    assert watch.words == [("black", "raised")], "it flickers"
    watch.frames(SHARP, 100)
    assert watch.words == [("black", "raised"), ("black", "cleared")]
    raised, cleared = watch.said
    assert (raised.alert_id, raised.revision) == (cleared.alert_id, cleared.revision - 1)
    assert (raised.raised_at, cleared.raised_at) == pytest.approx((1005, 1005), abs=1)
    assert cleared.cleared_at == pytest.approx(1123 + 2 * 5, abs=1)
    assert "This is over" in cleared.summary


def test_frames_that_no_longer_come_are_missed_and_then_no_longer() -> None:
    watch = Watch()
    watch.frames(SHARP, 5)
    watch.nothing(9)
    assert watch.words == []
    watch.nothing(100)
    assert watch.words == [("missing", "raised")]
    watch.frames(SHARP, 10)
    assert watch.words == [("missing", "raised"), ("missing", "cleared")]


def test_a_camera_that_never_gave_a_frame_is_missed() -> None:
    watch = Watch()
    watch.nothing(30)
    assert watch.words == [("missing", "raised")]


def test_faults_have_lives_of_their_own() -> None:
    watch = Watch()
    watch.frames(DARK, 10)
    watch.nothing(20)
    watch.frames(SHARP, 20)
    assert sorted(watch.words) == sorted(
        [("black", "raised"), ("missing", "raised"), ("black", "cleared"), ("missing", "cleared")]
    )


def test_where_frames_are_no_pictures_only_their_absence_is_a_fault() -> None:
    watch = Watch(normal=None)
    assert not watch.watch.wants_frames()
    watch.frames(DARK, 20)
    assert watch.words == []
    watch.nothing(20)
    assert watch.words == [("missing", "raised")]


def test_an_alert_goes_on_after_a_restart() -> None:
    before, after = Watch(), Watch()
    before.frames(DARK, 20)
    assert after.watch.load(before.watch.active, Instant(0, 1000)) == []
    assert [alert.cause for alert in after.watch.active] == [Cause.BLACK]
    after.frames(DARK, 20)
    after.frames(SHARP, 20)
    assert after.words == [("black", "cleared")]
    assert after.said[0].alert_id == before.said[0].alert_id
    assert after.said[0].status is AlertStatus.CLEARED
