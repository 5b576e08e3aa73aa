"""What is known of a frame before it is judged: a few numbers a layer, and how sure the model is."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from driftprint_export.builder import GraphBuilder
from driftprint_export.combinations.base import Evidence, EvidenceTensors
from driftprint_export.combinations.undecided import Energy, Margin

SMALLEST = 1e-6
"""Of a number whose logarithm is taken."""

LARGEST = 1e6

_OF_LOGITS = (Margin(), Energy())


def statistics(evidence: Evidence) -> NDArray[np.float64]:
    """The numbers that frames are judged by.

    Of each layer the logarithms of its distance and of its vector's length: outliers may lie far off in one
    layer and hardly stir another. Of a classifier the margin between its two best classes and its free energy.

    Returns:
        [N, 2 L], or [N, 2 L + 2] for a model with classes.
    """
    responses = evidence.responses
    lengths = np.stack([np.linalg.norm(layer.astype(np.float64), axis=1) for layer in responses.features], axis=1)
    columns = [_log(evidence.distances), _log(lengths)]
    if responses.logits is not None:
        columns += [measure(responses.logits)[:, None] for measure in _OF_LOGITS]
    return np.concatenate(columns, axis=1)


def emit_statistics(graph: GraphBuilder, tensors: EvidenceTensors) -> str:
    """The same as graph nodes; returns the name of a float32 [N, S]."""
    features, logits = tensors.responses.features, tensors.responses.logits
    lengths = [graph.reduce("ReduceL2", feature, [1], keepdims=True) for feature in features]
    limits = [graph.constant(np.float32(limit)) for limit in (SMALLEST, LARGEST)]
    logs = graph.node("Log", graph.node("Clip", graph.node("Concat", *tensors.distances, *lengths, axis=1), *limits))
    if logits is None:
        return logs
    return graph.node("Concat", logs, *(measure.emit(graph, logits) for measure in _OF_LOGITS), axis=1)


def _log(values: NDArray[np.float64]) -> NDArray[np.float64]:
    logs: NDArray[np.float64] = np.log(np.clip(values, SMALLEST, LARGEST))
    return logs
