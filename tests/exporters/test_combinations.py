"""The classical ways to join p-values: what they compute, in numpy and in the graph."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from driftprint_export.builder import GraphBuilder
from driftprint_export.combinations import COMBINATIONS, Evidence, EvidenceTensors
from driftprint_export.methods import Responses, Tensors
from tests.exporters.graphs import run_emitted

P_VALUES = np.array([[0.5, 0.5, 0.5], [0.01, 0.9, 0.9], [0.05, 0.05, 0.05], [1.0, 1e-30, 0.2]])

EXPECTED = {
    "fisher": lambda p: -np.log(p).sum(axis=1),
    "harmonic": lambda p: np.log((1 / p).sum(axis=1)),
    "min": lambda p: -np.log(p.min(axis=1)),
}


def known(p_values: NDArray[np.float64]) -> Evidence:
    surprises = -np.log(p_values)
    return Evidence(surprises, surprises, Responses([np.ones((len(p_values), 2), np.float32)] * 3))


@pytest.mark.parametrize("opset", [11, 13, 18])
@pytest.mark.parametrize("name", EXPECTED)
def test_they_join_p_values_as_their_authors_say(name: str, opset: int) -> None:
    fitted = COMBINATIONS[name]().fit(known(P_VALUES), [])
    expected = EXPECTED[name](P_VALUES)
    assert np.allclose(fitted(known(P_VALUES)), expected)

    def emit(graph: GraphBuilder, names: list[str], _predicted: str) -> list[str]:
        return [fitted.emit(graph, EvidenceTensors([], names[0], Tensors([])))]

    (scores,) = run_emitted(emit, [(-np.log(P_VALUES)).astype(np.float32)], opset=opset)
    assert np.allclose(scores, expected, rtol=1e-5)


def test_they_differ_in_what_they_notice() -> None:
    """One odd layer of three, or three that are somewhat odd."""
    one_odd, all_somewhat = (known(P_VALUES[[row]]) for row in (1, 2))
    score = {name: make().fit(one_odd, []) for name, make in COMBINATIONS.items() if name in EXPECTED}
    assert score["fisher"](all_somewhat) > score["fisher"](one_odd)
    assert score["min"](all_somewhat) < score["min"](one_odd)
