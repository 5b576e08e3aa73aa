"""Conformal p-values against a calibration set, and what finite calibration costs."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence

from driftprint.stats.beta import beta_quantile


class Calibration:
    """The calibration set's scores, to which a new score is compared.

    For a frame exchangeable with the calibration set ``P(p <= alpha) <= alpha``, whatever the scores'
    distribution (Vovk, Gammerman, Shafer, *Algorithmic Learning in a Random World*, 2005, section 2.2).

    Args:
        scores: the calibration set's scores, in any order; higher is more outlying.

    Raises:
        ValueError: without scores.

    >>> calibration = Calibration([0.1, 0.2, 0.3, 0.4])
    >>> calibration.p_value(0.25), calibration.p_value(9.0)
    (0.6, 0.2)
    """

    def __init__(self, scores: Sequence[float]) -> None:
        if not scores:
            raise ValueError("a calibration set needs at least one score")
        self._sorted = sorted(scores)

    def __len__(self) -> int:
        return len(self._sorted)

    def p_value(self, score: float) -> float:
        """The share of the calibration set, the frame itself included, that scores at least as high.

        Returns:
            ``(1 + #{s_i >= score}) / (n + 1)``, in (0, 1].
        """
        n = len(self._sorted)
        return (1 + n - bisect_left(self._sorted, score)) / (n + 1)


def smallest_alpha(n: int) -> float:
    """The smallest p-value that `n` calibration scores can give: ``1 / (n + 1)``."""
    return 1 / (n + 1)


def outlier_rank(n: int, alpha: float) -> int:
    """How many of `n` calibration scores and a new one may score highest for it to get ``p <= alpha``: ``k`` below."""
    return int(alpha * (n + 1) + 1e-9)


def outlier_bound(n: int, alpha: float, confidence: float = 0.99) -> float:
    """Upper bound on the probability that an inlier gets ``p <= alpha``, given *this* calibration set.

    Over draws of the calibration set that probability follows ``Beta(k, n + 1 - k)`` with
    ``k = floor(alpha (n + 1))`` (Vovk, *Conditional validity of inductive conformal predictors*,
    ACML 2012, proposition 2a). Averaged over calibration sets it is at most alpha; for the one set a
    device has, only this bound holds.

    Args:
        n: how many calibration scores.
        alpha: the p-value at and under which a frame is an outlier, in (0, 1).
        confidence: how sure the bound is, in (0, 1).

    Raises:
        ValueError: where `n` scores are too few for `alpha` (``k`` would be 0).

    >>> [round(outlier_bound(n, 0.05), 4) for n in (1000, 5000, 10000)]
    [0.0673, 0.0574, 0.0552]
    """
    k = outlier_rank(n, alpha)
    if k < 1:
        needed = int(1 / alpha - 1e-9)
        raise ValueError(f"{n} calibration scores cannot tell a p-value of {alpha}: at least {needed} are needed")
    return beta_quantile(confidence, k, n + 1 - k)
