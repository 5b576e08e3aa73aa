"""Tells inliers from changed inliers along one direction: a logistic regression with a ridge."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from driftprint_export.methods.gaussian import shrunk_eigen

RIDGE = 0.1
"""Weight of the squared coefficients, on standardised coordinates."""

LARGEST_DEVIATION = 8.0
"""Of a coordinate in standard deviations, while learning: one odd frame must not decide the direction."""

MOST_DIRECTIONS = 64
"""Of a layer: those in which inliers vary most. More would be learnt badly from some thousand frames."""

SMALLEST_SHARE = 1e-3
"""Of a direction's variance in the largest one's: where inliers vary less, half precision and integers only round."""

_STEPS = 50
Matrix = NDArray[np.float64]


@dataclass(frozen=True)
class Coordinates:
    """Standardised coordinates of rows.

    Attributes:
        centre: [C], the inliers' mean.
        axes: [C, D]; makes D numbers of about unit variance of centred rows.
    """

    centre: Matrix
    axes: Matrix

    def __call__(self, rows: Matrix) -> Matrix:
        """[N, C] to [N, D]."""
        coordinates: Matrix = (rows - self.centre) @ self.axes
        return coordinates


def principal(rows: Matrix) -> Coordinates:
    """The leading principal directions of inliers, [N, C], at most `MOST_DIRECTIONS` of them."""
    centre = rows.mean(axis=0)
    variances, directions = shrunk_eigen(rows - centre)
    kept = slice(0, MOST_DIRECTIONS)
    floor = max(float(variances[0]) * SMALLEST_SHARE, 1e-12)
    return Coordinates(centre, directions[:, kept] / np.sqrt(np.maximum(variances[kept], floor)))


def standardised(rows: Matrix, scale: Matrix) -> Coordinates:
    """Each number of inliers, [N, C], by itself, in units of `scale`, [C]."""
    return Coordinates(rows.mean(axis=0), np.diag(1 / scale))


def separate(inliers: Matrix, changed: Sequence[Matrix]) -> Matrix:
    """The direction from inliers towards changed inliers, by Newton's method.

    Every kind of change weighs the same, and all of them together as much as the inliers.

    Args:
        inliers: [N, D], standardised.
        changed: for each kind of change [M, D], standardised likewise.

    Returns:
        [D].
    """
    x = np.clip(np.concatenate([inliers, *changed]), -LARGEST_DEVIATION, LARGEST_DEVIATION)
    x = np.concatenate([x, np.ones((len(x), 1))], axis=1)
    is_changed = np.arange(len(x)) >= len(inliers)
    weight = np.concatenate(
        [np.full(len(inliers), 0.5 / len(inliers)), *(np.full(len(c), 0.5 / len(c) / len(changed)) for c in changed)]
    )
    ridge = 2 * RIDGE * np.diag([1.0] * inliers.shape[1] + [1e-6])
    beta = np.zeros(x.shape[1])
    for _ in range(_STEPS):
        share = 1 / (1 + np.exp(-np.clip(x @ beta, -50, 50)))
        gradient = x.T @ (weight * (share - is_changed)) + ridge @ beta
        curvature = (x.T * (weight * np.maximum(share * (1 - share), 1e-6))) @ x + ridge
        step = np.linalg.solve(curvature, gradient)
        beta -= step * min(1.0, 5.0 / max(float(np.abs(step).max()), 1e-12))
        if np.abs(step).max() < 1e-4:
            break
    return beta[:-1]


def separate_out_of_fold(inliers: Matrix, changed: Sequence[Matrix]) -> Matrix:
    """Where inliers lie along directions that were learnt without them: [N].

    Learnt on one half and read on the other, and the other way round.
    """
    positions = np.empty(len(inliers))
    for half in (0, 1):
        direction = separate(inliers[half::2], changed)
        positions[1 - half :: 2] = inliers[1 - half :: 2] @ direction
    return positions
