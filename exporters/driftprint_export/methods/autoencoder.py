"""NeuralFP: how badly an autoencoder of a layer, trained on inliers, reconstructs a frame's pooled vector.

After the method that this product line began with, "NeuralFP: out-of-distribution detection using fingerprints of
neural networks", ICPR 2020: an autoencoder a layer, the distribution of its error over the inliers, and the
likelihood of a frame's error in it. Here the vector is standardised, the autoencoder has one hidden layer, the error's
logarithm is taken to be Gaussian, and the score is ``max(0, z)^2 / 2``, to a constant the negative log density of the
one-sided Gaussian: to be reconstructed better than usual is no sign of an outlier.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from driftprint_export.builder import GraphBuilder
from driftprint_export.methods.adam import Adam
from driftprint_export.methods.base import Responses
from driftprint_export.methods.layerwise import Layerwise
from driftprint_export.methods.precision import smallest_deviation

MOST_HIDDEN = 128
MOST_FRAMES = 4_000
STEPS, BATCH, RATE = 600, 128, 3e-3

APART = 0.25
"""The share of inliers that the error's distribution is learnt on, and the autoencoder is not."""

SMALLEST_ERROR = 1e-8
"""Of a channel, squared: rounding."""

SMALLEST_SPREAD = 0.05
"""Of the error's logarithm."""


@dataclass(frozen=True)
class LayerAutoencoder:
    """One layer's autoencoder of H hidden units.

    Attributes:
        mean: [C].
        deviation: [C].
        encoder: [C, H].
        bias: [H]; the decoder has none, as standardised vectors have a mean of nought.
        decoder: [H, C].
        centre: the mean of the log error over inliers.
        spread: its deviation.
    """

    mean: NDArray[np.float64]
    deviation: NDArray[np.float64]
    encoder: NDArray[np.float64]
    bias: NDArray[np.float64]
    decoder: NDArray[np.float64]
    centre: float = 0.0
    spread: float = 1.0

    def log_error(self, features: NDArray[np.float32]) -> NDArray[np.float64]:
        """The log of the mean squared error of the standardised vector: [N]."""
        x = (features - self.mean) / self.deviation
        left = np.tanh(x @ self.encoder + self.bias) @ self.decoder - x
        log: NDArray[np.float64] = np.log(np.maximum(np.square(left).mean(axis=1), SMALLEST_ERROR))
        return log

    def score(self, features: NDArray[np.float32]) -> NDArray[np.float64]:
        """Half the square of how many deviations the log error lies above its mean: [N]."""
        score: NDArray[np.float64] = np.square(np.maximum(self.log_error(features) - self.centre, 0) / self.spread) / 2
        return score

    def emit(self, graph: GraphBuilder, feature: str) -> str:
        """The same as graph nodes; returns the name of a float32 [N, 1]."""
        mean, scale, encoder, bias, decoder = (
            graph.constant(array.astype(np.float32))
            for array in (self.mean, 1 / self.deviation, self.encoder, self.bias, self.decoder)
        )
        x = graph.node("Mul", graph.node("Sub", feature, mean), scale)
        hidden = graph.node("Tanh", graph.node("Gemm", x, encoder, bias))
        left = graph.node("Gemm", hidden, decoder, x, beta=-1.0)
        # The sum, not the mean, of squares: its logarithm is off by that of the number of channels.
        channels = len(self.mean)
        least, centre, factor, half = (
            graph.constant(np.asarray([value], np.float32))
            for value in (SMALLEST_ERROR * channels, self.centre + np.log(channels), 1 / self.spread, 0.5)
        )
        squares = graph.reduce("ReduceSumSquare", left, [1], keepdims=True)
        excess = graph.node("Relu", graph.node("Sub", graph.node("Log", graph.node("Max", squares, least)), centre))
        deviations = graph.node("Mul", excess, factor)
        return graph.node("Mul", graph.node("Mul", deviations, deviations), half)


class NeuralFp:
    """The method ``neuralfp``.

    Args:
        seed: of the weights, the batches and the choice of inliers.
    """

    name: ClassVar[str] = "neuralfp"
    last_layer_only: ClassVar[bool] = False
    needs_logits: ClassVar[bool] = False
    needs_moments: ClassVar[bool] = False

    def __init__(self, *, seed: int = 0) -> None:
        self._seed = seed

    def fit(self, responses: Responses) -> Layerwise:
        """One autoencoder a layer; see `Method.fit`."""
        random = np.random.default_rng(self._seed)
        return Layerwise([fit_autoencoder(layer, random) for layer in responses.features])


def fit_autoencoder(features: NDArray[np.float32], random: np.random.Generator) -> LayerAutoencoder:
    """Fit one layer, [N, C]; of more than `MOST_FRAMES`, that many are drawn."""
    chosen = features[random.permutation(len(features))[:MOST_FRAMES]]
    apart, used = np.split(chosen, [max(1, int(len(chosen) * APART))])
    mean = used.mean(axis=0, dtype=np.float64)
    deviation = np.maximum(used.std(axis=0, dtype=np.float64), smallest_deviation(features))
    weights = train(((used - mean) / deviation).astype(np.float32), random)
    encoder, bias, decoder = (array.astype(np.float64) for array in weights)
    draft = LayerAutoencoder(mean, deviation, encoder, bias, decoder)
    errors = draft.log_error(apart)
    return replace(draft, centre=float(errors.mean()), spread=max(float(errors.std()), SMALLEST_SPREAD))


def train(x: NDArray[np.float32], random: np.random.Generator) -> list[NDArray[np.float32]]:
    """Encoder [C, H], bias [H] and decoder [H, C] of standardised vectors [N, C]."""
    channels = x.shape[1]
    hidden = min(max(2, channels // 4), MOST_HIDDEN)
    deviation = np.sqrt(2 / (channels + hidden))  # Glorot and Bengio, AISTATS 2010, equation 16
    encoder, decoder = (
        (random.normal(size=shape) * deviation).astype(np.float32) for shape in ((channels, hidden), (hidden, channels))
    )
    adam = Adam([encoder, np.zeros(hidden, np.float32), decoder], RATE)
    for _ in range(STEPS):
        encoder, bias, decoder = adam.values
        batch = x[random.integers(len(x), size=BATCH)]
        code = np.tanh(batch @ encoder + bias)
        left = (code @ decoder - batch) * np.float32(2 / batch.size)
        inner = left @ decoder.T * (1 - code**2)
        adam.step([batch.T @ inner, inner.sum(axis=0), code.T @ left])
    return adam.values
