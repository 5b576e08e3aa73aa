"""Changed inliers: different from inliers, within their range, always the same."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from driftprint.manifest import Colour, ImageInput, Layout, ModelInput, TensorInput
from driftprint_export.changes import CHANGES, REARRANGEMENTS, Axes, axes_of, blur, changed, contrast, tile, zoom

GREY = ImageInput(name="x", height=16, width=16, colour=Colour.GREY)
RGB = ImageInput(name="x", height=16, width=16)
TOKENS = TensorInput(name="x", dtype="int64", shape=(40,))
SIGNAL = TensorInput(name="x", shape=(3, 50))


def inputs(spec: ModelInput, count: int = 8) -> NDArray[Any]:
    random = np.random.default_rng(0)
    if isinstance(spec, TensorInput) and spec.dtype == "int64":
        return random.integers(0, 1000, (count, *spec.shape))
    shape = (spec.channels, 16, 16) if isinstance(spec, ImageInput) else spec.shape
    return np.cumsum(random.normal(size=(count, *shape)), axis=-1).astype(np.float32)


def everything(spec: ModelInput) -> list[NDArray[Any]]:
    return [result for _, result in changed(inputs(spec), spec, np.random.default_rng(0))]


@pytest.mark.parametrize(
    ("spec", "kinds"),
    [(RGB, len(CHANGES)), (GREY, len(CHANGES) - 1), (SIGNAL, len(CHANGES) - 1), (TOKENS, len(REARRANGEMENTS) - 1)],
    ids=["colour", "grey", "signal", "tokens"],
)
def test_every_kind_of_input_is_changed_in_many_ways(spec: ModelInput, kinds: int) -> None:
    """One channel has no other order; whole numbers are rearranged, never computed with."""
    before = inputs(spec)
    results = everything(spec)
    assert len(results) == kinds
    for result in results:
        assert result.shape == before.shape
        assert result.dtype == before.dtype
        assert not np.array_equal(result, before)
        assert result.min() >= before.min()
        assert result.max() <= before.max()


def test_tokens_stay_tokens() -> None:
    known = {int(token) for token in inputs(TOKENS).reshape(-1)}
    assert all({int(token) for token in result.reshape(-1)} <= known for result in everything(TOKENS))


def test_the_changes_are_always_the_same() -> None:
    for one, other in zip(everything(RGB), everything(RGB), strict=True):
        assert np.array_equal(one, other)


def test_a_vector_too_short_to_rearrange_is_not_changed() -> None:
    assert everything(TensorInput(name="x", shape=(3,))) == []


@pytest.mark.parametrize(
    ("spec", "axes"),
    [
        (RGB, Axes((2, 3), 1)),
        (GREY, Axes((2, 3), None)),
        (RGB.model_copy(update={"layout": Layout.NHWC}), Axes((1, 2), 3)),
        (GREY.model_copy(update={"layout": Layout.NHW}), Axes((1, 2), None)),
        (SIGNAL, Axes((2,), None)),
        (TensorInput(name="x", shape=(1, 40, 64)), Axes((2, 3), None)),
    ],
)
def test_the_axes_of_an_input(spec: ModelInput, axes: Axes) -> None:
    assert axes_of(spec) == axes


ROW = np.arange(8, dtype=np.float32)[None]
ALONG = Axes((1,), None)
RANDOM = np.random.default_rng(0)


def test_blur_keeps_the_mean_and_loses_detail() -> None:
    spike = np.zeros((1, 31), np.float32)
    spike[0, 15] = 1
    blurred = blur(2.0)(spike, ALONG, RANDOM)
    assert blurred.sum() == pytest.approx(1, abs=1e-4)
    assert blurred.max() == pytest.approx(1 / (2.0 * np.sqrt(2 * np.pi)), rel=0.02)


def test_zoom_shows_a_part() -> None:
    zoomed = zoom(2.0)(ROW, ALONG, RANDOM)[0]
    assert np.allclose(np.diff(zoomed), 0.5)


def test_contrast_stretches_about_the_mean() -> None:
    assert np.allclose(contrast(2.0)(ROW, ALONG, RANDOM), 3.5 + 2 * (ROW - 3.5))


def test_tiling_repeats_every_other_place() -> None:
    assert tile(ROW, ALONG, RANDOM)[0].tolist() == [0, 2, 4, 6, 0, 2, 4, 6]
