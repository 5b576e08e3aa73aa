"""Judges a frame by all that is known of it together, learnt from inliers alone.

Up to four opinions are joined:

- *How typical* its statistics are (`driftprint_export.combinations.statistics`): the Mahalanobis distance from those
  of held-out inliers, both ways: a layer that stirs too little is as odd as one that stirs too much, and layers
  that usually go together must.
- *How like a changed inlier* the layers and the statistics are: a direction that tells held-out inliers from the
  same inliers changed (`driftprint_export.changes`).
- *How undecided* a classifier is (`driftprint_export.combinations.undecided`), twice: by the margin between its two
  best classes, and by its free energy. Both are among the statistics too, but there they are two of many, and a frame
  that is typical but for a margin of nought, as one just across the boundary between two classes is, would go
  unnoticed.

Each becomes the surprise of meeting it among inliers (`driftprint_export.surprise`), and the surprises are added
(Fisher's way of joining p-values). None can take away from another: a surprise is never negative.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from driftprint_export.builder import GraphBuilder
from driftprint_export.combinations.base import Evidence, EvidenceTensors
from driftprint_export.combinations.discriminant import principal, separate, separate_out_of_fold, standardised
from driftprint_export.combinations.statistics import emit_statistics, statistics
from driftprint_export.combinations.undecided import Energy, Margin, Undecided
from driftprint_export.methods.gaussian import shrunk_eigen
from driftprint_export.surprise import Surprise, fit_surprise

SMALLEST_DEVIATION = 1e-4
"""Of a statistic: anything less is rounding, which differs between devices."""

SMALLEST_SHARE = 1e-4
"""Of the variance of a direction of standardised statistics in the largest one's."""

Matrix = NDArray[np.float64]


@dataclass(frozen=True)
class Typical:
    """How far statistics are from those of inliers.

    Attributes:
        centre: [S], the inliers' mean.
        whitening: [S, S]; makes of centred statistics ones of unit variance that do not go together.
    """

    centre: Matrix
    whitening: Matrix

    def __call__(self, rows: Matrix) -> Matrix:
        """[N, S] to [N], about the root of S for inliers."""
        distance: Matrix = np.linalg.norm((rows - self.centre) @ self.whitening, axis=1)
        return distance

    def emit(self, graph: GraphBuilder, rows: str) -> str:
        """The same as graph nodes; returns the name of a float32 [N, 1]."""
        centred = graph.node("Sub", rows, graph.constant(self.centre.astype(np.float32)))
        white = graph.node("MatMul", centred, graph.constant(self.whitening.astype(np.float32)))
        return graph.reduce("ReduceL2", white, [1], keepdims=True)


@dataclass(frozen=True)
class Direction:
    """A weighted sum.

    Attributes:
        weights: [P].
        offset: added to it.
    """

    weights: Matrix
    offset: float

    def __call__(self, rows: Matrix) -> Matrix:
        """[N, P] to [N]."""
        position: Matrix = rows @ self.weights + self.offset
        return position

    def emit(self, graph: GraphBuilder, rows: str) -> str:
        """The same as graph nodes; returns the name of a float32 [N, 1]."""
        weights, offset = self.weights[:, None].astype(np.float32), np.array([self.offset], np.float32)
        return graph.node("Gemm", rows, graph.constant(weights), graph.constant(offset))


@dataclass(frozen=True)
class FittedJoint:
    """See `FittedCombination`.

    Attributes:
        typical: of the statistics.
        towards_changed: of the layers and the statistics, side by side; None where inliers cannot be changed.
        undecided: the opinions on the logits, of a model with classes.
        surprise: of all opinions.
    """

    typical: Typical
    towards_changed: Direction | None
    undecided: Sequence[Undecided]
    surprise: Surprise

    def __call__(self, evidence: Evidence) -> Matrix:
        """See `FittedCombination`; not negative."""
        rows = statistics(evidence)
        opinions = [self.typical(rows)]
        if self.towards_changed is not None:
            opinions.append(self.towards_changed(np.concatenate([*_layers(evidence), rows], axis=1)))
        logits = evidence.responses.logits
        if logits is not None:
            opinions += [measure(logits) for measure in self.undecided]
        score: Matrix = self.surprise(np.stack(opinions, axis=1)).sum(axis=1)
        return score

    def emit(self, graph: GraphBuilder, tensors: EvidenceTensors) -> str:
        """See `FittedCombination.emit`."""
        rows = emit_statistics(graph, tensors)
        opinions = [self.typical.emit(graph, rows)]
        if self.towards_changed is not None:
            everything = graph.node("Concat", *tensors.responses.features, rows, axis=1)
            opinions.append(self.towards_changed.emit(graph, everything))
        logits = tensors.responses.logits
        if logits is not None:
            opinions += [measure.emit(graph, logits) for measure in self.undecided]
        return graph.reduce("ReduceSum", self.surprise.emit(graph, opinions), [1], keepdims=False)


@dataclass(frozen=True)
class Joint:
    """``joint``: all of it together.

    Attributes:
        undecided: the opinions on a classifier's logits.
    """

    name: ClassVar[str] = "joint"
    uses_changes: ClassVar[bool] = True

    undecided: Sequence[Undecided] = (Margin(), Energy())

    def fit(self, held_out: Evidence, changed: Sequence[Evidence]) -> FittedJoint:
        """See `Combination.fit`."""
        rows = statistics(held_out)
        typical = fit_typical(rows)
        opinions = [typical(rows)]
        towards_changed = None
        if changed:
            others = [[*_layers(evidence), statistics(evidence)] for evidence in changed]
            towards_changed, position = _fit_direction([*_layers(held_out), rows], others)
            opinions.append(position)
        logits = held_out.responses.logits
        if logits is not None:
            opinions += [measure(logits) for measure in self.undecided]
        return FittedJoint(typical, towards_changed, self.undecided, fit_surprise(np.stack(opinions, axis=1)))


def _fit_direction(inliers: list[Matrix], changed: Sequence[list[Matrix]]) -> tuple[Direction, Matrix]:
    """The direction from held-out inliers towards changed ones, and where fresh inliers would lie along it, [N].

    A direction leans towards the very inliers that it was learnt from, so these are placed along others.

    Args:
        inliers: their layers, and last their statistics.
        changed: for each kind of change the same.
    """
    *layers, rows = inliers
    parts = [*map(principal, layers), standardised(rows, _scale(rows - rows.mean(axis=0)))]

    def coordinates(everything: list[Matrix]) -> Matrix:
        return np.concatenate([part(values) for part, values in zip(parts, everything, strict=True)], axis=1)

    placed, others = coordinates(inliers), [coordinates(everything) for everything in changed]
    ends = np.cumsum([part.axes.shape[1] for part in parts])[:-1]
    pieces = np.split(separate(placed, others), ends)
    weights = [part.axes @ piece for part, piece in zip(parts, pieces, strict=True)]
    offset = -sum(float(part.centre @ piece) for part, piece in zip(parts, weights, strict=True))
    return Direction(np.concatenate(weights), offset), separate_out_of_fold(placed, others)


def fit_typical(rows: Matrix) -> Typical:
    """Learn from the statistics of held-out inliers, [N, S]."""
    centre = rows.mean(axis=0)
    scale = _scale(rows - centre)
    variances, directions = shrunk_eigen((rows - centre) / scale)
    floor = max(float(variances.max(initial=0.0)) * SMALLEST_SHARE, 1e-12)
    return Typical(centre, directions / np.sqrt(np.maximum(variances, floor)) / scale[:, None])


def _layers(evidence: Evidence) -> list[Matrix]:
    return [layer.astype(np.float64) for layer in evidence.responses.features]


def _scale(centred: Matrix) -> Matrix:
    """The deviation of each statistic, by its middle half, which odd frames cannot stretch; never 0."""
    quarter, three_quarters = np.quantile(centred, (0.25, 0.75), axis=0)
    deviation = (three_quarters - quarter) / 1.349
    deviation = np.where(deviation > SMALLEST_DEVIATION, deviation, centred.std(axis=0))
    scale: Matrix = np.maximum(deviation, SMALLEST_DEVIATION)
    return scale
