"""The classical ways to join p-values, one a layer. They need not be independent: the score is calibrated after.

The layers' surprises are minus the logarithms of their conformal p-values (`driftprint_export.surprise`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from driftprint_export.builder import GraphBuilder
from driftprint_export.combinations.base import Evidence, EvidenceTensors


class _Fixed:
    """There is nothing to learn."""

    uses_changes: ClassVar[bool] = False

    def fit(self, _held_out: Evidence, _changed: Sequence[Evidence]) -> _Fixed:
        """See `Combination.fit`."""
        return self

    def __call__(self, evidence: Evidence) -> NDArray[np.float64]:
        """See `FittedCombination`."""
        raise NotImplementedError

    def emit(self, graph: GraphBuilder, tensors: EvidenceTensors) -> str:
        """See `FittedCombination.emit`."""
        raise NotImplementedError


class Fisher(_Fixed):
    """``fisher``: the sum (Fisher, *Statistical Methods for Research Workers*, 1932, section 21.1)."""

    name: ClassVar[str] = "fisher"

    def __call__(self, evidence: Evidence) -> NDArray[np.float64]:
        """See `FittedCombination`."""
        total: NDArray[np.float64] = evidence.surprises.sum(axis=1)
        return total

    def emit(self, graph: GraphBuilder, tensors: EvidenceTensors) -> str:
        """See `FittedCombination.emit`."""
        return graph.reduce("ReduceSum", tensors.surprises, [1], keepdims=False)


class Harmonic(_Fixed):
    """``harmonic``: minus the logarithm of the harmonic mean of the p-values.

    Wilson, "The harmonic mean p-value for combining dependent tests", PNAS 116, 2019, equation 1, without the
    logarithm of the number of layers, which changes no order.
    """

    name: ClassVar[str] = "harmonic"

    def __call__(self, evidence: Evidence) -> NDArray[np.float64]:
        """See `FittedCombination`."""
        largest = evidence.surprises.max(axis=1, keepdims=True)
        total: NDArray[np.float64] = np.log(np.exp(evidence.surprises - largest).sum(axis=1)) + largest[:, 0]
        return total

    def emit(self, graph: GraphBuilder, tensors: EvidenceTensors) -> str:
        """See `FittedCombination.emit`."""
        return graph.reduce("ReduceLogSumExp", tensors.surprises, [1], keepdims=False)


class Smallest(_Fixed):
    """``min``: minus the logarithm of the smallest p-value; Bonferroni's factor, the same for all, is left out.

    With the method `neuralfp` it is that paper's "one-out" rule: a frame is as odd as its oddest layer.
    """

    name: ClassVar[str] = "min"

    def __call__(self, evidence: Evidence) -> NDArray[np.float64]:
        """See `FittedCombination`."""
        largest: NDArray[np.float64] = evidence.surprises.max(axis=1)
        return largest

    def emit(self, graph: GraphBuilder, tensors: EvidenceTensors) -> str:
        """See `FittedCombination.emit`."""
        return graph.reduce("ReduceMax", tensors.surprises, [1], keepdims=False)
