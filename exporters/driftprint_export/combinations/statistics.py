"""What is known of a frame before it is judged: a few numbers a layer, and how sure the model is."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from driftprint_export.builder import GraphBuilder
from driftprint_export.combinations.base import Evidence, EvidenceTensors

SMALLEST = 1e-6
"""Of a number whose logarithm is taken."""

LARGEST = 1e6

MARGIN = -2
"""The column of the margin, for a model with classes."""


def statistics(evidence: Evidence) -> NDArray[np.float64]:
    """The numbers that frames are judged by.

    Of each layer the logarithms of its distance and of its vector's length: outliers may lie far off in one
    layer and hardly stir another. Of a classifier its free energy (Liu et al., "Energy-based
    out-of-distribution detection", NeurIPS 2020, equation 4) and the margin between its two best classes.

    Returns:
        [N, 2 L], or [N, 2 L + 2] for a model with classes.
    """
    responses = evidence.responses
    lengths = np.stack([np.linalg.norm(layer.astype(np.float64), axis=1) for layer in responses.features], axis=1)
    columns = [_log(evidence.distances), _log(lengths)]
    if responses.logits is not None:
        wide = responses.logits.astype(np.float64)
        best = wide.max(axis=1, keepdims=True)
        energy = -(np.log(np.exp(wide - best).sum(axis=1, keepdims=True)) + best)
        second = np.partition(wide, -2, axis=1)[:, -2:-1]
        columns += [best - second, energy]
    return np.concatenate(columns, axis=1)


def emit_statistics(graph: GraphBuilder, tensors: EvidenceTensors) -> str:
    """The same as graph nodes; returns the name of a float32 [N, S]."""
    features, logits = tensors.responses.features, tensors.responses.logits
    lengths = [graph.reduce("ReduceL2", feature, [1], keepdims=True) for feature in features]
    limits = [graph.constant(np.float32(limit)) for limit in (SMALLEST, LARGEST)]
    logs = graph.node("Log", graph.node("Clip", graph.node("Concat", *tensors.distances, *lengths, axis=1), *limits))
    if logits is None:
        return logs
    two, _ = graph.nodes("TopK", 2, logits, graph.constant(np.array([2], np.int64)), axis=1)
    margin = graph.node("MatMul", two, graph.constant(np.array([[1.0], [-1.0]], np.float32)))
    energy = graph.node("Neg", graph.reduce("ReduceLogSumExp", logits, [1], keepdims=True))
    return graph.node("Concat", logs, margin, energy, axis=1)


def _log(values: NDArray[np.float64]) -> NDArray[np.float64]:
    logs: NDArray[np.float64] = np.log(np.clip(values, SMALLEST, LARGEST))
    return logs
