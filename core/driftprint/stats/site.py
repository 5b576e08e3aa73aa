"""What inliers are like at one site: how often they are outliers there, and how far apart frames say something new."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from driftprint.errors import DataError
from driftprint.stats.beta import ratio_bound
from driftprint.stats.class_mix import ClassMix, learn_mix

MOST_CORRELATION = 0.1
"""Of the ranks of two frames' scores that may count as independent."""

FEWEST_DECISIONS = 100
"""With fewer the bound on the outlier ratio would be far above the ratio."""

MOST_STRETCHES, FEWEST_IN_STRETCH = 24, 200
"""Footage is looked at in so many stretches at most, of so many decisions at least: a day, hour by hour."""

ALIKE = 2.326
"""Stretches count as alike up to this quantile of a normal distribution: 99 % of those that are do."""

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
    """The outlier ratio that inliers stay under at this site, with 99 % confidence, at its worst time."""
    mix: ClassMix | None = None
    """How often each class was predicted; None for models without classes, and where that was too little to tell."""


def learn_baseline(
    scores: Sequence[float],
    outliers: Sequence[bool],
    predicted: Sequence[str | None] = (),
    *,
    bundle: str,
    recorded_at: float,
) -> SiteBaseline:
    """Learn from a site's own footage, which must show nothing but what is normal there.

    Args:
        scores: of its frames in order.
        outliers: whether each is one.
        predicted: the class of each; None, or nothing at all, for models without classes.
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
    p0 = worst_ratio_bound(decided)
    if p0 > MOST_P0:
        raise DataError(
            f"{k / n:.0%} of the frames are outliers: this is not what the model was trained for",
            fix="export the bundle with inliers of this site",
        )
    classes = [name for name in predicted if name is not None]
    return SiteBaseline(
        bundle=bundle,
        recorded_at=recorded_at,
        frames=len(scores),
        outliers=k,
        decisions=n,
        stride=stride,
        p0=p0,
        mix=learn_mix(classes, fewest=FEWEST_DECISIONS, most_correlation=MOST_CORRELATION) if classes else None,
    )


def worst_ratio_bound(outliers: Sequence[bool]) -> float:
    """The upper bound of the outlier ratio, at the time when it is highest.

    The detector's guarantee is for the probability at every time. Where that changes, as with the light of the hour,
    the ratio of the whole is no bound: then the stretches are bounded one by one (by Bonferroni's inequality), and the
    highest counts. Whether it changes is asked by Pearson's chi-squared test of homogeneity.

    Args:
        outliers: of frames that do not depend on each other, in order.
    """
    n = len(outliers)
    count = min(MOST_STRETCHES, n // FEWEST_IN_STRETCH)
    whole = ratio_bound(sum(outliers), n, CONFIDENCE)
    if count < 2:
        return whole
    stretches = np.array_split(np.asarray(outliers, dtype=np.bool_), count)
    hits = np.array([stretch.sum() for stretch in stretches])
    sizes = np.array([len(stretch) for stretch in stretches])
    ratio = hits.sum() / n
    if ratio in (0, 1):
        return whole
    statistic = float((np.square(hits - sizes * ratio) / (sizes * ratio * (1 - ratio))).sum())
    freedom = count - 1
    # Wilson and Hilferty's approximation of the distribution's quantile (PNAS 17, 1931).
    limit = freedom * (1 - 2 / (9 * freedom) + ALIKE * np.sqrt(2 / (9 * freedom))) ** 3
    if statistic <= limit:
        return whole
    unsure = (1 - CONFIDENCE) / count
    return max(ratio_bound(int(k), int(m), 1 - unsure) for k, m in zip(hits, sizes, strict=True))


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
