"""Forms that the default could have: its opinions on a classifier's logits, and what else it could look at.

Every choice among the measures of `driftprint_export.combinations.undecided` costs a device about the same. The dearer
forms look at more: each layer's squares need a pooling of their own, and distances with and without classes need twice
the products.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from bench.detection.contest import Contender
from driftprint_export.builder import GraphBuilder
from driftprint_export.combinations import Combination, Evidence, EvidenceTensors, FittedCombination
from driftprint_export.combinations.joint import Joint
from driftprint_export.combinations.undecided import Energy, Margin, Odds, Undecided
from driftprint_export.methods import FittedMethod, Responses, Tensors
from driftprint_export.methods.gaussian import Gaussian

MEASURES: dict[str, Undecided] = {"margin": Margin(), "odds": Odds(), "energy": Energy()}


def forms() -> list[Contender]:
    """All forms, the default too; the dearer ones last."""
    chosen = [names for count in range(len(MEASURES) + 1) for names in itertools.combinations(MEASURES, count)]
    return [
        *map(_with_opinions, chosen),
        Contender("the default, squares too (dearer)", Gaussian, lambda: WithSquares(Joint())),
        Contender("the default, distances both ways (dearer)", GaussianBothWays, Joint),
    ]


def _with_opinions(names: Sequence[str]) -> Contender:
    measures = [MEASURES[name] for name in names]
    return Contender(f"opinions on the logits: {', '.join(names) or 'none'}", Gaussian, lambda: Joint(measures))


class WithSquares:
    """A combination that takes each layer's squares for one more layer.

    Args:
        inner: the combination.
    """

    name: ClassVar[str] = "with squares"
    uses_changes: ClassVar[bool] = True

    def __init__(self, inner: Combination) -> None:
        self._inner = inner

    def fit(self, held_out: Evidence, changed: Sequence[Evidence]) -> FittedCombination:
        """See `Combination.fit`."""
        return FittedWithSquares(self._inner.fit(_squares_too(held_out), [_squares_too(one) for one in changed]))


@dataclass(frozen=True)
class FittedWithSquares:
    """See `FittedCombination`."""

    inner: FittedCombination

    def __call__(self, evidence: Evidence) -> NDArray[np.float64]:
        """See `FittedCombination`."""
        return self.inner(_squares_too(evidence))

    def emit(self, graph: GraphBuilder, tensors: EvidenceTensors) -> str:
        """See `FittedCombination.emit`."""
        responses = tensors.responses
        features = [*responses.features, *(responses.moments or ())]
        return self.inner.emit(graph, replace(tensors, responses=replace(responses, features=features)))


def _squares_too(evidence: Evidence) -> Evidence:
    responses = evidence.responses
    features = [*responses.features, *(responses.moments or ())]
    return replace(evidence, responses=replace(responses, features=features))


class GaussianBothWays:
    """The distances of `Gaussian` from the predicted class and from all inliers, side by side."""

    name: ClassVar[str] = "gaussian both ways"
    last_layer_only: ClassVar[bool] = False
    needs_logits: ClassVar[bool] = True
    needs_moments: ClassVar[bool] = False

    def fit(self, responses: Responses) -> FittedBothWays:
        """See `Method.fit`."""
        return FittedBothWays(Gaussian().fit(responses), Gaussian().fit(replace(responses, logits=None)))


@dataclass(frozen=True)
class FittedBothWays:
    """See `FittedMethod`."""

    with_classes: FittedMethod
    without: FittedMethod
    class_conditional: bool = True

    def score(self, responses: Responses) -> NDArray[np.float64]:
        """See `FittedMethod.score`; [N, 2 L]."""
        free = self.without.score(replace(responses, logits=None))
        return np.concatenate([self.with_classes.score(responses), free], axis=1)

    def emit(self, graph: GraphBuilder, tensors: Tensors) -> list[str]:
        """See `FittedMethod.emit`."""
        free = self.without.emit(graph, replace(tensors, predicted=None))
        return [*self.with_classes.emit(graph, tensors), *free]
