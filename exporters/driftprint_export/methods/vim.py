"""Virtual-logit matching: what a frame's last layer has outside the inliers' principal space, against its energy.

Wang et al., "ViM: out-of-distribution with virtual-logit matching", CVPR 2022, section 4: seen from the point where
the head gives nought, the length of the part outside the principal space, scaled to the inliers' largest logits, is
the logit of a class of its own. The score is that logit less the logsumexp of the others, which orders frames as the
virtual class's probability does. The head is the one that `driftprint_export.methods.head` finds.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from driftprint_export.builder import GraphBuilder
from driftprint_export.methods.base import Responses, Tensors
from driftprint_export.methods.head import Head, fit_head
from driftprint_export.methods.logits import emit_logsumexp, logsumexp, needed
from driftprint_export.methods.precision import smallest_deviation

PRINCIPAL = 0.5
"""The principal space's share of the dimensions; the paper takes 1000 of 2048 and 512 of 768."""

SMALLEST_WEIGHT = 1e-3
"""Of the head's singular values, as a share of the largest: smaller ones are those of rounding."""


class Vim:
    """The method ``vim``."""

    name: ClassVar[str] = "vim"
    last_layer_only: ClassVar[bool] = True
    needs_logits: ClassVar[bool] = True
    needs_moments: ClassVar[bool] = False

    def fit(self, responses: Responses) -> FittedVim:
        """The residual space of the last layer; see `Method.fit`."""
        logits = needed(responses.logits, self.name)
        x = responses.features[-1].astype(np.float64)
        origin = origin_of(fit_head(responses.features[-1], logits))
        centred = x - origin
        _, vectors = np.linalg.eigh(centred.T @ centred)  # in rising order of their values
        residual = vectors[:, : x.shape[1] - int(x.shape[1] * PRINCIPAL)]
        least = smallest_deviation(x) * float(np.sqrt(x.shape[1]))
        length = max(float(np.linalg.norm(centred @ residual, axis=1).mean()), least)
        # Its magnitude, as the largest of what are probabilities' logarithms is negative.
        largest = abs(float(logits.max(axis=1).mean()))
        return FittedVim(origin, residual * (largest / length))


@dataclass(frozen=True)
class FittedVim:
    """The virtual logit; see `FittedMethod`.

    Attributes:
        origin: where the head gives nought, [C].
        residual: what is orthogonal to the principal space, scaled to the logits, [C, C - D].
        class_conditional: see `FittedMethod`.
    """

    origin: NDArray[np.float64]
    residual: NDArray[np.float64]
    class_conditional: bool = False

    def score(self, responses: Responses) -> NDArray[np.float64]:
        """See `FittedMethod.score`; [N, 1], of either sign."""
        logits = needed(responses.logits, Vim.name)
        virtual = np.linalg.norm((responses.features[-1] - self.origin) @ self.residual, axis=1)
        score: NDArray[np.float64] = virtual - logsumexp(logits)
        return score[:, None]

    def emit(self, graph: GraphBuilder, tensors: Tensors) -> list[str]:
        """See `FittedMethod.emit`."""
        origin, residual = (graph.constant(array.astype(np.float32)) for array in (self.origin, self.residual))
        part = graph.node("MatMul", graph.node("Sub", tensors.features[-1], origin), residual)
        virtual = graph.reduce("ReduceL2", part, [1], keepdims=True)
        return [graph.node("Sub", virtual, emit_logsumexp(graph, needed(tensors.logits, Vim.name)))]


def origin_of(head: Head) -> NDArray[np.float64]:
    """The point that the head maps to nought, or nearest to it: [C]."""
    origin: NDArray[np.float64] = -head.bias @ np.linalg.pinv(head.weights, rcond=SMALLEST_WEIGHT)
    return origin
