"""What inliers are like at one site: how often they are outliers there, and how far apart frames say something new."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from driftprint.errors import DataError
from driftprint.stats.beta import beta_quantile

MOST_CORRELATION = 0.1
"""Of the ranks of two frames' scores that may count as independent."""

FEWEST_DECISIONS = 100
"""With fewer the bound on the outlier ratio would be far above the ratio."""

MOST_P0 = 0.5

CONFIDENCE = 0.99


class SiteBaseline(BaseModel):
    """What a stream's detector has learnt at its site, for one bundle."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    bundle: str
    """The bundle's id: another bundle's scores are others."""
    recorded_at: float
    """Unix time in seconds."""
    frames: int
    """Scored frames that it was learnt from."""
    outliers: int
    """Of the decisions among them."""
    decisions: int
    """Every `stride`-th frame."""
    stride: int
    """The detector takes every so manieth frame: nearer ones repeat each other."""
    p0: float
    """The outlier ratio that inliers stay under at this site, with 99 % confidence."""


def learn_baseline(
    scores: Sequence[float], outliers: Sequence[bool], *, bundle: str, recorded_at: float
) -> SiteBaseline:
    """Learn from a site's own footage, which must show nothing but what is normal there.

    Args:
        scores: of its frames in order.
        outliers: whether each is one.
        bundle: the bundle's id.
        recorded_at: Unix time in seconds.

    Raises:
        DataError: where the footage is too short, or most of it looks like outliers.
    """
    stride = decorrelated_stride(np.asarray(scores, dtype=np.float64))
    decided = list(outliers)[::stride]
    n, k = len(decided), sum(decided)
    if n < FEWEST_DECISIONS:
        raise DataError(
            f"{len(scores)} frames are too few, of which every {stride}th says something new",
            fix=f"calibrate for {max(2.0, FEWEST_DECISIONS / max(n, 1)):.0f} times as long",
        )
    p0 = outlier_ratio_bound(k, n)
    if p0 > MOST_P0:
        raise DataError(
            f"{k / n:.0%} of the frames are outliers: this is not what the model was trained for",
            fix="export the bundle with inliers of this site",
        )
    return SiteBaseline(
        bundle=bundle, recorded_at=recorded_at, frames=len(scores), outliers=k, decisions=n, stride=stride, p0=p0
    )


def outlier_ratio_bound(outliers: int, frames: int, confidence: float = CONFIDENCE) -> float:
    """The upper bound of a ratio that was counted (Clopper and Pearson, Biometrika 26, 1934).

    Args:
        outliers: how many.
        frames: of so many independent frames; > 0.
        confidence: how sure the bound is, in (0, 1).

    >>> round(outlier_ratio_bound(50, 1000), 4)
    0.0684
    """
    return 1.0 if outliers == frames else beta_quantile(confidence, outliers + 1, frames - outliers)


def decorrelated_stride(scores: NDArray[np.float64]) -> int:
    """How many frames apart scores hardly depend on each other: a power of two, 1 for independent frames.

    The correlation is that of ranks, since a few huge scores would hide all others. Chance gives a short series
    some, so two of its deviations are allowed.

    Args:
        scores: [N], in order.
    """
    if len(scores) < 2:
        return 1
    ranks = np.argsort(np.argsort(scores, kind="stable"), kind="stable").astype(np.float64)
    centred = ranks - ranks.mean()
    variance = float(np.square(centred).mean())
    stride = 1
    while 2 * stride < len(scores):
        pairs = len(scores) - stride
        correlation = float((centred[:-stride] * centred[stride:]).mean()) / variance
        if correlation < MOST_CORRELATION + 2 / np.sqrt(pairs):
            break
        stride *= 2
    return stride
