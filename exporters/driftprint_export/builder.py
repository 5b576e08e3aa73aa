"""Appends nodes to an ONNX graph, in the form that the graph's operator set wants."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

PREFIX = "driftprint"

# From these versions of the default operator set on, axes are an input and no longer an attribute
# (github.com/onnx/onnx/blob/main/docs/Changelog.md).
_AXES_AS_INPUT = {
    "ReduceL2": 18,
    "ReduceLogSumExp": 18,
    "ReduceMax": 18,
    "ReduceMean": 18,
    "ReduceSum": 13,
    "ReduceSumSquare": 18,
}


class GraphBuilder:
    """A copy of a model that grows at its end; the model's own nodes stay as they are.

    What is asked for a second time is not added again: a device computes everything once.

    Args:
        model: the model to start from.
    """

    def __init__(self, model: onnx.ModelProto) -> None:
        self.model = onnx.ModelProto()
        self.model.CopyFrom(model)
        self._graph = self.model.graph
        self._opset = default_opset(model)
        self._count = 0
        self._made: dict[tuple[Any, ...], list[str]] = {}
        """By what they are, the names of the constants and nodes added so far."""

    def constant(self, value: NDArray[Any]) -> str:
        """Add an initializer; returns its name."""
        whole = np.ascontiguousarray(value)
        key = ("", whole.dtype.str, whole.shape, whole.tobytes())
        if key not in self._made:
            self._made[key] = [self._name("constant")]
            self._graph.initializer.append(numpy_helper.from_array(whole, *self._made[key]))
        return self._made[key][0]

    def node(self, op: str, *inputs: str, **attributes: Any) -> str:
        """Add a node with one output; returns the output's name."""
        return self.nodes(op, 1, *inputs, **attributes)[0]

    def nodes(self, op: str, outputs: int, *inputs: str, **attributes: Any) -> list[str]:
        """Add a node with several outputs; returns their names."""
        key = (op, outputs, inputs, repr(sorted(attributes.items())))
        if key not in self._made:
            names = self._made[key] = [self._name(op) for _ in range(outputs)]
            self._graph.node.append(helper.make_node(op, list(inputs), names, name=names[0], **attributes))
        return self._made[key]

    def reduce(self, op: str, tensor: str, axes: Sequence[int], *, keepdims: bool) -> str:
        """Add a reduction over `axes`; returns the output's name."""
        if self._opset >= _AXES_AS_INPUT[op]:
            return self.node(op, tensor, self.constant(np.asarray(axes, np.int64)), keepdims=int(keepdims))
        return self.node(op, tensor, axes=list(axes), keepdims=int(keepdims))

    def output(self, tensor: str, name: str, shape: Sequence[int | str]) -> None:
        """Make a float32 tensor an output of the graph, under `name`."""
        self._rename(tensor, name)
        self._graph.output.append(helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, list(shape)))

    def _rename(self, tensor: str, name: str) -> None:
        """Rename a tensor that was added here."""
        self._made.clear()  # it knows the old name
        for node in self._graph.node:
            for names in (node.input, node.output):
                names[:] = [name if old == tensor else old for old in names]

    def _name(self, kind: str) -> str:
        self._count += 1
        return f"{PREFIX}/{kind}_{self._count}"


def default_opset(model: onnx.ModelProto) -> int:
    """The version of the default operator set that a model uses."""
    return next((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), 1)
