"""How undecided a classifier is, from its logits alone."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from driftprint_export.builder import GraphBuilder


class Undecided(Protocol):
    """A measure of it."""

    def __call__(self, logits: NDArray[np.float32]) -> NDArray[np.float64]:
        """[N, K] to [N]; higher is more undecided. The reference for `emit`."""
        ...

    def emit(self, graph: GraphBuilder, logits: str) -> str:
        """The same as graph nodes; returns the name of a float32 [N, 1]."""
        ...


class Margin:
    """By how much the second best logit exceeds the best: never above 0."""

    def __call__(self, logits: NDArray[np.float32]) -> NDArray[np.float64]:
        """See `Undecided`."""
        second, best = np.partition(logits.astype(np.float64), -2, axis=1)[:, -2:].T
        excess: NDArray[np.float64] = second - best
        return excess

    def emit(self, graph: GraphBuilder, logits: str) -> str:
        """See `Undecided`."""
        two, _ = graph.nodes("TopK", 2, logits, graph.constant(np.array([2], np.int64)), axis=1)
        return graph.node("MatMul", two, graph.constant(np.array([[-1.0], [1.0]], np.float32)))


class Energy:
    """The free energy (Liu et al., "Energy-based out-of-distribution detection", NeurIPS 2020, equation 4)."""

    def __call__(self, logits: NDArray[np.float32]) -> NDArray[np.float64]:
        """See `Undecided`."""
        wide = logits.astype(np.float64)
        best = wide.max(axis=1)
        energy: NDArray[np.float64] = -(np.log(np.exp(wide - best[:, None]).sum(axis=1)) + best)
        return energy

    def emit(self, graph: GraphBuilder, logits: str) -> str:
        """See `Undecided`."""
        return graph.node("Neg", graph.reduce("ReduceLogSumExp", logits, [1], keepdims=True))


class Odds:
    """The logarithm of the odds, by the model's own probabilities, that another class than the best is right.

    It ranks frames as the largest probability does (Hendrycks and Gimpel, "A baseline for detecting misclassified
    and out-of-distribution examples", ICLR 2017), but float32 can tell a sure frame from a surer one.
    """

    def __call__(self, logits: NDArray[np.float32]) -> NDArray[np.float64]:
        """See `Undecided`."""
        ordered = np.sort(logits.astype(np.float64), axis=1)
        others, best, second = ordered[:, :-1], ordered[:, -1], ordered[:, -2]
        odds: NDArray[np.float64] = np.log(np.exp(others - second[:, None]).sum(axis=1)) + second - best
        return odds

    def emit(self, graph: GraphBuilder, logits: str) -> str:
        """See `Undecided`."""
        count = graph.node("Gather", graph.node("Shape", logits), graph.constant(np.array([1], np.int64)))
        ordered, _ = graph.nodes("TopK", 2, logits, count, axis=1)
        nought, one, end = (graph.constant(np.array([place], np.int64)) for place in (0, 1, np.iinfo(np.int64).max))
        best = graph.node("Slice", ordered, nought, one, one)
        others = graph.node("Slice", ordered, one, end, one)
        return graph.node("Sub", graph.reduce("ReduceLogSumExp", others, [1], keepdims=True), best)
