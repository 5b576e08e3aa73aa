"""Relative Mahalanobis distance: how much farther a frame is from its predicted class than from all inliers.

The squared distance from the class less the one from the mean of all, each with a covariance of its own, takes out
the directions that say nothing of classes (Ren et al., "A simple fix to Mahalanobis distance for improving near-OOD
detection", arXiv 2106.09022, 2021). Both are divided by the number of channels; a softplus
keeps the order and makes the score positive. The Gaussians are those of `driftprint_export.methods.gaussian`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from driftprint_export.builder import GraphBuilder
from driftprint_export.methods.base import Classes, Responses, Tensors
from driftprint_export.methods.gaussian import LayerGaussian, fit_layer
from driftprint_export.methods.logits import needed


@dataclass(frozen=True)
class LayerPair:
    """One layer's Gaussians.

    Attributes:
        classes: with a mean for each class.
        overall: with one for all.
    """

    classes: LayerGaussian
    overall: LayerGaussian

    def score(self, features: NDArray[np.float32], classes: Classes) -> NDArray[np.float64]:
        """The softplus of the difference of squared distances, log 2 where they are equal: [N]."""
        own, of_all = self.classes.score(features, classes), self.overall.score(features, None)
        return np.logaddexp(0, (own - of_all) * (own + of_all))

    def emit(self, graph: GraphBuilder, feature: str, predicted: str) -> str:
        """The same as graph nodes; returns the name of a float32 [N, 1]."""
        own, of_all = self.classes.emit(graph, feature, predicted), self.overall.emit(graph, feature, None)
        # Not as a difference of squares, which are larger than the distances and lose more by rounding.
        difference = graph.node("Mul", graph.node("Sub", own, of_all), graph.node("Add", own, of_all))
        return graph.node("Softplus", difference)


class Relative:
    """The method ``relative``."""

    name: ClassVar[str] = "relative"
    last_layer_only: ClassVar[bool] = False
    needs_logits: ClassVar[bool] = True
    needs_moments: ClassVar[bool] = False

    def fit(self, responses: Responses) -> FittedRelative:
        """Two Gaussians a layer; see `Method.fit`."""
        classes = needed(responses.classes, self.name)
        return FittedRelative([LayerPair(fit_layer(x, classes), fit_layer(x, None)) for x in responses.features])


@dataclass(frozen=True)
class FittedRelative:
    """Fitted pairs, one a layer; see `FittedMethod`."""

    layers: Sequence[LayerPair]
    class_conditional: bool = True

    def score(self, responses: Responses) -> NDArray[np.float64]:
        """See `FittedMethod.score`."""
        classes = needed(responses.classes, Relative.name)
        pairs = zip(self.layers, responses.features, strict=True)
        return np.stack([layer.score(feature, classes) for layer, feature in pairs], axis=1)

    def emit(self, graph: GraphBuilder, tensors: Tensors) -> list[str]:
        """See `FittedMethod.emit`."""
        predicted = needed(tensors.predicted, Relative.name)
        pairs = zip(self.layers, tensors.features, strict=True)
        return [layer.emit(graph, feature, predicted) for layer, feature in pairs]
