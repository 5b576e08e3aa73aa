"""What a fingerprint method is: fitted on inliers' features, then written into the graph."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from driftprint_export.builder import GraphBuilder

Features = Sequence[NDArray[np.float32]]
"""For each fingerprinted layer its pooled vectors: float32 [N, C]."""


@dataclass(frozen=True)
class Classes:
    """The classes that the model itself predicts.

    Attributes:
        index: int64 [N].
        count: how many classes the model knows, those included that it predicts for none of the frames.
    """

    index: NDArray[np.int64]
    count: int

    def __getitem__(self, rows: NDArray[np.intp]) -> Classes:
        """Those of some frames."""
        return Classes(self.index[rows], self.count)


class FittedMethod(Protocol):
    """A method that has seen the inliers."""

    @property
    def class_conditional(self) -> bool:
        """Whether it compares a frame with its predicted class alone."""
        ...

    def score(self, features: Features, classes: Classes | None) -> NDArray[np.float64]:
        """The outlier score of every frame in every layer: the reference for `emit`.

        Returns:
            float64 [N, L], finite and not negative; higher is more outlying.
        """
        ...

    def emit(self, graph: GraphBuilder, features: Sequence[str], predicted: str | None) -> list[str]:
        """Add the nodes that compute the same.

        Args:
            graph: where to add them.
            features: the names of the pooled tensors, float32 [N, C] each.
            predicted: the name of the predicted class, int64 [N]; None for a model without classes.

        Returns:
            For each layer the name of its scores, float32 [N, 1].
        """
        ...


class Method(Protocol):
    """A way to fingerprint a model."""

    name: ClassVar[str]
    """Under which it is registered and named in manifests."""

    def fit(self, features: Features, classes: Classes | None) -> FittedMethod:
        """Learn what inliers look like.

        Args:
            features: of the inliers to fit on.
            classes: what the model predicts for them; None for a model without classes.
        """
        ...
