"""An ONNX graph as a PyTorch module: attacks need gradients, and the bundles hold graphs."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx
import torch
from onnx import helper, numpy_helper
from torch import nn
from torch.nn import functional as F  # noqa: N812 - as everybody calls it

Attributes = dict[str, Any]
Operator = Callable[[list[torch.Tensor], Attributes], torch.Tensor]


class GraphModule(nn.Module):
    """Computes what the graph does, or a part of it, for the operators of `OPERATORS`.

    Args:
        model: its weights are initializers.
        start: the tensor that is given; by default the graph's first input.
        end: the tensor that is computed; by default the graph's first output.

    Raises:
        ValueError: where an operator is not known here, or `end` needs more than `start`.
    """

    def __init__(self, model: onnx.ModelProto, *, start: str | None = None, end: str | None = None) -> None:
        super().__init__()
        self._start = start or model.graph.input[0].name
        self._end = end or model.graph.output[0].name
        values = {
            tensor.name: torch.from_numpy(np.array(numpy_helper.to_array(tensor))) for tensor in model.graph.initializer
        }
        self._constants = {name: value for name, value in values.items() if not value.is_floating_point()}
        self._names = [name for name in values if name not in self._constants]
        self._weights = nn.ParameterList(values[name] for name in self._names)
        self._nodes = [
            (OPERATORS[node.op_type], list(node.input), node.output[0], _attributes(node))
            for node in _between(model.graph, self._start, self._end)
        ]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """From one tensor to the other."""
        values: dict[str, torch.Tensor] = {
            **self._constants,
            **dict(zip(self._names, self._weights, strict=True)),
            self._start: x,
        }
        for operator, inputs, output, attributes in self._nodes:
            values[output] = operator([values[name] for name in inputs if name], attributes)
        return values[self._end]


def in_stages(model: onnx.ModelProto, ends: Sequence[str]) -> list[GraphModule]:
    """The graph cut after each of some tensors, through which all data passes; the last part gives the output."""
    cuts = [None, *ends, None]
    return [GraphModule(model, start=start, end=end) for start, end in itertools.pairwise(cuts)]


def _between(graph: onnx.GraphProto, start: str, end: str) -> list[onnx.NodeProto]:
    known = {start, "", *(tensor.name for tensor in graph.initializer)}
    wanted, needed = {end}, []
    for node in reversed(graph.node):
        if node.output[0] in wanted - known:
            if node.op_type not in OPERATORS:
                raise ValueError(f"no operator {node.op_type}; add it to OPERATORS")
            needed.append(node)
            wanted.update(node.input)
    if missing := wanted - known - {node.output[0] for node in needed}:
        raise ValueError(f"{end} needs {', '.join(sorted(missing))} beside {start}")
    return needed[::-1]


def _attributes(node: onnx.NodeProto) -> Attributes:
    return {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}


def _conv(x: list[torch.Tensor], a: Attributes) -> torch.Tensor:
    before = a.get("pads", [0] * 4)
    if before[: len(before) // 2] != before[len(before) // 2 :]:
        raise ValueError(f"pads {before} are not the same on both sides")
    return F.conv2d(
        x[0],
        x[1],
        x[2] if len(x) > 2 else None,
        stride=a.get("strides", [1, 1]),
        padding=before[: len(before) // 2],
        dilation=a.get("dilations", [1, 1]),
        groups=a.get("group", 1),
    )


def _max_pool(x: list[torch.Tensor], a: Attributes) -> torch.Tensor:
    return F.max_pool2d(x[0], a["kernel_shape"], a.get("strides"), a.get("pads", [0, 0])[:2])


def _batch_norm(x: list[torch.Tensor], a: Attributes) -> torch.Tensor:
    data, *rest = x
    scale, bias, mean, variance = (value.view(1, -1, 1, 1) for value in rest)
    return (data - mean) * (scale / torch.sqrt(variance + a.get("epsilon", 1e-5))) + bias


def _mean(x: list[torch.Tensor], a: Attributes) -> torch.Tensor:
    axes: list[int] = x[1].tolist() if len(x) > 1 else a["axes"]
    return x[0].mean(dim=tuple(axes), keepdim=bool(a.get("keepdims", 1)))


def _gemm(x: list[torch.Tensor], a: Attributes) -> torch.Tensor:
    left = x[0].T if a.get("transA") else x[0]
    right = x[1].T if a.get("transB") else x[1]
    product: torch.Tensor = a.get("alpha", 1.0) * (left @ right)
    return product + a.get("beta", 1.0) * x[2] if len(x) > 2 else product


def _reshape(x: list[torch.Tensor], _a: Attributes) -> torch.Tensor:
    shape = [x[0].shape[i] if size == 0 else int(size) for i, size in enumerate(x[1].tolist())]
    return x[0].reshape(shape)


def _slice(x: list[torch.Tensor], _a: Attributes) -> torch.Tensor:
    data, starts, ends, *rest = x
    axes = rest[0].tolist() if rest else range(len(starts))
    steps = rest[1].tolist() if len(rest) > 1 else [1] * len(starts)
    places = [slice(None)] * data.ndim
    for axis, start, end, step in zip(axes, starts.tolist(), ends.tolist(), steps, strict=True):
        # ONNX writes "to the end" as the largest number there is, and torch warns of it.
        places[axis] = slice(*slice(start, end, step).indices(data.shape[axis]))
    return data[tuple(places)]


def _quantise(x: list[torch.Tensor], a: Attributes) -> torch.Tensor:
    """Still floats, which hold the integers exactly, and with the gradient of what was not rounded.

    The "straight-through estimator" (Bengio, Leonard, Courville, arXiv 1308.3432).
    """
    data, scale, zero = x
    limits = torch.iinfo(zero.dtype)
    exact = data / _along(scale, data, a) + _along(zero, data, a)
    rounded: torch.Tensor = exact + (exact.round() - exact).detach()
    return rounded.clamp(limits.min, limits.max)


def _dequantise(x: list[torch.Tensor], a: Attributes) -> torch.Tensor:
    whole, scale, zero = x
    return (whole - _along(zero, whole, a).float()) * _along(scale, whole, a)


def _along(values: torch.Tensor, data: torch.Tensor, a: Attributes) -> torch.Tensor:
    """One number for all of the data, or one for each place of an axis."""
    if values.ndim == 0:
        return values
    return values.view([-1 if axis == a.get("axis", 1) else 1 for axis in range(data.ndim)])


OPERATORS: dict[str, Operator] = {
    "Add": lambda x, _: x[0] + x[1],
    "BatchNormalization": _batch_norm,
    "Concat": lambda x, a: torch.cat(x, dim=a["axis"]),
    "Conv": _conv,
    "DequantizeLinear": _dequantise,
    "Div": lambda x, _: x[0] / x[1],
    "Erf": lambda x, _: torch.erf(x[0]),
    "Flatten": lambda x, a: x[0].flatten(a.get("axis", 1)),
    "Gemm": _gemm,
    "GlobalAveragePool": lambda x, _: x[0].mean(dim=(2, 3), keepdim=True),
    "Identity": lambda x, _: x[0],
    "LayerNormalization": lambda x, a: F.layer_norm(x[0], x[1].shape, x[1], x[2], a.get("epsilon", 1e-5)),
    "MatMul": lambda x, _: x[0] @ x[1],
    "MaxPool": _max_pool,
    "Mul": lambda x, _: x[0] * x[1],
    "QuantizeLinear": _quantise,
    "ReduceMean": _mean,
    "Relu": lambda x, _: torch.relu(x[0]),
    "Reshape": _reshape,
    "Shape": lambda x, a: torch.tensor(x[0].shape[a.get("start", 0) : a.get("end")]),
    "Slice": _slice,
    "Softmax": lambda x, a: x[0].softmax(dim=a.get("axis", -1)),
    "Squeeze": lambda x, _: x[0].squeeze(tuple(x[1].tolist())),
    "Transpose": lambda x, a: x[0].permute(a["perm"]),
}
"""What the reference nets are made of."""
