"""Gram deviations: how far a frame's second moments lie outside the range that inliers of its class span.

After Sastry and Oore, "Detecting out-of-distribution examples with Gram matrices", ICML 2020: a value below the range
deviates by (low - value) / abs(low), one above it likewise; a layer's deviations are summed and divided by their
expectation. Of the Gram matrices only the diagonal of order 1 is taken, each channel's mean square over the map, and
beside it the channel's mean: the whole matrices of all orders are products of maps, that cost a device as much as the
model's own layers do, while the diagonal is one more pooling. The range is between robust quantiles instead of the
smallest and largest value, so that a single odd inlier does not widen it, and the expected deviation can be had from
the same inliers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from driftprint_export.builder import GraphBuilder
from driftprint_export.methods.base import Classes, Features, Responses, Tensors
from driftprint_export.methods.gaussian import FEWEST_OF_CLASS
from driftprint_export.methods.precision import smallest_deviation

OUTSIDE = 0.01
"""The share of inliers beyond either bound."""

SMALLEST_EXPECTED = 1e-3
"""Of a statistic's expected deviation: layers that never change have none."""


@dataclass(frozen=True)
class LayerRanges:
    """One layer's ranges of S statistics.

    Attributes:
        low: the lower bounds, [K, S]; K is 1 without classes.
        high: the upper ones, [K, S].
        smallest: the least magnitude that a deviation is put in relation to, [S].
        expected: the mean of the summed deviations of inliers.
    """

    low: NDArray[np.float64]
    high: NDArray[np.float64]
    smallest: NDArray[np.float64]
    expected: float

    def score(self, statistics: NDArray[np.float64], classes: Classes | None) -> NDArray[np.float64]:
        """The summed deviations, 1 in the mean of inliers: [N]."""
        row = 0 if classes is None else classes.index
        low, high = self.low[row], self.high[row]
        below = np.maximum(low - statistics, 0) / np.maximum(np.abs(low), self.smallest)
        above = np.maximum(statistics - high, 0) / np.maximum(np.abs(high), self.smallest)
        score: NDArray[np.float64] = (below + above).sum(axis=1) / self.expected
        return score

    def emit(self, graph: GraphBuilder, feature: str, moment: str, predicted: str | None) -> str:
        """The same as graph nodes; returns the name of a float32 [N, 1]."""
        statistics = graph.node("Concat", feature, moment, axis=1)
        smallest = graph.constant(self.smallest.astype(np.float32))
        deviations = []
        for table, inwards in ((self.low, True), (self.high, False)):
            bound = graph.constant(table.astype(np.float32))
            if predicted is not None:
                bound = graph.node("Gather", bound, predicted)
            outside = graph.node("Sub", *((bound, statistics) if inwards else (statistics, bound)))
            magnitude = graph.node("Max", graph.node("Abs", bound), smallest)
            deviations.append(graph.node("Div", graph.node("Relu", outside), magnitude))
        total = graph.reduce("ReduceSum", graph.node("Add", *deviations), [1], keepdims=True)
        return graph.node("Mul", total, graph.constant(np.float32(1 / self.expected)))


class Gram:
    """The method ``gram``."""

    name: ClassVar[str] = "gram"
    last_layer_only: ClassVar[bool] = False
    needs_logits: ClassVar[bool] = False
    needs_moments: ClassVar[bool] = True

    def fit(self, responses: Responses) -> FittedGram:
        """Ranges for each layer; see `Method.fit`."""
        classes = responses.classes
        pairs = zip(responses.features, _moments(responses), strict=True)
        return FittedGram([fit_ranges(feature, moment, classes) for feature, moment in pairs], classes is not None)


@dataclass(frozen=True)
class FittedGram:
    """Fitted ranges, one set a layer; see `FittedMethod`."""

    layers: Sequence[LayerRanges]
    class_conditional: bool

    def score(self, responses: Responses) -> NDArray[np.float64]:
        """See `FittedMethod.score`."""
        classes = responses.classes
        triples = zip(self.layers, responses.features, _moments(responses), strict=True)
        return np.stack([layer.score(_joined(x, squares), classes) for layer, x, squares in triples], axis=1)

    def emit(self, graph: GraphBuilder, tensors: Tensors) -> list[str]:
        """See `FittedMethod.emit`."""
        if tensors.moments is None:
            raise ValueError("gram needs the layers' moments")
        triples = zip(self.layers, tensors.features, tensors.moments, strict=True)
        return [layer.emit(graph, feature, moment, tensors.predicted) for layer, feature, moment in triples]


def fit_ranges(features: NDArray[np.float32], moments: NDArray[np.float32], classes: Classes | None) -> LayerRanges:
    """Fit one layer.

    Args:
        features: [N, C].
        moments: their squares' means, [N, C].
        classes: of N frames; None for one range over all. A class predicted for few frames has the range of all.
    """
    x = _joined(features, moments)
    groups = [x] if classes is None else [x[classes.index == k] for k in range(classes.count)]
    rows = [group if classes is None or len(group) >= FEWEST_OF_CLASS else None for group in groups]
    overall = _range(x)
    low, high = (np.stack(bounds) for bounds in zip(*(overall if r is None else _range(r) for r in rows), strict=True))
    # A bound of nought, such as a rectified channel's lower one, has no magnitude: the deviation stands in.
    rounding = np.repeat([smallest_deviation(features), smallest_deviation(moments)], features.shape[1])
    draft = LayerRanges(low, high, np.maximum(x.std(axis=0), rounding), 1.0)
    expected = max(float(draft.score(x, classes).mean()), SMALLEST_EXPECTED * x.shape[1])
    return LayerRanges(low, high, draft.smallest, expected)


def _range(x: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    low, high = np.quantile(x, [OUTSIDE, 1 - OUTSIDE], axis=0)
    return low, high


def _joined(features: NDArray[np.float32], moments: NDArray[np.float32]) -> NDArray[np.float64]:
    return np.concatenate([features, moments], axis=1).astype(np.float64)


def _moments(responses: Responses) -> Features:
    if responses.moments is None:
        raise ValueError("gram needs the layers' moments")
    return responses.moments
