"""Distance to the decision boundaries: how near a frame's last layer is to being another class.

Liu and Qin, "Fast decision boundary based out-of-distribution detector", ICML 2024: the distance from the boundary
between the predicted class and another is the difference of their logits over the length of that of their weights; the
mean over all other classes, divided by the distance from the mean of the inliers (the paper's regDistDB), is smaller
for outliers, so the score is its negative. The head is the one that `driftprint_export.methods.head` finds.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from driftprint_export.builder import GraphBuilder
from driftprint_export.methods.base import Responses, Tensors
from driftprint_export.methods.head import fit_head
from driftprint_export.methods.logits import needed
from driftprint_export.methods.precision import smallest_deviation

SMALLEST_WEIGHT = 1e-3
"""Of a pair of classes' difference of weights, as a share of the largest: classes as alike have no boundary."""


class Fdbd:
    """The method ``fdbd``."""

    name: ClassVar[str] = "fdbd"
    last_layer_only: ClassVar[bool] = True
    needs_logits: ClassVar[bool] = True
    needs_moments: ClassVar[bool] = False

    def fit(self, responses: Responses) -> FittedFdbd:
        """The boundaries in the last layer; see `Method.fit`."""
        logits = needed(responses.logits, self.name)
        x = responses.features[-1].astype(np.float64)
        lengths = weight_differences(fit_head(responses.features[-1], logits).weights)
        alike = lengths <= SMALLEST_WEIGHT * lengths.max()
        others = max(logits.shape[1] - 1, 1)
        factors = np.where(alike, 0, 1 / np.where(alike, 1, lengths)) / others
        nearest = smallest_deviation(x) * float(np.sqrt(x.shape[1]))
        return FittedFdbd(x.mean(axis=0), factors, nearest)


@dataclass(frozen=True)
class FittedFdbd:
    """The boundaries; see `FittedMethod`.

    Attributes:
        mean: of the inliers, [C].
        factors: by what a difference of logits becomes its part of the mean distance, [K, K].
        nearest: the least distance from the mean.
        class_conditional: see `FittedMethod`.
    """

    mean: NDArray[np.float64]
    factors: NDArray[np.float64]
    nearest: float
    class_conditional: bool = False

    def score(self, responses: Responses) -> NDArray[np.float64]:
        """See `FittedMethod.score`; [N, 1], not positive."""
        logits = needed(responses.logits, Fdbd.name).astype(np.float64)
        leads = logits.max(axis=1, keepdims=True) - logits
        distance = (leads * self.factors[logits.argmax(axis=1)]).sum(axis=1, keepdims=True)
        from_mean = np.linalg.norm(responses.features[-1] - self.mean, axis=1, keepdims=True)
        score: NDArray[np.float64] = -distance / np.maximum(from_mean, self.nearest)
        return score

    def emit(self, graph: GraphBuilder, tensors: Tensors) -> list[str]:
        """See `FittedMethod.emit`."""
        logits, predicted = needed(tensors.logits, Fdbd.name), needed(tensors.predicted, Fdbd.name)
        behind = graph.node("Sub", logits, graph.reduce("ReduceMax", logits, [1], keepdims=True))
        factors = graph.node("Gather", graph.constant(self.factors.astype(np.float32)), predicted)
        distance = graph.reduce("ReduceSum", graph.node("Mul", behind, factors), [1], keepdims=True)
        centred = graph.node("Sub", tensors.features[-1], graph.constant(self.mean.astype(np.float32)))
        from_mean = graph.node(
            "Max",
            graph.reduce("ReduceL2", centred, [1], keepdims=True),
            graph.constant(np.asarray([self.nearest], np.float32)),
        )
        return [graph.node("Div", distance, from_mean)]


def weight_differences(weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """How far apart the weights [C, K] of any two classes are: [K, K]."""
    return np.stack([np.linalg.norm(weights - column[:, None], axis=0) for column in weights.T])
