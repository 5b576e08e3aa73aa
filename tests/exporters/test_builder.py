"""The builder adds nothing twice."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper

from driftprint_export.builder import GraphBuilder


def model() -> onnx.ModelProto:
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 3]) for name in "xy")
    graph = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "g", [x], [y])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])


def test_what_is_asked_for_twice_is_there_once() -> None:
    graph = GraphBuilder(model())
    found = {graph.node("Add", "y", graph.constant(np.array([1.0], np.float32))) for _ in range(2)}
    assert len(found) == 1
    assert [node.op_type for node in graph.model.graph.node] == ["Identity", "Add"]
    assert len(graph.model.graph.initializer) == 1


def test_what_differs_in_anything_is_another() -> None:
    graph = GraphBuilder(model())
    ones = [np.ones(shape, dtype) for shape in ((1,), (1, 1)) for dtype in (np.float32, np.int64)]
    assert len({graph.constant(one) for one in ones}) == 4
    nodes = [graph.node("Gemm", "y", "y", transB=flag) for flag in (0, 1)]
    nodes += [graph.node("Add", "y", "x"), graph.node("Add", "x", "y"), graph.node("Sub", "x", "y")]
    assert len(set(nodes)) == 5


def test_a_tensor_that_has_become_an_output_is_not_spoken_of_by_its_old_name() -> None:
    graph = GraphBuilder(model())
    graph.output(graph.node("Neg", "y"), "negative", [1, 3])
    assert graph.node("Neg", "y") not in {name for node in graph.model.graph.node[:-1] for name in node.output}
    onnx.checker.check_model(graph.model)
