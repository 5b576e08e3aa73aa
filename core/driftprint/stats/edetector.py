"""A change detector whose false-alarm rate is guaranteed."""

from __future__ import annotations

import math
from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict


class EDetectorState(BaseModel):
    """What an `EDetector` must remember across a restart."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    log_m: tuple[float, ...]


class EDetector:
    """A mixture of Shiryaev-Roberts e-detectors for a Bernoulli rate (Shin, Ramdas, Rinaldo, arXiv 2203.03532).

    Sees one outcome after another and gathers evidence that the rate of hits has left its null. For each
    alternative rate ``q`` the likelihood ratio

        ``L_q = (q / null)^x  ((1 - q) / (1 - null))^(1 - x)``,  x = 1 for a hit,

    is an e-value for "the conditional probability of a hit is on the null's side", and
    ``M_q = (1 + M_q') L_q``. The evidence is the mean of ``M_q`` over the alternatives. Declared at
    ``evidence >= threshold``, the mean run length to a false alarm is at least `threshold` outcomes
    (definition 2.2 and proposition 2.3 there), with no assumption of independence.

    Args:
        null: the boundary of the null hypothesis, in (0, 1).
        alternatives: rates to watch for, all in (0, 1) and all on one side of `null`: above it, the null is
            "at most `null`"; below it, "at least `null`".
        threshold: the guaranteed mean run length to a false alarm, in outcomes; > 1.

    Raises:
        ValueError: for rates or a threshold outside these ranges.

    >>> detector = EDetector(null=0.06, alternatives=(0.2, 0.5, 0.95), threshold=10_000)
    >>> for _ in range(5):
    ...     detector.update(True)
    >>> detector.declared
    True
    """

    def __init__(self, *, null: float, alternatives: Sequence[float], threshold: float) -> None:
        rates = (null, *alternatives)
        if not alternatives or any(not 0.0 < rate < 1.0 for rate in rates):
            raise ValueError(f"rates must lie strictly between 0 and 1, and there must be alternatives: {rates}")
        if min(alternatives) <= null <= max(alternatives):
            raise ValueError(f"all alternatives must lie on one side of the null {null}: {tuple(alternatives)}")
        if not threshold > 1.0:
            raise ValueError(f"the threshold must be over 1, got {threshold}")
        self._log_hit = tuple(math.log(q / null) for q in alternatives)
        self._log_miss = tuple(math.log((1 - q) / (1 - null)) for q in alternatives)
        self._log_threshold = math.log(threshold)
        self._log_m = [-math.inf] * len(alternatives)

    def update(self, hit: bool) -> None:
        """Take one more outcome into account."""
        log_likelihood_ratios = self._log_hit if hit else self._log_miss
        self._log_m = [
            _log1p_exp(log_m) + log_l for log_m, log_l in zip(self._log_m, log_likelihood_ratios, strict=True)
        ]

    @property
    def log_evidence(self) -> float:
        """Log of the mean of ``M_q`` over the alternatives; minus infinity before the first outcome."""
        return log_mean_exp(self._log_m)

    @property
    def relative_evidence(self) -> float:
        """Log evidence over the log of the threshold, floored at 0: from 1 on it is declared."""
        return max(0.0, self.log_evidence) / self._log_threshold

    @property
    def declared(self) -> bool:
        """Whether the evidence has reached the threshold."""
        return self.log_evidence >= self._log_threshold

    def reset(self) -> None:
        """Forget all evidence."""
        self._log_m = [-math.inf] * len(self._log_m)

    def save(self) -> EDetectorState:
        """What must be kept to go on after a restart."""
        return EDetectorState(log_m=tuple(max(log_m, _LOWEST) for log_m in self._log_m))

    def load(self, state: EDetectorState) -> None:
        """Go on from a saved state; one of another grid is ignored and the evidence starts anew."""
        if len(state.log_m) == len(self._log_m) and all(math.isfinite(log_m) for log_m in state.log_m):
            self._log_m = list(state.log_m)


def log_mean_exp(logs: Sequence[float]) -> float:
    """``log(mean(exp(logs)))`` without overflow; minus infinity for no logs, and for logs of noughts."""
    top = max(logs, default=-math.inf)
    if top == -math.inf:
        return top
    return top + math.log(sum(math.exp(log - top) for log in logs) / len(logs))


_LOWEST = -1e6  # stands for minus infinity where JSON must carry it: exp of it is 0


def _log1p_exp(x: float) -> float:
    """``log(1 + exp(x))`` without overflow."""
    return x + math.log1p(math.exp(-x)) if x > 0 else math.log1p(math.exp(x))
