"""The model's head, the linear map from its last layer to the logits, as the inliers show it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from driftprint_export.methods.precision import smallest_deviation


@dataclass(frozen=True)
class Head:
    """``logits = features @ weights + bias``.

    Attributes:
        weights: [C, K].
        bias: [K].
    """

    weights: NDArray[np.float64]
    bias: NDArray[np.float64]


def fit_head(features: NDArray[np.float32], logits: NDArray[np.float32]) -> Head:
    """The least squares solution, of several the one with the smallest weights.

    It is the head itself where that is linear in the pooled layer, up to directions in which no inlier moves.

    Args:
        features: the last layer, [N, C].
        logits: [N, K].
    """
    x, y = features.astype(np.float64), logits.astype(np.float64)
    centred = x - x.mean(axis=0)
    # By the normal equations: an eigendecomposition of [C, C] is cheaper than one of [N, C], and the directions
    # that these would lose are dropped as rounding anyway.
    values, vectors = np.linalg.eigh(centred.T @ centred / len(x))
    moving = values > smallest_deviation(x) ** 2
    basis, variances = vectors[:, moving], values[moving]
    weights = basis @ ((centred @ basis).T @ y / len(x) / variances[:, None])
    return Head(weights, y.mean(axis=0) - x.mean(axis=0) @ weights)
