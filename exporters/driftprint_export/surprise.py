"""Makes scores of several kinds comparable: each becomes the surprise of meeting it among inliers.

The surprise is ``-log P(S >= s)``, learnt on inliers that nothing was fitted on; beyond the largest of them it
grows on along the slope of the last part.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from driftprint_export.builder import GraphBuilder

KNOTS = 16
LARGEST_SCORE = 1e6
"""What lies beyond, infinity too, is cut off here; likewise below its negative."""

_TAIL = 0.1
"""The share of inliers whose scores give the slope of the tail."""


@dataclass(frozen=True)
class Surprise:
    """For each layer a rising, piecewise linear curve from score to surprise, as a sum of ramps.

    Attributes:
        knots: [L, J], where each ramp starts.
        slopes: [L, J], by how much each ramp changes the curve's slope.
    """

    knots: NDArray[np.float64]
    slopes: NDArray[np.float64]

    def __call__(self, scores: NDArray[np.float64]) -> NDArray[np.float64]:
        """The surprise of scores [N, L]: [N, L], not negative."""
        clipped = np.clip(scores, -LARGEST_SCORE, LARGEST_SCORE)
        ramps: NDArray[np.float64] = np.maximum(clipped[:, :, None] - self.knots, 0)
        surprises: NDArray[np.float64] = np.einsum("nlj,lj->nl", ramps, self.slopes)
        return surprises

    def emit(self, graph: GraphBuilder, scores: Sequence[str]) -> str:
        """The same as graph nodes.

        Args:
            graph: where to add them.
            scores: for each layer the name of a float32 [N, 1].

        Returns:
            The name of the surprises, [N, L].
        """
        layers, ramps = self.knots.shape
        # All ramps of all layers side by side, [N, L * J]: a product with noughts and ones sets them out, a
        # product with the slopes sums them up again. Runtimes do that in two kernels.
        spread = np.kron(np.eye(layers), np.ones((1, ramps)))
        slopes = np.kron(np.eye(layers), np.ones((ramps, 1))) * self.slopes.reshape(-1, 1)
        joined = graph.node("Concat", *scores, axis=1) if layers > 1 else scores[0]
        clipped = graph.node(
            "Clip", joined, *(graph.constant(np.float32(limit)) for limit in (-LARGEST_SCORE, LARGEST_SCORE))
        )
        starts = [graph.constant(array.astype(np.float32)) for array in (spread, -self.knots.reshape(-1))]
        return graph.node(
            "MatMul",
            graph.node("Relu", graph.node("Gemm", clipped, *starts)),
            graph.constant(slopes.astype(np.float32)),
        )


def fit_surprise(scores: NDArray[np.float64]) -> Surprise:
    """Learn each layer's curve.

    Args:
        scores: of inliers that the method was not fitted on, [N, L].
    """
    curves = [_curve(layer) for layer in np.clip(scores, -LARGEST_SCORE, LARGEST_SCORE).T]
    return Surprise(np.stack([knots for knots, _ in curves]), np.stack([slopes for _, slopes in curves]))


def _curve(scores: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Knots and slope changes, `KNOTS` of each."""
    n = len(scores)
    ordered = np.sort(scores)
    # Evenly in the surprise, so that the tail, where decisions fall, is drawn as finely as the bulk.
    wanted = np.linspace(0, np.log(max(2.0, n * _TAIL)), KNOTS)
    knots = np.quantile(ordered, 1 - np.exp(-wanted))
    spread = max(float(np.ptp(ordered)), abs(float(ordered[-1])), 1e-6)
    knots = np.maximum.accumulate(knots + np.arange(KNOTS) * spread * 1e-6)  # ties would make steps
    surprise = -np.log((1 + n - np.searchsorted(ordered, knots, side="left")) / (n + 1))
    surprise = np.maximum.accumulate(surprise)
    rises = np.diff(surprise) / np.diff(knots)
    slopes = np.concatenate([rises, [_tail_slope(ordered, spread)]])
    return knots, np.diff(slopes, prepend=0.0)


def _tail_slope(ordered: NDArray[np.float64], spread: float) -> float:
    """One over the mean excess: the slope of an exponential tail."""
    count = max(2, int(len(ordered) * _TAIL))
    tail = ordered[-count:]
    return 1 / max(float((tail - tail[0]).mean()), spread * 1e-3)
