"""Writes the fingerprint into the model's graph."""

from __future__ import annotations

from collections.abc import Sequence

import onnx

from driftprint.manifest import LAYERS_OUTPUT, SCORE_OUTPUT
from driftprint_export.builder import GraphBuilder
from driftprint_export.layers import Layer
from driftprint_export.learn import Learnt
from driftprint_export.methods import Tensors
from driftprint_export.source import SourceModel
from driftprint_export.taps import add_taps


def fuse(
    source: SourceModel,
    layers: Sequence[Layer],
    learnt: Learnt,
    logits_output: str | None,
    *,
    moments: bool,
) -> onnx.ModelProto:
    """The model with two more outputs: the score and the layers' surprises.

    Args:
        source: the model; its own nodes and outputs stay as they are.
        layers: the fingerprinted layers.
        learnt: the fingerprint.
        logits_output: the logits; None for a model without classes.
        moments: whether the fingerprint reads the layers' squares.
    """
    graph = GraphBuilder(source.proto)
    predicted = logits = None
    if logits_output is not None:
        predicted = graph.node("ArgMax", logits_output, axis=1, keepdims=0)
        logits = graph.node("Cast", logits_output, to=onnx.TensorProto.FLOAT)
    taps = add_taps(graph, layers, moments=moments)
    score, surprises = learnt.emit(graph, Tensors(taps.features, logits, taps.moments, predicted))
    batch = "N" if source.input.batched else 1
    graph.output(score, SCORE_OUTPUT, [batch])
    graph.output(surprises, LAYERS_OUTPUT, [batch, len(layers)])
    return graph.model
