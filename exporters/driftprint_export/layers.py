"""Chooses the layers to fingerprint: the last tensor of each stage, found in the graph."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from driftprint.errors import ConfigError, ModelError
from driftprint_export.axes import channel_axes
from driftprint_export.dataflow import Dataflow, trace
from driftprint_export.source import SourceModel, make_session

MOST_LAYERS = 8
FEWEST_LAYERS = 4
"""A graph with fewer stages, such as a transformer, gives several layers of its longest stage."""

MOST_CHANNELS = 4096
"""A covariance of more channels is neither estimated well nor small."""

_ROUNDING = {"float32": 1e-4, "float16": 5e-3, "int8": 2e-2}
"""By how much two poolings of one layer may differ, as a share of the largest channel."""

_UNARY = frozenset(
    {
        "BatchNormalization",
        "Cast",
        "Clip",
        "DequantizeLinear",
        "Elu",
        "Gelu",
        "HardSigmoid",
        "HardSwish",
        "Identity",
        "LayerNormalization",
        "LeakyRelu",
        "Mish",
        "PRelu",
        "QuantizeLinear",
        "Relu",
        "Selu",
        "Sigmoid",
        "Softplus",
        "Tanh",
    }
)
"""Operators that refine a tensor: what comes after them stands for what went in."""


@dataclass(frozen=True)
class Layer:
    """A tensor to fingerprint, and how it is pooled to one vector a frame.

    Attributes:
        tensor: its name in the graph.
        shape: the shape it was seen to have for one frame.
        channel_axis: the axis that stays.
        batch_axis: the axis that counts frames.
        dtype: its numpy dtype.
    """

    tensor: str
    shape: tuple[int, ...]
    channel_axis: int
    batch_axis: int
    dtype: np.dtype[Any]

    @property
    def channels(self) -> int:
        """How long the pooled vector is."""
        return self.shape[self.channel_axis]

    @property
    def pooled_axes(self) -> tuple[int, ...]:
        """The axes to take the mean over: height and width of maps, the tokens of sequences."""
        return tuple(i for i in range(len(self.shape)) if i not in (self.channel_axis, self.batch_axis))

    @property
    def resolution(self) -> tuple[int, ...]:
        """The sizes of the pooled axes: layers of one resolution are one stage."""
        return tuple(self.shape[i] for i in self.pooled_axes)

    def pool(self, value: NDArray[Any]) -> NDArray[np.float64]:
        """The mean over the pooled axes, [N, C] for a batch of N, as the graph computes it."""
        pooled: NDArray[np.float64] = value.astype(np.float64).mean(axis=self.pooled_axes)
        return pooled if self.batch_axis < self.channel_axis else pooled.T


def find_layers(source: SourceModel, batch: NDArray[Any], names: Sequence[str] = ()) -> list[Layer]:
    """Choose the layers to fingerprint.

    Everything that depends on the frame is looked at. Tensors through which all data passes, and those that
    join branches, are grouped into stages of one resolution; each stage gives its last. The model's own
    outputs are taken only where there is hardly anything else.

    Args:
        source: the model.
        batch: one real frame as the model's input, with a batch axis of 1.
        names: tensors to take instead, in this order.

    Raises:
        ModelError: where the model has no tensor that can be fingerprinted.
        ConfigError: where one of `names` cannot be.
    """
    flow = trace(source.proto.graph, source.input.name)
    seen = _observe(source, flow, batch)
    layers = {layer.tensor: layer for layer in _poolable(source, flow, seen, batch)}
    if names:
        return [_named(layers, flow, name) for name in names]
    chosen = _stages(_candidates(source, flow, layers, seen))
    if not chosen:
        raise ModelError(
            "has no layer that can be fingerprinted (looked for maps, token sequences and vectors of numbers)",
            where=source.name,
            fix="name tensors of the graph with --layer",
        )
    return chosen


def _observe(source: SourceModel, flow: Dataflow, batch: NDArray[Any]) -> dict[str, NDArray[Any]]:
    """Run one frame and keep every tensor."""
    session = make_session(_exposing(source.proto, flow.tensors), where=source.name, optimise=False)
    try:
        values = session.run(list(flow.tensors), {source.input.name: batch})
    except Exception as error:  # onnxruntime's exceptions have no common base but this
        raise ModelError(
            f"cannot run on a frame of shape {list(batch.shape)} ({str(error).splitlines()[0]})", where=source.name
        ) from None
    return {name: value for name, value in zip(flow.tensors, values, strict=True) if isinstance(value, np.ndarray)}


def _exposing(model: onnx.ModelProto, tensors: Sequence[str]) -> onnx.ModelProto:
    """A copy of the model that has `tensors` among its outputs; onnxruntime infers their types."""
    exposed = onnx.ModelProto()
    exposed.CopyFrom(model)
    known = {output.name for output in model.graph.output}
    exposed.graph.output.extend(onnx.ValueInfoProto(name=name) for name in tensors if name not in known)
    return exposed


def _batch_axes(
    source: SourceModel, flow: Dataflow, seen: dict[str, NDArray[Any]], batch: NDArray[Any]
) -> dict[str, int]:
    """The axis of each tensor that grows with the batch; the first where the batch is fixed."""
    first = {name: 0 for name, value in seen.items() if value.ndim and value.shape[0] == 1}
    if not source.input.batched:
        return first
    try:
        two = _observe(source, flow, np.concatenate([batch, batch]))
    except ModelError:  # free by its declaration, fixed by a reshape inside
        return first
    axes = {}
    for name, value in seen.items():
        if name in two and two[name].ndim == value.ndim:
            grown = [i for i in range(value.ndim) if two[name].shape[i] == 2 * value.shape[i]]
            if len(grown) == 1 and value.shape[grown[0]] == 1:
                axes[name] = grown[0]
    return axes


def _poolable(source: SourceModel, flow: Dataflow, seen: dict[str, NDArray[Any]], batch: NDArray[Any]) -> list[Layer]:
    """Every tensor that can be pooled to one vector a frame, in the order of the graph."""
    shapes = {name: value.shape for name, value in seen.items()}
    channels = channel_axes(flow, shapes)
    batches = _batch_axes(source, flow, seen, batch)
    layers = []
    for name in flow.tensors:
        if name not in channels or name not in batches or channels[name] == batches[name]:
            continue
        layer = Layer(name, shapes[name], channels[name], batches[name], seen[name].dtype)
        finite = seen[name].dtype.kind == "f" and np.isfinite(seen[name]).all()
        if finite and 2 <= layer.channels <= MOST_CHANNELS and layer.resolution.count(0) == 0:
            layers.append(layer)
    return layers


def _named(layers: dict[str, Layer], flow: Dataflow, name: str) -> Layer:
    if name in layers:
        return layers[name]
    if name in flow.tensors:
        raise ConfigError(
            f"tensor {name!r} cannot be pooled to one vector of 2 to {MOST_CHANNELS} finite numbers a frame",
            where="--layer",
        )
    some = ", ".join(list(layers)[-5:])
    raise ConfigError(
        f"the graph has no tensor {name!r} that depends on the frame", where="--layer", fix=f"try one of {some}"
    )


def _candidates(
    source: SourceModel, flow: Dataflow, layers: dict[str, Layer], seen: dict[str, NDArray[Any]]
) -> list[Layer]:
    """The tensors that may end a stage."""
    own = set(source.outputs)
    passing = [layers[name] for name in flow.tensors if name in layers and name in flow.cuts | flow.merges]
    rounding = _ROUNDING[source.precision]
    inner = _without_copies([layer for layer in passing if not _is_refined(layer, flow, layers)], seen, rounding)
    own_values = [layers[name].pool(seen[name]) for name in own if name in layers]
    hidden = [
        layer
        for layer in inner
        if layer.tensor not in own
        and not any(_same(layer.pool(seen[layer.tensor]), value, rounding) for value in own_values)
    ]
    if len(hidden) >= 2:
        return hidden
    outputs = [layers[name] for name in flow.tensors if name in own and name in layers]
    return _without_copies([*hidden, *outputs], seen, rounding)


def _is_refined(layer: Layer, flow: Dataflow, layers: dict[str, Layer]) -> bool:
    """Whether the tensor goes only into its own activation or normalisation, which then stands for it."""
    consumers = flow.consumers.get(layer.tensor, [])
    if len(consumers) != 1 or consumers[0].op_type not in _UNARY:
        return False
    after = consumers[0].output[0]
    if consumers[0].op_type == "QuantizeLinear":
        return any(node.output[0] in layers for node in flow.consumers.get(after, []))
    return after in layers and (after in flow.cuts | flow.merges)


def _without_copies(layers: Sequence[Layer], seen: dict[str, NDArray[Any]], rounding: float) -> list[Layer]:
    """Leave out tensors that pool to what an earlier one pools to, such as a global mean or a flattening."""
    kept: list[Layer] = []
    values: list[NDArray[np.float64]] = []
    for layer in layers:
        value = layer.pool(seen[layer.tensor])
        if not any(_same(value, other, rounding) for other in values):
            kept.append(layer)
            values.append(value)
    return kept


def _same(a: NDArray[np.float64], b: NDArray[np.float64], rounding: float) -> bool:
    return a.shape == b.shape and bool(np.abs(a - b).max() <= rounding * np.abs(a).max())


def _stages(candidates: Sequence[Layer]) -> list[Layer]:
    """The last of each run of one resolution; long runs are filled evenly up to `FEWEST_LAYERS` in all."""
    runs = [list(run) for _, run in groupby(candidates, key=lambda layer: layer.resolution)]
    picks = [1] * len(runs)
    while runs and sum(picks) < FEWEST_LAYERS:
        longest = max(range(len(runs)), key=lambda i: len(runs[i]) / picks[i])
        if len(runs[longest]) < 2 * picks[longest]:
            break
        picks[longest] += 1
    chosen = [layer for run, pick in zip(runs, picks, strict=True) for layer in _spread(run, pick)]
    return _spread(chosen, MOST_LAYERS)


def _spread(layers: Sequence[Layer], most: int) -> list[Layer]:
    """At most `most` of the layers, evenly over them, the last always included."""
    if len(layers) <= most:
        return list(layers)
    return [layers[round((i + 1) * len(layers) / most) - 1] for i in range(most)]
