"""Adds to a graph the pooled vector of each fingerprinted layer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx

from driftprint_export.builder import GraphBuilder
from driftprint_export.layers import Layer


@dataclass(frozen=True)
class Taps:
    """Names of tensors, float32 [N, C] each, one a layer.

    Attributes:
        features: the layers, pooled.
        moments: their squares, pooled likewise; None where nobody asked for them.
    """

    features: list[str]
    moments: list[str] | None


def add_taps(graph: GraphBuilder, layers: Sequence[Layer], *, moments: bool = False) -> Taps:
    """Add for each layer the nodes that pool it.

    Args:
        graph: the model to add them to.
        layers: what to pool.
        moments: whether to pool its squares too.
    """
    producers = {name: node for node in graph.model.graph.node for name in node.output}
    tensors = [_readable(graph, layer, producers.get(layer.tensor)) for layer in layers]
    pairs = list(zip(tensors, layers, strict=True))
    return Taps(
        [_pooled(graph, tensor, layer) for tensor, layer in pairs],
        [_pooled(graph, graph.node("Mul", tensor, tensor), layer) for tensor, layer in pairs] if moments else None,
    )


def _readable(graph: GraphBuilder, layer: Layer, producer: onnx.NodeProto | None) -> str:
    """The layer's tensor in float32."""
    tensor = layer.tensor
    if producer is not None and producer.op_type == "DequantizeLinear":
        # A second reader of the same node would keep the runtime from fusing it into an integer kernel.
        attributes = {attribute.name: onnx.helper.get_attribute_value(attribute) for attribute in producer.attribute}
        tensor = graph.node("DequantizeLinear", *producer.input, **attributes)
    if layer.dtype != np.float32:  # the mean of a large map overflows float16
        tensor = graph.node("Cast", tensor, to=onnx.TensorProto.FLOAT)
    return tensor


def _pooled(graph: GraphBuilder, tensor: str, layer: Layer) -> str:
    if _is_map(layer):
        # Runtimes keep maps in blocks of channels, and know this pooling there; a ReduceMean makes them
        # put the whole map back in order first.
        return graph.node("Flatten", graph.node("GlobalAveragePool", tensor), axis=1)
    if layer.pooled_axes:
        tensor = graph.reduce("ReduceMean", tensor, layer.pooled_axes, keepdims=False)
    return tensor if layer.batch_axis < layer.channel_axis else graph.node("Transpose", tensor, perm=[1, 0])


def _is_map(layer: Layer) -> bool:
    """Whether the tensor is [N, C, H, W], or has one or three such axes."""
    return (layer.batch_axis, layer.channel_axis) == (0, 1) and bool(layer.pooled_axes)
