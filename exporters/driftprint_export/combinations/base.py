"""What a combination is: makes one score of all that is known of a frame."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from driftprint_export.builder import GraphBuilder
from driftprint_export.methods import Responses, Tensors


@dataclass(frozen=True)
class Evidence:
    """What is known of N frames.

    Attributes:
        distances: a method's scores, float64 [N, L].
        surprises: the same as surprises among inliers, ``-log p``, float64 [N, L].
        responses: of the model.
    """

    distances: NDArray[np.float64]
    surprises: NDArray[np.float64]
    responses: Responses


@dataclass(frozen=True)
class EvidenceTensors:
    """The same in the graph, as names of tensors.

    Attributes:
        distances: for each layer a float32 [N, 1].
        surprises: float32 [N, L].
        responses: of the model.
    """

    distances: Sequence[str]
    surprises: str
    responses: Tensors


class FittedCombination(Protocol):
    """A combination that has seen inliers."""

    def __call__(self, evidence: Evidence) -> NDArray[np.float64]:
        """The scores: float64 [N], finite; higher is more outlying. The reference for `emit`."""
        ...

    def emit(self, graph: GraphBuilder, tensors: EvidenceTensors) -> str:
        """Add the nodes that compute the same; returns the name of a float32 [N]."""
        ...


class Combination(Protocol):
    """A way to make one score of many."""

    name: ClassVar[str]
    """Under which it is registered."""

    uses_changes: ClassVar[bool]
    """Whether it learns from changed inliers (`driftprint_export.changes`)."""

    def fit(self, held_out: Evidence, changed: Sequence[Evidence]) -> FittedCombination:
        """Learn from inliers alone.

        Args:
            held_out: of inliers that the method was not fitted on.
            changed: for each kind of change, of the same or other inliers changed; empty where inliers cannot be
                changed.
        """
        ...
