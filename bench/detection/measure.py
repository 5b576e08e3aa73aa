"""What a detector's scores are worth: threshold-free, and at a threshold that inliers alone have set."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel
from scipy import stats

from driftprint.stats.conformal import outlier_rank

KEPT = 0.95
"""The share of the calibration set below the threshold."""

Scores = NDArray[np.float64]


class Figures(BaseModel):
    """Of one detector on one kind of outlier."""

    auroc: float
    """The chance that an outlier scores higher than an inlier; ties count half."""
    fpr95: float
    """The share of outliers taken for inliers at the threshold that keeps 95 % of the test inliers."""
    inliers_kept: float
    """The share of test inliers under the threshold that keeps 95 % of the calibration set."""
    outliers_caught: float
    """The share of outliers above it."""


def measure(calibration: Scores, inliers: Scores, outliers: Scores) -> Figures:
    """Compare scores; higher is more outlying.

    Args:
        calibration: of inliers that set the threshold, [N].
        inliers: of other inliers, [M].
        outliers: [K].
    """
    threshold = float(np.quantile(calibration, KEPT))
    return Figures(
        auroc=auroc(inliers, outliers),
        fpr95=float((outliers <= np.quantile(inliers, KEPT)).mean()),
        inliers_kept=float((inliers <= threshold).mean()),
        outliers_caught=float((outliers > threshold).mean()),
    )


def resampled(calibration: Scores, inliers: Scores, alpha: float, rounds: int, random: np.random.Generator) -> Scores:
    """The share of inliers flagged at `alpha`, had chance made another calibration set of the same size: [rounds].

    Args:
        calibration: scores of inliers that nothing was fitted on.
        inliers: of more of them.
        alpha: frames with a p-value of at most this are flagged.
        rounds: how often to deal anew.
        random: deals.
    """
    pool, n = np.concatenate([calibration, inliers]), len(calibration)
    shares = np.empty(rounds)
    for i in range(rounds):
        dealt = random.permutation(pool)
        ordered = np.sort(dealt[:n])
        p_values = (1 + n - np.searchsorted(ordered, dealt[n:], side="left")) / (n + 1)
        shares[i] = (p_values <= alpha).mean()
    return shares


def most_flagged(calibrated: int, fresh: int, alpha: float, confidence: float = 0.99) -> float:
    """What `driftprint.stats.conformal.outlier_bound` becomes where the ratio is counted on few frames.

    The count follows a beta-binomial distribution: the bound's Beta, and the chance of counting.

    Args:
        calibrated: how many calibration scores.
        fresh: how many other inliers.
        alpha: frames with a p-value of at most this are flagged.
        confidence: how sure the bound is, in (0, 1).

    Returns:
        The share of the fresh inliers that are flagged at most.
    """
    k = outlier_rank(calibrated, alpha)
    return float(stats.betabinom.ppf(confidence, fresh, k, calibrated + 1 - k) / fresh)


def beyond_chance(flagged: int, frames: int, rate: float, confidence: float = 0.99) -> bool:
    """Whether so many of so many frames are flagged that their rate is above `rate`, not just by chance."""
    return bool(flagged > stats.binom.ppf(confidence, frames, rate))


def auroc(inliers: Scores, outliers: Scores) -> float:
    """The area under the ROC curve, by ranks (Hanley and McNeil, Radiology 143, 1982).

    >>> auroc(np.array([1.0, 2.0]), np.array([2.0, 3.0]))
    0.875
    """
    ordered = np.sort(inliers)
    below = np.searchsorted(ordered, outliers, side="left")
    not_above = np.searchsorted(ordered, outliers, side="right")
    return float(((below + not_above) / 2).mean() / len(inliers))


def roc(inliers: Scores, outliers: Scores, points: int = 200) -> tuple[Scores, Scores]:
    """The curve: the share of inliers flagged, and of outliers caught, for falling thresholds."""
    flagged = np.linspace(0, 1, points)
    thresholds = np.quantile(inliers, 1 - flagged)
    caught = np.array([(outliers > threshold).mean() for threshold in thresholds])
    return flagged, caught
