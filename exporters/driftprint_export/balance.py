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

PRIOR = 30
"""A class of so many frames is trusted half: the fewer there are, the more it is taken for an average one."""


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

    Args:
        scores: of held-out inliers, [N], not negative.
        classes: what the model predicts for them.
    """
    overall = float(np.quantile(scores, QUANTILE))
    factors = np.ones(classes.count)
    for k in range(classes.count):
        own = scores[classes.index == k]
        quantile = float(np.quantile(own, QUANTILE)) if len(own) else 0.0
        if overall > 0 and quantile > 0:
            factors[k] = (overall / quantile) ** (len(own) / (len(own) + PRIOR))
    return Balance(factors)
