"""Scores of several kinds made comparable: surprises among held-out inliers."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from driftprint_export.surprise import LARGEST_SCORE, fit_surprise
from tests.exporters.graphs import run_emitted

SCORES = arrays(np.float64, st.tuples(st.integers(20, 200), st.integers(1, 4)), elements=st.floats(0, 1e4, width=32))


def inliers(count: int = 4000, layers: int = 2, seed: int = 0) -> NDArray[np.float64]:
    return np.random.default_rng(seed).exponential(2.0, (count, layers)) + 1


def test_the_surprise_is_minus_the_log_of_the_share_that_scores_as_high() -> None:
    surprise = fit_surprise(inliers())
    for share in (0.5, 0.1, 0.02):
        score = 1 - 2 * np.log(share)  # the quantile of the exponential distribution
        assert surprise(np.full((1, 2), score)) == pytest.approx(-np.log(share), rel=0.1)


def test_beyond_the_largest_inlier_it_grows_on() -> None:
    surprise = fit_surprise(inliers())
    far, farther = surprise(np.array([[50.0, 50.0], [100.0, 100.0]]))
    assert (far > 10).all()
    assert np.allclose(farther - far, 25, rtol=0.3), "an exponential tail rises by 1 for each mean excess, 2"


@settings(deadline=None)
@given(SCORES)
def test_it_never_falls_and_is_finite(scores: NDArray[np.float64]) -> None:
    surprise = fit_surprise(scores)
    rising = np.linspace(0, 2e4, 500)[:, None] * np.ones(scores.shape[1])
    values = surprise(rising)
    assert np.isfinite(values).all()
    assert (values >= 0).all()
    assert (np.diff(values, axis=0) >= -1e-6 * (1 + values[1:])).all()


def test_layers_count_alike_whatever_their_scale() -> None:
    scores = inliers(layers=1)
    surprise = fit_surprise(np.hstack([scores, scores * 1000]))
    fresh = inliers(layers=1, seed=1)[:50]
    one, other = surprise(np.hstack([fresh, fresh * 1000])).T
    assert np.allclose(one, other, atol=1e-3)


def test_a_layer_that_says_the_same_of_all_inliers_is_no_trouble() -> None:
    surprise = fit_surprise(np.ones((100, 1)))
    inlier, outlier = surprise(np.array([[1.0], [2.0]]))
    assert inlier < 0.1
    assert outlier > 10


@settings(deadline=None, max_examples=25)
@given(st.floats(0.3, 30), st.sampled_from([1e-3, 1.0, 1e4]), st.integers(20, 3000), st.integers(1, 6))
def test_the_graph_computes_what_numpy_does(shape: float, scale: float, count: int, layers: int) -> None:
    random = np.random.default_rng(0)
    surprise = fit_surprise(random.gamma(shape, scale, (count, layers)))
    fresh = random.gamma(shape, 2 * scale, (30, layers)).astype(np.float32)
    fresh[0] = np.inf
    fresh[1] = LARGEST_SCORE * 2
    (found,) = run_emitted(
        lambda graph, names, _: [surprise.emit(graph, names)], [fresh[:, i : i + 1] for i in range(layers)]
    )
    assert np.allclose(found, surprise(fresh.astype(np.float64)), rtol=1e-3, atol=1e-3)
