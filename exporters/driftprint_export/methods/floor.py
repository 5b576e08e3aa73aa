"""What the logits alone tell: the floor that a fingerprint must be above.

`Energy` is Liu et al., "Energy-based out-of-distribution detection", NeurIPS 2020, section 3.1, with a temperature
of 1; `Msp` Hendrycks and Gimpel, "A baseline for detecting misclassified and out-of-distribution examples in neural
networks", ICLR 2017; `MaxLogit` Hendrycks et al., "Scaling out-of-distribution detection for real-world settings",
ICML 2022.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import onnx
from numpy.typing import NDArray

from driftprint_export.builder import GraphBuilder
from driftprint_export.methods.base import Responses, Tensors
from driftprint_export.methods.logits import emit_logsumexp, logsumexp, needed


class _LogitMethod:
    """A method with nothing to learn: it is its own fitted self."""

    name: ClassVar[str]
    last_layer_only: ClassVar[bool] = True
    needs_logits: ClassVar[bool] = True
    needs_moments: ClassVar[bool] = False
    class_conditional = False

    def fit(self, responses: Responses) -> _LogitMethod:
        """See `Method.fit`."""
        needed(responses.logits, self.name)
        return self

    def score(self, responses: Responses) -> NDArray[np.float64]:
        """See `FittedMethod.score`; [N, 1], of either sign."""
        return self._score(needed(responses.logits, self.name).astype(np.float64))[:, None]

    def emit(self, graph: GraphBuilder, tensors: Tensors) -> list[str]:
        """See `FittedMethod.emit`."""
        return [self._emit(graph, needed(tensors.logits, self.name))]

    def _score(self, logits: NDArray[np.float64]) -> NDArray[np.float64]:
        """Of logits [N, K]: [N]."""
        raise NotImplementedError

    def _emit(self, graph: GraphBuilder, logits: str) -> str:
        """The same as graph nodes; returns the name of a float32 [N, 1]."""
        raise NotImplementedError


class Energy(_LogitMethod):
    """The method ``energy``: the negative logsumexp."""

    name: ClassVar[str] = "energy"

    def _score(self, logits: NDArray[np.float64]) -> NDArray[np.float64]:
        return -logsumexp(logits)

    def _emit(self, graph: GraphBuilder, logits: str) -> str:
        return graph.node("Neg", emit_logsumexp(graph, logits))


class MaxLogit(_LogitMethod):
    """The method ``maxlogit``: the negative largest logit."""

    name: ClassVar[str] = "maxlogit"

    def _score(self, logits: NDArray[np.float64]) -> NDArray[np.float64]:
        largest: NDArray[np.float64] = logits.max(axis=1)
        return -largest

    def _emit(self, graph: GraphBuilder, logits: str) -> str:
        return graph.node("Neg", graph.reduce("ReduceMax", logits, [1], keepdims=True))


class Msp(_LogitMethod):
    """The method ``msp``: one less the largest probability.

    As the sum of the other classes' probabilities, which is the same, but stays apart from nought where the model is
    sure.
    """

    name: ClassVar[str] = "msp"

    def _score(self, logits: NDArray[np.float64]) -> NDArray[np.float64]:
        weights = np.exp(logits - logits.max(axis=1, keepdims=True))
        weights[np.arange(len(logits)), logits.argmax(axis=1)] = 0
        others: NDArray[np.float64] = weights.sum(axis=1)
        return others / (1 + others)

    def _emit(self, graph: GraphBuilder, logits: str) -> str:
        behind = graph.node("Sub", logits, graph.reduce("ReduceMax", logits, [1], keepdims=True))
        one, nought = (graph.constant(np.asarray([value], np.float32)) for value in (1, 0))
        is_behind = graph.node("Cast", graph.node("Less", behind, nought), to=onnx.TensorProto.FLOAT)
        weights = graph.node("Mul", graph.node("Exp", behind), is_behind)
        # Of classes that are level in the lead, as those of integer models may be, all but one count as others.
        level = graph.reduce("ReduceSum", graph.node("Sub", one, is_behind), [1], keepdims=True)
        others = graph.node(
            "Add", graph.reduce("ReduceSum", weights, [1], keepdims=True), graph.node("Sub", level, one)
        )
        return graph.node("Div", others, graph.node("Add", others, one))
