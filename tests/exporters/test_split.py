"""The parts that inliers are divided into never share a frame."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from driftprint.frames import ArrayFrames
from driftprint.manifest import ImageInput
from driftprint.preprocess import make_preprocessor
from driftprint_export.features import Runner, collect
from driftprint_export.layers import find_layers
from driftprint_export.pipeline import no_track
from driftprint_export.split import split
from tests.exporters import models

KEYS = st.lists(st.sampled_from([f"video {i}" for i in range(12)]), max_size=60)


@given(KEYS, st.integers(0, 5), st.booleans())
def test_every_frame_is_in_one_part_and_no_key_in_two(keys: list[str], seed: int, with_calibration: bool) -> None:
    parts = split(keys, seed=seed, with_calibration=with_calibration)
    rows = [parts.fit, parts.held_out, parts.calibration]
    assert sorted(np.concatenate(rows)) == list(range(len(keys)))
    for one, other in combinations(({keys[i] for i in part} for part in rows), 2):
        assert not one & other


def test_a_keys_part_does_not_depend_on_the_other_frames() -> None:
    keys = [str(i) for i in range(100)]
    all_of_them = split(keys, seed=0, with_calibration=True)
    fit = {keys[i] for i in all_of_them.fit}
    some = keys[::-3]
    assert {some[i] for i in split(some, seed=0, with_calibration=True).fit} == fit & set(some)


def test_shares() -> None:
    parts = split([str(i) for i in range(10_000)], seed=0, with_calibration=True)
    shares = [len(part) / 10_000 for part in (parts.fit, parts.held_out, parts.calibration)]
    assert shares == pytest.approx([0.45, 0.20, 0.35], abs=0.02)
    apart = split([str(i) for i in range(10_000)], seed=0, with_calibration=False)
    assert len(apart.calibration) == 0
    assert len(apart.fit) == pytest.approx(7_000, abs=200)


def test_another_seed_gives_another_division() -> None:
    keys = [str(i) for i in range(100)]
    assert list(split(keys, seed=0, with_calibration=True).fit) != list(split(keys, seed=1, with_calibration=True).fit)


def test_copies_of_a_frame_have_one_key() -> None:
    """So that a copy of a frame the method was fitted on is not taken for a new one."""
    frames, _ = models.stripes(6)
    twice = np.concatenate([frames, frames])
    source = models.traced(models.seeded(models.ConvNet))
    preprocess = make_preprocessor(ImageInput(name="input", height=16, width=16, colour="grey"))
    seen = collect(
        Runner(source, find_layers(source, preprocess(frames[0]))),
        preprocess,
        ArrayFrames(twice),
        where="inliers",
        track=no_track,
        most=100,
    )
    assert seen.keys[:6] == seen.keys[6:]
    assert len(set(seen.keys)) == 6
