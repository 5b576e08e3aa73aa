from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from driftprint.bundle import read_bundle
from driftprint.digits import Part, load_digits
from driftprint.frames import ImageFolder
from driftprint.installed import find_bundle
from driftprint.scorer import Scorer
from driftprint_demo.scenes import Frame, Scene, make_scenes, write_frames


@pytest.fixture(scope="module")
def scenes() -> dict[str, Scene]:
    return {scene.device: scene for scene in make_scenes(np.random.default_rng(1))}


@pytest.fixture(scope="module")
def scorer() -> Scorer:
    return Scorer(read_bundle(find_bundle("digits")))


def outlier_ratio(scorer: Scorer, frames: list[Frame]) -> float:
    return float(np.mean([scorer.score(frame).p_value <= 0.05 for frame in frames]))


def test_no_digit_of_the_demo_was_used_to_make_the_bundle(scenes: dict[str, Scene]) -> None:
    used = {frame.tobytes() for part in (Part.TRAIN, Part.CALIBRATION) for frame in load_digits(part).frames}
    assert len(used) > 3000
    for scene in scenes.values():
        assert not used & {frame.tobytes() for frame in scene.frames[: scene.change_at]}


def test_the_clean_device_sees_every_demo_digit_once(scenes: dict[str, Scene]) -> None:
    frames = {frame.tobytes() for frame in scenes["clean"].frames}
    assert frames == {frame.tobytes() for frame in load_digits(Part.DEMO).frames}
    assert len(scenes["clean"].frames) == len(frames)


@pytest.mark.parametrize("device", ["drifting", "defocused"])
def test_a_changing_device_sees_inliers_before_the_change_and_outliers_after(
    device: str, scenes: dict[str, Scene], scorer: Scorer
) -> None:
    scene = scenes[device]
    assert scene.change_at is not None
    assert outlier_ratio(scorer, list(scene.frames[: scene.change_at])) < 0.1
    assert outlier_ratio(scorer, list(scene.frames[scene.change_at + 300 : scene.change_at + 400])) > 0.5


def test_written_frames_are_read_back_in_order(scenes: dict[str, Scene], tmp_path: Path) -> None:
    frames = scenes["drifting"].frames[390:420]
    write_frames(frames, tmp_path)
    for written, read in zip(frames, ImageFolder(tmp_path), strict=True):
        np.testing.assert_array_equal(read.load(), written)
