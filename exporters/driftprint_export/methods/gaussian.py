"""A Gaussian a layer: how far a frame's pooled vector is from those of the inliers.

The distance is Mahalanobis's from the mean of the predicted class, with one covariance for all classes
(Lee et al., "A simple unified framework for detecting out-of-distribution samples and adversarial attacks",
NeurIPS 2018, section 2.1); without classes from the mean of all inliers. The covariance is shrunk towards a
multiple of the identity (Ledoit and Wolf, "A well-conditioned estimator for large-dimensional covariance
matrices", J. Multivariate Analysis 88, 2004, theorem 3.2 and section 3.3). Of many channels the leading
directions keep their own variance and the rest share one, as in probabilistic PCA (Tipping and Bishop,
J. R. Statist. Soc. B 61, 1999, section 3.2).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from driftprint_export.builder import GraphBuilder
from driftprint_export.methods.base import Classes, Responses, Tensors

MOST_DIRECTIONS = 256
"""Directions with a variance of their own; more would cost the device more than they tell."""

FEWEST_OF_CLASS = 8
"""A class predicted for fewer inliers is compared with the mean of all."""

SMALLEST_SHARE = 1e-5
"""Of a direction's variance in the largest one's: float32 tells no smaller ones."""

SMALLEST_DEVIATION = 1e-4
"""Of a direction, as a share of the vectors' own size: anything less is rounding, which differs between devices."""


@dataclass(frozen=True)
class LayerGaussian:
    """One layer's Gaussian.

    Attributes:
        means: [K, C], one a class; K is 1 without classes.
        directions: [C, D], orthonormal columns.
        variances: [D], of these directions.
        rest: the variance that all other directions share; None where D is C.
    """

    means: NDArray[np.float64]
    directions: NDArray[np.float64]
    variances: NDArray[np.float64]
    rest: float | None

    def score(self, features: NDArray[np.float32], classes: Classes | None) -> NDArray[np.float64]:
        """The root mean square distance in standard deviations, about 1 for inliers: [N]."""
        centred = features.astype(np.float64) - self.means[0 if classes is None else classes.index]
        part = centred @ self.directions
        distances = (np.square(part) / self.variances).sum(axis=1)
        if self.rest is not None:
            distances += np.square(centred - part @ self.directions.T).sum(axis=1) / self.rest
        root: NDArray[np.float64] = np.sqrt(distances / features.shape[1])
        return root

    def emit(self, graph: GraphBuilder, feature: str, predicted: str | None) -> str:
        """The same as graph nodes; returns the name of a float32 [N, 1]."""
        channels = self.means.shape[1]
        means = graph.constant(self.means.astype(np.float32))
        centred = graph.node("Sub", feature, means if predicted is None else graph.node("Gather", means, predicted))
        if self.rest is None:
            whitening = self.directions / np.sqrt(channels * self.variances)
            whitened = graph.node("MatMul", centred, graph.constant(whitening.astype(np.float32)))
            return graph.reduce("ReduceL2", whitened, [1], keepdims=True)
        # In units of `rest`: the vector, its part in the leading directions, and what that leaves. The last
        # as a vector, not as a difference of lengths, in which float32 would leave rounding alone.
        scale = np.sqrt(1 / (channels * self.rest))
        whole = graph.node("Mul", centred, graph.constant(np.float32(scale)))
        directions = graph.constant(self.directions.astype(np.float32))
        part = graph.node("MatMul", whole, directions)
        left = graph.node("Gemm", part, directions, whole, alpha=-1.0, transB=1)
        weights = graph.constant(np.sqrt(self.rest / self.variances).astype(np.float32))
        return graph.node(
            "Sqrt",
            graph.node(
                "Add",
                graph.reduce("ReduceSumSquare", graph.node("Mul", part, weights), [1], keepdims=True),
                graph.reduce("ReduceSumSquare", left, [1], keepdims=True),
            ),
        )


class Gaussian:
    """The method ``gaussian``."""

    name: ClassVar[str] = "gaussian"
    last_layer_only: ClassVar[bool] = False
    needs_logits: ClassVar[bool] = False
    needs_moments: ClassVar[bool] = False

    def fit(self, responses: Responses) -> FittedGaussian:
        """One Gaussian a layer; see `Method.fit`."""
        classes = responses.classes
        return FittedGaussian([fit_layer(layer, classes) for layer in responses.features], classes is not None)


@dataclass(frozen=True)
class FittedGaussian:
    """Fitted Gaussians, one a layer; see `FittedMethod`."""

    layers: Sequence[LayerGaussian]
    class_conditional: bool

    def score(self, responses: Responses) -> NDArray[np.float64]:
        """See `FittedMethod.score`."""
        classes = responses.classes
        pairs = zip(self.layers, responses.features, strict=True)
        return np.stack([layer.score(feature, classes) for layer, feature in pairs], axis=1)

    def emit(self, graph: GraphBuilder, tensors: Tensors) -> list[str]:
        """See `FittedMethod.emit`."""
        pairs = zip(self.layers, tensors.features, strict=True)
        return [layer.emit(graph, feature, tensors.predicted) for layer, feature in pairs]


def fit_layer(features: NDArray[np.float32], classes: Classes | None) -> LayerGaussian:
    """Fit one layer.

    Args:
        features: [N, C].
        classes: of N frames; None for one mean over all.
    """
    x = features.astype(np.float64)
    means = class_means(x, classes)
    centred = x - means[0 if classes is None else classes.index]
    variances, directions = shrunk_eigen(centred)
    rounding = np.square(SMALLEST_DEVIATION * np.sqrt(np.square(x).mean()))
    variances = np.maximum(variances, max(variances[0] * SMALLEST_SHARE, rounding, 1e-30))
    if x.shape[1] <= MOST_DIRECTIONS:
        return LayerGaussian(means, directions, variances, None)
    leading, rest = slice(0, MOST_DIRECTIONS), slice(MOST_DIRECTIONS, None)
    return LayerGaussian(means, directions[:, leading], variances[leading], float(variances[rest].mean()))


def class_means(x: NDArray[np.float64], classes: Classes | None) -> NDArray[np.float64]:
    """The mean of each class, [K, C]; a class predicted for few frames has the mean of all."""
    overall: NDArray[np.float64] = x.mean(axis=0)
    if classes is None:
        return overall[None]
    members = np.bincount(classes.index, minlength=classes.count)
    sums = np.zeros((classes.count, x.shape[1]))
    np.add.at(sums, classes.index, x)
    means: NDArray[np.float64] = np.where(
        (members >= FEWEST_OF_CLASS)[:, None], sums / np.maximum(members, 1)[:, None], overall
    )
    return means


def shrunk_eigen(centred: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Eigenvalues, descending, and eigenvectors of the shrunk covariance of centred rows.

    Args:
        centred: [N, C].

    Returns:
        [C] and [C, C], the vectors in columns.
    """
    n, channels = centred.shape
    covariance = centred.T @ centred / n
    mean = np.trace(covariance) / channels
    if mean <= 0:  # every inlier gives the same
        return np.zeros(channels), np.eye(channels)
    squared_norm = float(np.square(covariance).sum())
    distance = squared_norm / channels - mean**2
    noise = (np.square(np.square(centred).sum(axis=1)).sum() / n - squared_norm) / (n * channels)
    shrinkage = min(1.0, noise / distance) if distance > 0 else 1.0
    values, vectors = np.linalg.eigh(covariance)
    return (1 - shrinkage) * values[::-1] + shrinkage * mean, vectors[:, ::-1]
