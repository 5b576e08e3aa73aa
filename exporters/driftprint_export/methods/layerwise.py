"""A fitted method that looks at each layer by itself, whatever class the model predicts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from driftprint_export.builder import GraphBuilder
from driftprint_export.methods.base import Responses, Tensors


class FittedLayer(Protocol):
    """What a method has learnt of one layer."""

    def score(self, features: NDArray[np.float32]) -> NDArray[np.float64]:
        """The scores of vectors [N, C]: [N], not negative."""
        ...

    def emit(self, graph: GraphBuilder, feature: str) -> str:
        """The same as graph nodes; returns the name of a float32 [N, 1]."""
        ...


@dataclass(frozen=True)
class Layerwise:
    """One fitted layer for each fingerprinted one; see `FittedMethod`."""

    layers: Sequence[FittedLayer]
    class_conditional: bool = False

    def score(self, responses: Responses) -> NDArray[np.float64]:
        """See `FittedMethod.score`."""
        pairs = zip(self.layers, responses.features, strict=True)
        return np.stack([layer.score(feature) for layer, feature in pairs], axis=1)

    def emit(self, graph: GraphBuilder, tensors: Tensors) -> list[str]:
        """See `FittedMethod.emit`."""
        pairs = zip(self.layers, tensors.features, strict=True)
        return [layer.emit(graph, feature) for layer, feature in pairs]
