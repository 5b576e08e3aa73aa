"""Writes the fingerprint into the model's graph."""

from __future__ import annotations

from collections.abc import Sequence

import onnx

from driftprint.manifest import LAYERS_OUTPUT, SCORE_OUTPUT
from driftprint_export.builder import GraphBuilder
from driftprint_export.combine import Surprise
from driftprint_export.layers import Layer
from driftprint_export.methods import FittedMethod
from driftprint_export.source import SourceModel
from driftprint_export.taps import add_taps


def fuse(
    source: SourceModel,
    layers: Sequence[Layer],
    method: FittedMethod,
    surprise: Surprise,
    logits_output: str | None,
) -> onnx.ModelProto:
    """The model with two more outputs: the score and the layers' scores.

    Args:
        source: the model; its own nodes and outputs stay as they are.
        layers: the fingerprinted layers.
        method: gives each layer's score.
        surprise: joins them.
        logits_output: where the predicted class is read; None for a model without classes.
    """
    graph = GraphBuilder(source.proto)
    predicted = None
    if logits_output is not None:
        predicted = graph.node("ArgMax", logits_output, axis=1, keepdims=0)
    scores = method.emit(graph, add_taps(graph, layers), predicted)
    score, surprises = surprise.emit(graph, scores)
    batch = "N" if source.input.batched else 1
    graph.output(score, SCORE_OUTPUT, [batch])
    graph.output(surprises, LAYERS_OUTPUT, [batch, len(layers)])
    return graph.model
