"""Nearest neighbour: how far a frame's direction in a layer is from the nearest of those kept of the inliers.

Sun et al., "Out-of-distribution detection with deep nearest neighbors", ICML 2022, section 3: Euclidean distance
between vectors of length 1. A device cannot keep all inliers, so a coreset stands for them, as in Roth et al.,
"Towards total recall in industrial anomaly detection", CVPR 2022, section 3.2; its points are drawn with a
probability that grows with the squared distance from those already drawn (Arthur and Vassilvitskii, "k-means++: the
advantages of careful seeding", SODA 2007, section 2.2), as the farthest ones, which the latter paper takes, are the
odd inliers first. The points lie apart already, so it is the first neighbour that counts, not the k-th.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from driftprint_export.builder import GraphBuilder
from driftprint_export.methods.base import Responses
from driftprint_export.methods.layerwise import Layerwise
from driftprint_export.methods.precision import smallest_deviation

MOST_POINTS = 256


@dataclass(frozen=True)
class LayerCoreset:
    """One layer's coreset.

    Attributes:
        points: [M, C], of length 1.
        shortest: vectors are divided by this where they are shorter.
    """

    points: NDArray[np.float64]
    shortest: float

    def score(self, features: NDArray[np.float32]) -> NDArray[np.float64]:
        """The distance from the nearest point, 0 to 2: [N]."""
        vectors = directions(features, self.shortest)
        nearest = self.points[self._closeness(vectors).argmax(axis=1)]
        distance: NDArray[np.float64] = np.linalg.norm(vectors - nearest, axis=1)
        return distance

    def emit(self, graph: GraphBuilder, feature: str) -> str:
        """The same as graph nodes; returns the name of a float32 [N, 1]."""
        length = graph.reduce("ReduceL2", feature, [1], keepdims=True)
        vectors = graph.node(
            "Div", feature, graph.node("Max", length, graph.constant(np.asarray([self.shortest], np.float32)))
        )
        # Products find the nearest point, but its distance is taken from the point itself: among like vectors,
        # 2 - 2ab would be rounding alone.
        constants = [graph.constant(array.astype(np.float32)) for array in self._linear()]
        nearest = graph.node("ArgMax", graph.node("Gemm", vectors, *constants), axis=1, keepdims=0)
        point = graph.node("Gather", graph.constant(self.points.astype(np.float32)), nearest)
        return graph.reduce("ReduceL2", graph.node("Sub", vectors, point), [1], keepdims=True)

    def _closeness(self, vectors: NDArray[np.float64]) -> NDArray[np.float64]:
        """Falls as the squared distance from each point grows: [N, M]."""
        slopes, offsets = self._linear()
        closeness: NDArray[np.float64] = vectors @ slopes + offsets
        return closeness

    def _linear(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """The closeness as a linear map, [C, M] and [M]; from the points' mean, which float32 tells them apart by."""
        mean = self.points.mean(axis=0)
        centred = self.points - mean
        return centred.T, -np.square(centred).sum(axis=1) / 2 - centred @ mean


class Knn:
    """The method ``knn``.

    Args:
        seed: of the draw.
    """

    name: ClassVar[str] = "knn"
    last_layer_only: ClassVar[bool] = False
    needs_logits: ClassVar[bool] = False
    needs_moments: ClassVar[bool] = False

    def __init__(self, *, seed: int = 0) -> None:
        self._seed = seed

    def fit(self, responses: Responses) -> Layerwise:
        """One coreset a layer; see `Method.fit`."""
        random = np.random.default_rng(self._seed)
        return Layerwise([fit_coreset(layer, random) for layer in responses.features])


def fit_coreset(features: NDArray[np.float32], random: np.random.Generator) -> LayerCoreset:
    """Draw at most `MOST_POINTS` vectors of one layer, [N, C]."""
    shortest = smallest_deviation(features) * float(np.sqrt(features.shape[1]))
    vectors = directions(features, shortest)
    chosen = [int(random.integers(len(vectors)))]
    distances = np.full(len(vectors), np.inf)
    while len(chosen) < MOST_POINTS:
        distances = np.minimum(distances, np.square(vectors - vectors[chosen[-1]]).sum(axis=1))
        total = distances.sum()
        if total <= 0:  # every inlier is among the points
            break
        chosen.append(int(random.choice(len(vectors), p=distances / total)))
    return LayerCoreset(vectors[chosen], shortest)


def directions(features: NDArray[np.float32], shortest: float) -> NDArray[np.float64]:
    """Vectors [N, C] divided by their lengths, or by `shortest` where that is more."""
    x = features.astype(np.float64)
    unit: NDArray[np.float64] = x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), shortest)
    return unit
