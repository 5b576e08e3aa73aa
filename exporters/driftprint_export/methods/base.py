"""What a fingerprint method is: fitted on how the model responds to inliers, then written into the graph."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from driftprint_export.builder import GraphBuilder

Features: TypeAlias = Sequence[NDArray[np.float32]]
"""For each fingerprinted layer one vector a frame: float32 [N, C]."""


@dataclass(frozen=True)
class Classes:
    """The classes that the model itself predicts.

    Attributes:
        index: int64 [N].
        count: how many classes the model knows, those included that it predicts for none of the frames.
    """

    index: NDArray[np.int64]
    count: int


@dataclass(frozen=True)
class Responses:
    """How the model responds to N frames.

    Attributes:
        features: each layer, averaged over its map or tokens.
        logits: float32 [N, K]; None for a model without classes.
        moments: each layer's squares, averaged likewise; None where the method has no use for them.
    """

    features: Features
    logits: NDArray[np.float32] | None = None
    moments: Features | None = None

    @property
    def classes(self) -> Classes | None:
        """What the model predicts; None for a model without classes."""
        if self.logits is None:
            return None
        return Classes(self.logits.argmax(axis=1).astype(np.int64), self.logits.shape[1])


@dataclass(frozen=True)
class Tensors:
    """The same in the graph: names of tensors with the shapes and dtypes of `Responses`.

    Attributes:
        features: see `Responses.features`.
        logits: see `Responses.logits`.
        moments: see `Responses.moments`.
        predicted: the predicted class, int64 [N]; None for a model without classes.
    """

    features: Sequence[str]
    logits: str | None = None
    moments: Sequence[str] | None = None
    predicted: str | None = None


class FittedMethod(Protocol):
    """A method that has seen the inliers."""

    @property
    def class_conditional(self) -> bool:
        """Whether it compares a frame with its predicted class alone."""
        ...

    def score(self, responses: Responses) -> NDArray[np.float64]:
        """The outlier score of every frame in every layer: the reference for `emit`.

        Returns:
            float64 [N, L], finite; higher is more outlying.
        """
        ...

    def emit(self, graph: GraphBuilder, tensors: Tensors) -> list[str]:
        """Add the nodes that compute the same.

        Args:
            graph: where to add them.
            tensors: what to compute it from.

        Returns:
            For each layer the name of its scores, float32 [N, 1].
        """
        ...


class Method(Protocol):
    """A way to fingerprint a model."""

    name: ClassVar[str]
    """Under which it is registered and named in manifests."""

    last_layer_only: ClassVar[bool]
    """Whether it reads the last layer alone, which then is the only one fingerprinted."""

    needs_logits: ClassVar[bool]
    """Whether it is for models with classes only."""

    needs_moments: ClassVar[bool]
    """Whether it reads `Responses.moments`."""

    def fit(self, responses: Responses) -> FittedMethod:
        """Learn what inliers look like.

        Args:
            responses: of the model to the inliers to fit on.
        """
        ...
