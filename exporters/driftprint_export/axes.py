"""Which axis of each tensor counts the channels: axis 1 after a convolution, the last after a matrix product."""

from __future__ import annotations

from collections.abc import Mapping

import onnx

from driftprint_export.dataflow import Dataflow

_FIRST = frozenset(
    {
        "AveragePool",
        "BatchNormalization",
        "Conv",
        "ConvTranspose",
        "GlobalAveragePool",
        "GlobalMaxPool",
        "GroupNormalization",
        "InstanceNormalization",
        "LRN",
        "MaxPool",
    }
)
"""Operators whose result has its channels on axis 1 by definition."""

_LAST = frozenset({"GRU", "LSTM", "LayerNormalization", "RNN", "SkipLayerNormalization"})
"""Operators whose result has its channels on the last axis, as they are used."""

_KEEPING = frozenset({"Slice", "Split"})
"""Operators that keep the axes in their places while sizes change."""

Shape = tuple[int, ...]


def channel_axes(flow: Dataflow, shapes: Mapping[str, Shape]) -> dict[str, int]:
    """Follow the channel axis through a graph.

    Args:
        flow: the graph's dataflow.
        shapes: the shapes that the tensors were seen to have.

    Returns:
        Tensor to channel axis; a tensor is missing where the axis cannot be told, as within attention.
    """
    axes: dict[str, int] = {}
    for name in flow.tensors:
        if name not in shapes or len(shapes[name]) < 2:
            continue
        axis = _axis(flow.producers[name], name, axes, shapes)
        if axis is not None and 0 < axis < len(shapes[name]):
            axes[name] = axis
        elif axis is None and len(shapes[name]) == 2:
            axes[name] = 1
    return axes


def _axis(node: onnx.NodeProto, name: str, axes: Mapping[str, int], shapes: Mapping[str, Shape]) -> int | None:
    shape = shapes[name]
    if node.op_type in _FIRST:
        return 1
    if node.op_type in _LAST or (node.op_type in ("Gemm", "MatMul") and node.input[1] not in shapes):
        return len(shape) - 1
    if node.op_type == "MatMul":
        return None
    if node.op_type == "Gather" and node.input[0] not in shapes:  # an embedding table
        return len(shape) - 1
    known = [source for source in node.input if source in axes]
    if not known:
        return None
    source = next((source for source in known if len(shapes[source]) == len(shape)), known[0])
    if node.op_type == "Transpose":
        return _transposed(node, axes[source], len(shape))
    if node.op_type in _KEEPING:
        return axes[source]
    return _carried(axes[source], shapes[source], shape)


def _transposed(node: onnx.NodeProto, axis: int, rank: int) -> int:
    order = next((list(attribute.ints) for attribute in node.attribute if attribute.name == "perm"), None)
    return (order or list(reversed(range(rank)))).index(axis)


def _carried(axis: int, before: Shape, after: Shape) -> int | None:
    """Where the channel axis goes in an operator that names no axis for it (elementwise, reshape, reduction)."""
    from_end = len(before) - axis
    if len(before) == len(after):
        same = [i for i in range(len(before)) if i != axis and before[i] != after[i]]
        if before[axis] == after[axis] or not same:  # a concatenation changes the channel axis alone
            return axis
    elif before[: axis + 1] == after[: axis + 1]:
        return axis
    elif len(after) >= from_end and before[axis:] == after[-from_end:]:
        return len(after) - from_end
    places = [i for i in range(1, len(after)) if after[i] == before[axis]]
    return places[0] if len(places) == 1 else None
