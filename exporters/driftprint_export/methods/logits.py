"""What the methods share that read the logits."""

from __future__ import annotations

from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from driftprint.errors import ConfigError
from driftprint_export.builder import GraphBuilder

T = TypeVar("T")


def needed(value: T | None, method: str) -> T:
    """What a model with classes gives.

    Args:
        value: the logits or the predicted classes, or the names of their tensors; None without classes.
        method: the name of the method that needs it.

    Raises:
        ConfigError: where there is none.
    """
    if value is None:
        raise ConfigError(
            f"{method} needs a model that predicts classes",
            where="--method",
            fix="take another, or say --task classifier where the model is one",
        )
    return value


def logsumexp(logits: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """The log of the sum of the exponentials of logits [N, K]: [N]."""
    x = logits.astype(np.float64)
    largest = x.max(axis=1)
    result: NDArray[np.float64] = largest + np.log(np.exp(x - largest[:, None]).sum(axis=1))
    return result


def emit_logsumexp(graph: GraphBuilder, logits: str) -> str:
    """The same as graph nodes; returns the name of a float32 [N, 1]."""
    # Not by ReduceLogSumExp, which not every runtime keeps from overflowing.
    largest = graph.reduce("ReduceMax", logits, [1], keepdims=True)
    exponentials = graph.node("Exp", graph.node("Sub", logits, largest))
    total = graph.reduce("ReduceSum", exponentials, [1], keepdims=True)
    return graph.node("Add", largest, graph.node("Log", total))
