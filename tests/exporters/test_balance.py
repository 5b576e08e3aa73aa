"""Predicted classes flag inliers alike."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from driftprint_export.balance import fit_balance
from driftprint_export.builder import GraphBuilder
from driftprint_export.methods import Classes
from tests.exporters.graphs import run_emitted

SPREADS = np.array([1.0, 2.0, 0.5])


def inliers(count: int, seed: int = 0) -> tuple[NDArray[np.float64], Classes]:
    """Scores of three classes, one of which gives twice the others'; the model knows a fourth, and never says it."""
    random = np.random.default_rng(seed)
    index = random.integers(0, 3, count)
    return random.exponential(SPREADS[index]), Classes(index, 4)


def flagged(scores: NDArray[np.float64], classes: Classes) -> list[float]:
    threshold = np.quantile(scores, 0.95)
    return [float((scores[classes.index == k] > threshold).mean()) for k in range(3)]


def test_no_class_flags_inliers_twice_as_often_as_it_should() -> None:
    balance = fit_balance(*inliers(1200))
    scores, classes = inliers(30_000, seed=1)
    assert max(flagged(scores, classes)) > 0.1
    assert max(flagged(balance(scores, classes), classes)) < 0.08


@pytest.mark.parametrize("count", [12, 120, 1200])
def test_classes_that_differ_by_chance_alone_are_left_nearly_alone(count: int) -> None:
    random = np.random.default_rng(0)
    logs = [
        np.abs(np.log(fit_balance(random.exponential(size=count), Classes(random.integers(0, 3, count), 3)).factors))
        for _ in range(100)
    ]
    deviation_of_a_quantile = 4.4 / 3 / np.sqrt(count / 3)
    assert np.mean(logs) < 0.4 * deviation_of_a_quantile


def test_a_rare_class_is_taken_for_an_average_one_more_than_a_common_one() -> None:
    scores, classes = inliers(3000)
    rare = np.flatnonzero(classes.index == 1)[10:]
    kept = np.setdiff1d(np.arange(3000), rare)
    rare_factor = fit_balance(scores[kept], Classes(classes.index[kept], 4)).factors[1]
    assert fit_balance(scores, classes).factors[1] < 0.8 * rare_factor


def test_a_class_that_is_never_predicted_is_left_alone() -> None:
    assert fit_balance(*inliers(1000)).factors[3] == 1


def test_scores_that_are_all_nought_are_no_trouble() -> None:
    assert (fit_balance(np.zeros(100), Classes(np.zeros(100, np.int64), 2)).factors == 1).all()


def test_the_graph_computes_what_numpy_does() -> None:
    balance = fit_balance(*inliers(1000))
    scores, classes = inliers(50, seed=1)

    def emit(graph: GraphBuilder, names: list[str], predicted: str) -> list[str]:
        flat = graph.reduce("ReduceSum", names[0], [1], keepdims=False)
        return [balance.emit(graph, flat, predicted)]

    (found,) = run_emitted(emit, [scores[:, None].astype(np.float32)], classes.index)
    assert np.allclose(found, balance(scores, classes), rtol=1e-5)
