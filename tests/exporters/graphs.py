"""Runs what a method or the combination writes into a graph."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import TensorProto, helper

from driftprint_export.builder import GraphBuilder

Emit = Callable[[GraphBuilder, list[str], str], list[str]]
"""Adds nodes: the graph, the inputs' names, the predicted classes' name; returns the results' names."""


def run_emitted(
    emit: Emit,
    inputs: Sequence[NDArray[np.float32]],
    predicted: NDArray[np.int64] | None = None,
    *,
    opset: int = 18,
) -> list[NDArray[np.float32]]:
    """Build a graph around what `emit` adds, and run it on the inputs."""
    names = [f"feature_{i}" for i in range(len(inputs))]
    values = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", value.shape[1]])
        for name, value in zip(names, inputs, strict=True)
    ]
    feed: dict[str, NDArray[np.float32] | NDArray[np.int64]] = dict(zip(names, inputs, strict=True))
    if predicted is not None:
        values.append(helper.make_tensor_value_info("predicted", TensorProto.INT64, ["N"]))
        feed["predicted"] = predicted
    model = helper.make_model(
        helper.make_graph([], "emitted", values, []), opset_imports=[helper.make_opsetid("", opset)], ir_version=8
    )
    graph = GraphBuilder(model)
    results = emit(graph, names, "predicted")
    graph.model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in results)
    session = onnxruntime.InferenceSession(graph.model.SerializeToString(), providers=["CPUExecutionProvider"])
    outputs: list[NDArray[np.float32]] = session.run(results, feed)
    return outputs
