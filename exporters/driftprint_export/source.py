"""The model to export: an ONNX graph with one input, checked once."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx
import onnxruntime
from google.protobuf.message import DecodeError
from numpy.typing import NDArray
from onnx import helper, numpy_helper, version_converter

from driftprint.errors import ConfigError, ModelError
from driftprint.manifest import LAYERS_OUTPUT, SCORE_OUTPUT
from driftprint_export.builder import default_opset

OLDEST_OPSET = 11
CONVERTED_OPSET = 17

Precision = Literal["float32", "float16", "int8"]


@dataclass(frozen=True)
class GraphInput:
    """The graph's one input.

    Attributes:
        name: its name.
        dtype: its numpy dtype.
        shape: its dimensions without the batch axis; None where one is free.
        batched: whether the batch axis is free, so that several frames can go at once.
    """

    name: str
    dtype: np.dtype[Any]
    shape: tuple[int | None, ...]
    batched: bool


@dataclass(frozen=True)
class SourceModel:
    """A model to be exported.

    Attributes:
        proto: the graph, with all its numbers in it.
        name: a file's or factory's name, for people.
        input: its one input.
        precision: of the arithmetic: decides how far runtimes may differ.
    """

    proto: onnx.ModelProto
    name: str
    input: GraphInput
    precision: Precision

    @property
    def outputs(self) -> tuple[str, ...]:
        """The names of the model's own outputs."""
        return tuple(output.name for output in self.proto.graph.output)


def load_onnx(path: Path, constants: Mapping[str, str] | None = None) -> SourceModel:
    """Read an ONNX file.

    Args:
        path: the file; tensors that lie beside it are read too.
        constants: input name to value, for inputs that are no frame: a number, or comma-separated numbers.

    Raises:
        ModelError: naming what about the model does not allow an export.
        ConfigError: where `constants` do not fit the model.
    """
    try:
        proto = onnx.load(str(path))
    except OSError as error:
        raise ModelError(f"cannot be read ({error.strerror or error})", where=str(path)) from None
    except (DecodeError, ValueError, onnx.checker.ValidationError) as error:
        raise ModelError(f"not a valid ONNX model ({error})", where=str(path)) from None
    return prepare(proto, path.name, constants or {})


def prepare(proto: onnx.ModelProto, name: str, constants: Mapping[str, str]) -> SourceModel:
    """Check a model and bring it into the form that the exporter works on; see `load_onnx`."""
    taken = {SCORE_OUTPUT, LAYERS_OUTPUT} & {output.name for output in proto.graph.output}
    if taken:
        raise ModelError("already has a fingerprint", where=name, fix="export from the model without one")
    if not proto.graph.node:
        raise ModelError("has no nodes", where=name)
    if default_opset(proto) < OLDEST_OPSET:
        proto = _convert(proto, name)
    if constants:
        proto = _fold(_with_constants(proto, constants), name)
    return SourceModel(proto, name, _only_input(proto, name), _precision(proto))


def make_session(model: onnx.ModelProto, *, where: str, optimise: bool = True) -> onnxruntime.InferenceSession:
    """An onnxruntime session on all of this machine's cores.

    Raises:
        ModelError: where onnxruntime cannot load the model.
    """
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # errors are raised, and said once
    if not optimise:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    try:
        return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's exceptions have no common base but this
        raise ModelError(f"onnxruntime cannot load it ({str(error).splitlines()[0]})", where=where) from None


def _convert(proto: onnx.ModelProto, name: str) -> onnx.ModelProto:
    try:
        return version_converter.convert_version(proto, CONVERTED_OPSET)
    except Exception as error:  # the converter's exceptions have no common base but this
        raise ModelError(
            f"uses operator set {default_opset(proto)} and cannot be converted to {CONVERTED_OPSET} ({error})",
            where=name,
            fix=f"export it again with operator set {OLDEST_OPSET} or newer",
        ) from None


def _inputs(proto: onnx.ModelProto) -> list[onnx.ValueInfoProto]:
    """The inputs that a caller must give; old models list their initializers too."""
    given = {tensor.name for tensor in proto.graph.initializer}
    return [value for value in proto.graph.input if value.name not in given]


def _only_input(proto: onnx.ModelProto, name: str) -> GraphInput:
    inputs = _inputs(proto)
    if len(inputs) != 1:
        names = ", ".join(value.name for value in inputs) or "none"
        raise ModelError(
            f"has {len(inputs)} inputs ({names}), expected one",
            where=name,
            fix="give the others a fixed value with --constant NAME=VALUE",
        )
    tensor = inputs[0].type.tensor_type
    if not inputs[0].type.HasField("tensor_type") or not tensor.HasField("shape") or not tensor.shape.dim:
        raise ModelError(f"input {inputs[0].name!r} is no tensor with a batch axis", where=name)
    dims = [dim.dim_value if dim.dim_value > 0 else None for dim in tensor.shape.dim]
    if dims[0] not in (None, 1):
        raise ModelError(
            f"input {inputs[0].name!r} has a fixed batch of {dims[0]}",
            where=name,
            fix="export it with a batch of 1 or a free batch axis",
        )
    dtype = helper.tensor_dtype_to_np_dtype(tensor.elem_type)
    return GraphInput(inputs[0].name, np.dtype(dtype), tuple(dims[1:]), dims[0] is None)


def _precision(proto: onnx.ModelProto) -> Precision:
    if any(node.op_type == "QuantizeLinear" or node.op_type.startswith("QLinear") for node in proto.graph.node):
        return "int8"
    if any(tensor.data_type == onnx.TensorProto.FLOAT16 for tensor in proto.graph.initializer):
        return "float16"
    return "float32"


def _with_constants(proto: onnx.ModelProto, constants: Mapping[str, str]) -> onnx.ModelProto:
    """Turn inputs into initializers."""
    model = onnx.ModelProto()
    model.CopyFrom(proto)
    values = {value.name: value for value in _inputs(model)}
    for name, text in constants.items():
        if name not in values:
            raise ConfigError(
                f"the model has no input {name!r}", where="--constant", fix=f"its inputs are {', '.join(values)}"
            )
        model.graph.initializer.append(numpy_helper.from_array(_parse_constant(values[name], text), name))
        model.graph.input.remove(values[name])
    return model


def _parse_constant(value: onnx.ValueInfoProto, text: str) -> NDArray[Any]:
    tensor = value.type.tensor_type
    shape = [max(1, dim.dim_value) for dim in tensor.shape.dim]
    try:
        numbers = np.asarray([float(number) for number in text.split(",")])
        return np.broadcast_to(numbers if numbers.size > 1 else numbers[0], shape).astype(
            helper.tensor_dtype_to_np_dtype(tensor.elem_type)
        )
    except ValueError:
        raise ConfigError(
            f"{value.name}={text}: expected a number, or comma-separated numbers that fill {shape}", where="--constant"
        ) from None


def _fold(proto: onnx.ModelProto, name: str) -> onnx.ModelProto:
    """Let onnxruntime resolve what the constants decide, branches above all: layers inside them become visible."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "folded.onnx"
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4  # errors are raised, and said once
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
        options.optimized_model_filepath = str(file)
        try:
            onnxruntime.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime's exceptions have no common base but this
            raise ModelError(f"onnxruntime cannot load it ({str(error).splitlines()[0]})", where=name) from None
        return onnx.load(str(file))
