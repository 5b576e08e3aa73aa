"""Neuron activation coverage: how many channels of a layer are at values that inliers rarely gave.

After Liu et al., "Neuron activation coverage: rethinking out-of-distribution detection and generalization",
ICLR 2024 (NAC-UE): a channel is covered at a value as far as the inliers' density there reaches a given one, and
wholly beyond that. The paper's neurons are weighted by the gradient of the prediction's divergence from uniform;
a graph for inference has no gradients, so these here are the pooled activations alone, over their own range instead
of a sigmoid's. The density is interpolated between the bins' centres, as rounding, which differs between devices,
would throw a value from one bin into another. A layer's score is the share of what is not covered.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import onnx
from numpy.typing import NDArray

from driftprint_export.builder import GraphBuilder
from driftprint_export.methods.base import Responses
from driftprint_export.methods.layerwise import Layerwise
from driftprint_export.methods.precision import smallest_deviation

BINS = 32
"""Over the range of the inliers; one more at either end is empty."""

FULL = 0.5
"""The density that covers a channel, as a share of the uniform one: bins with more inliers are all alike."""


@dataclass(frozen=True)
class LayerCoverage:
    """One layer's coverage.

    Attributes:
        start: the lower empty bin's centre, [C].
        width: of a bin, [C].
        gaps: what is not covered at each bin's centre, 0 to 1, [C, BINS + 2].
    """

    start: NDArray[np.float64]
    width: NDArray[np.float64]
    gaps: NDArray[np.float64]

    def score(self, features: NDArray[np.float32]) -> NDArray[np.float64]:
        """The mean of the channels' gaps, 0 to 1: [N]."""
        place = np.clip((features - self.start) / self.width, 0, BINS + 1)
        left = np.floor(place).astype(np.int64)
        channel = np.arange(len(self.start))
        gaps = self.gaps[channel, left] + (place - left) * self._steps()[channel, left]
        score: NDArray[np.float64] = gaps.mean(axis=1)
        return score

    def emit(self, graph: GraphBuilder, feature: str) -> str:
        """The same as graph nodes; returns the name of a float32 [N, 1]."""
        start, scale = (graph.constant(array.astype(np.float32)) for array in (self.start, 1 / self.width))
        place = graph.node(
            "Clip",
            graph.node("Mul", graph.node("Sub", feature, start), scale),
            *(graph.constant(np.float32(limit)) for limit in (0, BINS + 1)),
        )
        # What is no number has no place in a table; through the part beyond `left` the score is none either.
        is_number = graph.node("Less", place, graph.constant(np.asarray([BINS + 2], np.float32)))
        left = graph.node("Where", is_number, graph.node("Floor", place), graph.constant(np.zeros(1, np.float32)))
        # Into the tables laid end to end; float32 tells whole numbers apart up to 2 ** 24.
        row = graph.constant((np.arange(len(self.start)) * (BINS + 2)).astype(np.float32))
        index = graph.node("Cast", graph.node("Add", left, row), to=onnx.TensorProto.INT32)
        gap, step = (
            graph.node("Gather", graph.constant(table.reshape(-1).astype(np.float32)), index)
            for table in (self.gaps, self._steps())
        )
        gaps = graph.node("Add", gap, graph.node("Mul", graph.node("Sub", place, left), step))
        return graph.reduce("ReduceMean", gaps, [1], keepdims=True)

    def _steps(self) -> NDArray[np.float64]:
        """From each bin's gap to the next one's."""
        return np.diff(self.gaps, axis=1, append=self.gaps[:, -1:])


class Nac:
    """The method ``nac``."""

    name: ClassVar[str] = "nac"
    last_layer_only: ClassVar[bool] = False
    needs_logits: ClassVar[bool] = False
    needs_moments: ClassVar[bool] = False

    def fit(self, responses: Responses) -> Layerwise:
        """A histogram for each channel; see `Method.fit`."""
        return Layerwise([fit_coverage(layer) for layer in responses.features])


def fit_coverage(features: NDArray[np.float32]) -> LayerCoverage:
    """Fit one layer, [N, C]."""
    x = features.astype(np.float64)
    low, high = x.min(axis=0), x.max(axis=0)
    width = np.maximum((high - low) / (BINS - 1), smallest_deviation(x))
    start = (low + high) / 2 - width * (BINS + 1) / 2
    # Each inlier is shared out between the two centres it lies between, as it will be read.
    place = np.clip((x - start) / width, 1, BINS)
    left = np.minimum(np.floor(place), BINS - 1).astype(np.int64)
    index = left + np.arange(x.shape[1]) * (BINS + 2)
    counts = sum(
        np.bincount((index + side).reshape(-1), weights.reshape(-1), minlength=x.shape[1] * (BINS + 2))
        for side, weights in ((0, 1 - place + left), (1, place - left))
    )
    density = np.reshape(counts, (x.shape[1], BINS + 2)) * BINS / len(x)
    return LayerCoverage(start, width, 1 - np.minimum(density / FULL, 1))
