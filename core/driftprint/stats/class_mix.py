"""Which classes a model predicts at a site, how often, and when that has changed."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from driftprint.stats.beta import ratio_bound
from driftprint.stats.edetector import EDetector, EDetectorState, log_mean_exp

MOST_CLASSES = 12
"""That are watched each by itself, the most frequent ones; all others count as one."""

OTHERS = ""
"""Stands for all of those."""

CONFIDENCE = 0.99
"""That all bounds of a mix hold at once."""

MORE, FEWER = (0.1, 0.3, 0.7), (0.5, 0.1)
"""Shares that are watched for: so far from the upper bound towards 1, and so many times the lower bound."""

LEAST_LOWER_BOUND = 0.02
"""A class that is rarer may stay away without anybody noticing."""


class ClassMix(BaseModel):
    """How often each class was predicted, on frames that say something new."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    counts: dict[str, int]
    stride: int
    """Every so manieth frame was counted: the classes of nearer ones depend on each other."""

    @property
    def total(self) -> int:
        """Frames counted."""
        return sum(self.counts.values())

    def share(self, name: str) -> float:
        """Of a class, or of `OTHERS`."""
        return self.pooled()[name] / self.total

    def pooled(self) -> dict[str, int]:
        """The counts of the classes that are watched by themselves, the most frequent first, and of `OTHERS`."""
        known = dict(Counter(self.counts).most_common(MOST_CLASSES))
        return {**known, OTHERS: self.total - sum(known.values())}


class MixState(BaseModel):
    """What a `MixDetector` must remember across a restart."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    detectors: dict[str, EDetectorState]


class MixDetector:
    """Gathers evidence that some class is predicted more often, or less often, than it was.

    Each class's share has a lower and an upper bound (Clopper and Pearson, Biometrika 26, 1934, by Bonferroni's
    inequality for all of them at once); an `EDetector` tests each. Their mean is an e-detector again: while all shares
    stay within their bounds, the mean run length to a false alarm is at least `threshold`.

    Args:
        mix: what was normal.
        threshold: the guaranteed mean run length to a false alarm, in predictions; > 1.

    >>> detector = MixDetector(ClassMix(counts={"nut": 500, "bolt": 400, "washer": 100}, stride=1), threshold=10_000)
    >>> for _ in range(60):
    ...     detector.update("washer")
    >>> detector.declared, detector.most_changed
    (True, 'washer')
    """

    def __init__(self, mix: ClassMix, *, threshold: float) -> None:
        pooled = mix.pooled()
        unsure = (1 - CONFIDENCE) / (2 * len(pooled))
        self._log_threshold = math.log(threshold)
        self._classes = frozenset(pooled) - {OTHERS}
        self._detectors: dict[tuple[str, str], EDetector] = {}
        for name, count in pooled.items():
            upper = ratio_bound(count, mix.total, 1 - unsure)
            lower = 1 - ratio_bound(mix.total - count, mix.total, 1 - unsure)
            if upper < 1:
                above = [upper + share * (1 - upper) for share in MORE]
                self._detectors[name, "more"] = EDetector(null=upper, alternatives=above, threshold=threshold)
            if lower >= LEAST_LOWER_BOUND:
                below = [share * lower for share in FEWER]
                self._detectors[name, "fewer"] = EDetector(null=lower, alternatives=below, threshold=threshold)

    def update(self, predicted: str) -> None:
        """Take one more prediction into account."""
        pooled = predicted if predicted in self._classes else OTHERS
        for (name, _), detector in self._detectors.items():
            detector.update(name == pooled)

    @property
    def log_evidence(self) -> float:
        """Log of the mean of all detectors' evidence; minus infinity before the first prediction."""
        return log_mean_exp([detector.log_evidence for detector in self._detectors.values()])

    @property
    def relative_evidence(self) -> float:
        """Log evidence over the log of the threshold, floored at 0: from 1 on it is declared."""
        return max(0.0, self.log_evidence) / self._log_threshold

    @property
    def declared(self) -> bool:
        """Whether the evidence has reached the threshold."""
        return self.log_evidence >= self._log_threshold

    @property
    def most_changed(self) -> str:
        """The class against whose former share there is the most evidence, or `OTHERS`."""
        return max(self._detectors, key=lambda key: self._detectors[key].log_evidence)[0]

    def reset(self) -> None:
        """Forget all evidence."""
        for detector in self._detectors.values():
            detector.reset()

    def save(self) -> MixState:
        """What must be kept to go on after a restart."""
        return MixState(detectors={f"{side} {name}": d.save() for (name, side), d in self._detectors.items()})

    def load(self, state: MixState) -> None:
        """Go on from a saved state; what it has no word of starts anew."""
        for (name, side), detector in self._detectors.items():
            if saved := state.detectors.get(f"{side} {name}"):
                detector.load(saved)


def learn_mix(predicted: Sequence[str], *, fewest: int, most_correlation: float) -> ClassMix | None:
    """The mix of a stretch of footage; None where it is too short to tell.

    Args:
        predicted: the class of each frame, in order.
        fewest: how many frames that say something new there must be.
        most_correlation: of the classes of two frames that may count as independent.
    """
    names, codes = np.unique(np.asarray(predicted, dtype=np.str_), return_inverse=True)
    stride = 1
    while 2 * stride < len(codes):
        if _agreement(codes, stride) < most_correlation + 2 / math.sqrt(len(codes) - stride):
            break
        stride *= 2
    counts = np.bincount(codes[::stride], minlength=len(names))
    if counts.sum() < fewest:
        return None
    return ClassMix(counts={str(name): int(count) for name, count in zip(names, counts, strict=True)}, stride=stride)


def _agreement(codes: NDArray[np.intp], lag: int) -> float:
    """How much oftener frames so far apart are of one class than by chance (Cohen's kappa, of a series with itself)."""
    shares = np.bincount(codes) / len(codes)
    by_chance = float(np.square(shares).sum())
    if by_chance == 1:
        return 0.0
    return (float((codes[:-lag] == codes[lag:]).mean()) - by_chance) / (1 - by_chance)
