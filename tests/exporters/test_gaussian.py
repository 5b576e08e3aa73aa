"""The Gaussian of a layer: what it computes, and that the graph computes the same."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from driftprint_export.methods import METHODS, Classes, Responses, Tensors
from driftprint_export.methods.gaussian import (
    FEWEST_OF_CLASS,
    MOST_DIRECTIONS,
    Gaussian,
    class_means,
    fit_layer,
    shrunk_eigen,
)
from tests.exporters.graphs import run_emitted

Array = NDArray[np.float32]


def correlated(count: int, channels: int, *, rank: int | None = None, seed: int = 0) -> Array:
    """Vectors with a covariance of the given rank, far from the origin."""
    random = np.random.default_rng(seed)
    spread = np.random.default_rng(99).normal(size=(rank or channels, channels))
    return (random.normal(size=(count, len(spread))) @ spread + 5).astype(np.float32)


def classes_of(count: int, *, classes: int = 3, seed: int = 0) -> Classes:
    return Classes(np.random.default_rng(seed).integers(0, classes, count), classes)


def logits_of(classes: Classes | None) -> Array | None:
    """Logits from which the classes are predicted."""
    return None if classes is None else np.eye(classes.count, dtype=np.float32)[classes.index]


def ledoit_wolf(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """The shrunk covariance, written as the paper's section 3.3 defines it, one observation at a time."""
    n, p = x.shape
    sample = x.T @ x / n

    def norm(a: NDArray[np.float64]) -> float:
        return float(np.trace(a @ a.T) / p)

    m = float(np.trace(sample) / p)
    d2 = norm(sample - m * np.eye(p))
    b2: float = min(d2, sum(norm(np.outer(row, row) - sample) for row in x) / n**2)
    shrunk: NDArray[np.float64] = b2 / d2 * m * np.eye(p) + (d2 - b2) / d2 * sample
    return shrunk


@pytest.mark.parametrize("count", [6, 40, 400])
def test_the_covariance_is_shrunk_as_ledoit_and_wolf_say(count: int) -> None:
    x = correlated(count, 10).astype(np.float64)
    x -= x.mean(axis=0)
    values, vectors = shrunk_eigen(x)
    assert np.allclose(vectors @ np.diag(values) @ vectors.T, ledoit_wolf(x))
    assert (np.diff(values) <= 1e-12).all()


def test_the_score_is_mahalanobis_distance_from_the_predicted_class() -> None:
    x, classes = correlated(500, 6), classes_of(500)
    layer = fit_layer(x, classes)
    means = np.stack([x[classes.index == k].astype(np.float64).mean(axis=0) for k in range(3)])
    centred = x - means[classes.index]
    precision = np.linalg.inv(ledoit_wolf(centred))
    expected = np.sqrt(np.einsum("ni,ij,nj->n", centred, precision, centred) / 6)
    assert np.allclose(layer.score(x, classes), expected, rtol=1e-6)


def test_a_typical_inlier_scores_about_one() -> None:
    layer = fit_layer(correlated(5000, 20), None)
    fresh = layer.score(correlated(5000, 20, seed=1), None)
    assert np.sqrt(np.square(fresh).mean()) == pytest.approx(1, rel=0.05)


def test_classes_that_are_rarely_predicted_take_the_mean_of_all() -> None:
    x = correlated(100, 4).astype(np.float64)
    index = np.zeros(100, np.int64)
    index[: FEWEST_OF_CLASS - 1] = 1
    means = class_means(x, Classes(index, 3))
    assert np.allclose(means[1], x.mean(axis=0))
    assert np.allclose(means[2], x.mean(axis=0))
    assert np.allclose(means[0], x[index == 0].mean(axis=0))


def test_a_layer_that_never_changes_scores_any_change() -> None:
    x = np.full((50, 5), 3.0, np.float32)
    layer = fit_layer(x, None)
    assert np.allclose(layer.score(x, None), 0)
    changed = layer.score(x + 1, None)
    assert np.isfinite(changed).all()
    assert (changed > 10).all()


@settings(deadline=None, max_examples=25)
@given(
    channels=st.integers(2, 40),
    count=st.integers(20, 200),
    rank=st.integers(1, 40),
    offset=st.sampled_from([0.0, 5.0, 300.0]),
    with_classes=st.booleans(),
)
def test_the_graph_computes_what_numpy_does(
    channels: int, count: int, rank: int, offset: float, with_classes: bool
) -> None:
    fit, fresh = (correlated(count, channels, rank=min(rank, channels), seed=s) + np.float32(offset) for s in (0, 1))
    fresh[::3] += 2
    check_graph([fit], [fresh], classes_of(count) if with_classes else None)


@pytest.mark.parametrize("rank", [3, 200, None])
@pytest.mark.parametrize("with_classes", [True, False], ids=["classes", "no classes"])
def test_the_graph_keeps_its_precision_with_many_channels(rank: int | None, with_classes: bool) -> None:
    """What the leading directions leave is tiny where the rank is low: a difference of lengths would be rounding."""
    channels = MOST_DIRECTIONS + 100
    fit, fresh = (correlated(600, channels, rank=rank, seed=s) for s in (0, 1))
    check_graph([fit], [fresh], classes_of(600) if with_classes else None)


@pytest.mark.parametrize("opset", [11, 13, 18])
def test_the_graph_is_valid_in_old_operator_sets(opset: int) -> None:
    fit, fresh = correlated(100, 8), correlated(100, 8, seed=1)
    check_graph([fit, fit[:, :5]], [fresh, fresh[:, :5]], classes_of(100), opset=opset)


def check_graph(fit: list[Array], fresh: list[Array], classes: Classes | None, *, opset: int = 18) -> None:
    method = Gaussian().fit(Responses(fit, logits_of(classes)))
    expected = method.score(Responses(fresh, logits_of(classes)))
    scores = run_emitted(
        lambda graph, names, predicted: method.emit(graph, Tensors(names, predicted=predicted if classes else None)),
        fresh,
        classes.index if classes else None,
        opset=opset,
    )
    assert all(score.shape == (len(fresh[0]), 1) for score in scores)
    assert np.allclose(np.concatenate(scores, axis=1), expected, rtol=1e-3, atol=1e-4)


def test_it_is_registered() -> None:
    assert METHODS["gaussian"] is Gaussian
    assert Gaussian().fit(Responses([correlated(50, 4)])).class_conditional is False
    assert Gaussian().fit(Responses([correlated(50, 4)], logits_of(classes_of(50)))).class_conditional is True
