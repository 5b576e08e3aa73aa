"""Makes the predicted classes flag inliers alike: each class's scores are stretched to the common 95 % quantile.

Without it a class that the model knows less well would give most of the false alarms. A class-wise (Mondrian)
calibration does the same with one calibration set a class (Vovk, Gammerman, Shafer, *Algorithmic Learning in a
Random World*, 2005, section 4.5); a factor needs far fewer frames, and leaves one set that the device compares with.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from driftprint_export.builder import GraphBuilder
from driftprint_export.methods import Classes

QUANTILE = 0.95
"""Where classes are to agree: at the default alpha."""

_STEP = 0.04
"""How far to both sides of `QUANTILE` the slope there is taken from."""


@dataclass(frozen=True)
class Balance:
    """A factor a class.

    Attributes:
        factors: float64 [K], positive.
    """

    factors: NDArray[np.float64]

    def __call__(self, scores: NDArray[np.float64], classes: Classes) -> NDArray[np.float64]:
        """The balanced scores, [N]."""
        balanced: NDArray[np.float64] = scores * self.factors[classes.index]
        return balanced

    def emit(self, graph: GraphBuilder, score: str, predicted: str) -> str:
        """The same as graph nodes; returns the name of a float32 [N]."""
        factors = graph.constant(self.factors.astype(np.float32))
        return graph.node("Mul", score, graph.node("Gather", factors, predicted))


def fit_balance(scores: NDArray[np.float64], classes: Classes) -> Balance:
    """Learn the factors.

    A class's quantile is known only as well as its frames are many. As far as classes differ by no more than that,
    they are taken for alike (empirical Bayes; Efron and Morris, "Data analysis using Stein's estimator and its
    generalizations", J. American Statistical Association 70, 1975): stretching by chance would unbalance them.

    Args:
        scores: of held-out inliers, [N], not negative.
        classes: what the model predicts for them.
    """
    below, overall, above = np.quantile(scores, (QUANTILE - _STEP, QUANTILE, QUANTILE + _STEP))
    if below <= 0:
        return Balance(np.ones(classes.count))
    counts = np.bincount(classes.index, minlength=classes.count)
    of_classes = [np.quantile(scores[classes.index == k], QUANTILE) if n else 0.0 for k, n in enumerate(counts)]
    apart = np.log([quantile / overall if quantile > 0 else 1.0 for quantile in of_classes])
    slope = np.log(above / below) / (2 * _STEP)
    chance = np.square(slope) * QUANTILE * (1 - QUANTILE) / np.maximum(counts, 1)
    genuine = max(0.0, float(np.average(np.square(apart) - chance, weights=counts)))
    return Balance(np.exp(-apart * genuine / np.maximum(genuine + chance, 1e-12)))
