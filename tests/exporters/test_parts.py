"""Which inliers are used for what."""

from __future__ import annotations

import numpy as np
import pytest

from driftprint.errors import DataError
from driftprint.frames import ArrayFrames, FrameSet
from driftprint_export.features import Collected, Kept, frame_digest
from driftprint_export.parts import FEWEST_JOINING, MOST_JOINING, divide


def frames(count: int, *, seed: int, groups: list[str] | None = None) -> ArrayFrames:
    return ArrayFrames(np.random.default_rng(seed).integers(0, 256, (count, 4, 4), np.uint8), groups=groups)


def read(some: FrameSet) -> Collected:
    """As if a model had been run on them."""
    refs = list(some)
    digests = [frame_digest(ref.load()) for ref in refs]
    keys = digests if some.groups is None else list(some.groups)
    return Collected(refs, digests, keys, Kept([np.zeros((len(refs), 2), np.float32)], None, {}), {})


def digests(some: FrameSet) -> set[str]:
    return set(read(some).digests)


@pytest.mark.parametrize("calibration", [None, frames(1000, seed=1), frames(200, seed=1)], ids=["none", "many", "few"])
def test_no_frame_is_used_for_two(calibration: FrameSet | None) -> None:
    parts = divide(read(frames(500, seed=0)), calibration, read, seed=0, most=10_000)
    fit, held_out, calibrating = set(parts.fit.digests), set(parts.held_out.digests), digests(parts.calibration)
    assert fit
    assert held_out
    assert calibrating
    assert not fit & held_out
    assert not fit & calibrating
    assert not held_out & calibrating


def test_many_calibration_frames_leave_all_inliers_to_fit_on() -> None:
    parts = divide(read(frames(500, seed=0)), frames(1000, seed=1), read, seed=0, most=10_000)
    assert len(parts.fit.refs) == 500
    assert FEWEST_JOINING <= len(parts.held_out.refs) <= 300
    assert len(parts.held_out.refs) + len(parts.calibration) == 1000


def test_few_calibration_frames_are_all_calibrated_on() -> None:
    parts = divide(read(frames(500, seed=0)), frames(200, seed=1), read, seed=0, most=10_000)
    assert len(parts.calibration) == 200
    assert len(parts.fit.refs) + len(parts.held_out.refs) == 500


def test_no_more_is_joined_on_than_helps() -> None:
    parts = divide(read(frames(100, seed=0)), frames(12_000, seed=1), read, seed=0, most=100_000)
    assert len(parts.held_out.refs) == MOST_JOINING


def test_a_limit_is_spread_over_all_calibration_frames() -> None:
    parts = divide(read(frames(500, seed=0)), frames(4000, seed=1), read, seed=0, most=1000)
    assert len(parts.held_out.refs) + len(parts.calibration) == 1000
    assert max(int(ref.name) for ref in parts.calibration) > 3900


def test_a_video_is_used_for_one_thing() -> None:
    groups = [f"video {i // 20}" for i in range(1000)]
    parts = divide(read(frames(500, seed=0)), frames(1000, seed=1, groups=groups), read, seed=0, most=10_000)
    assert parts.calibration.groups is not None
    assert not set(parts.held_out.keys) & set(parts.calibration.groups)


def test_too_few_inliers_are_refused() -> None:
    with pytest.raises(DataError, match="30 inliers in 30 groups are too few"):
        divide(read(frames(30, seed=0)), None, read, seed=0, most=1000)
