"""A bundle's model tells nothing of the machine that it was made on."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from driftprint_export.torch_source import trace_module
from driftprint_export.traces import without_traces
from tests.exporters.models import SIDE, ConvNet

ROOT = Path(__file__).parents[2]
BUNDLES = sorted([*ROOT.glob("exporters/bundles/*/model.onnx"), *ROOT.glob("core/driftprint/reference/*/model.onnx")])


@pytest.mark.parametrize("path", BUNDLES, ids=lambda path: path.parent.name)
def test_the_committed_bundles_name_no_file(path: Path) -> None:
    assert not re.search(rb"[\w.-]+/[\w.-]+\.py\b", path.read_bytes())


def test_of_a_traced_module_the_graph_is_left_and_the_stack_traces_are_not() -> None:
    model = trace_module(ConvNet().eval(), np.zeros((1, 1, SIDE, SIDE), np.float32), "ConvNet").proto
    before = [(node.op_type, list(node.input), list(node.output)) for node in model.graph.node]
    assert b".py" in model.SerializeToString()
    left = without_traces(model)
    assert b".py" not in left.SerializeToString()
    assert [(node.op_type, list(node.input), list(node.output)) for node in left.graph.node] == before
    onnx.checker.check_model(left)


def test_graphs_within_nodes_are_cleaned_too() -> None:
    value = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])
    inner = helper.make_node("Constant", [], ["y"], value_float=1.0, doc_string="/home/ann/net.py")
    branch = helper.make_graph([inner], "branch", [], [value], doc_string="/home/ann/net.py")
    choose = helper.make_node("If", ["x"], ["z"], then_branch=branch, else_branch=branch)
    graph = helper.make_graph([choose], "g", [helper.make_tensor_value_info("x", TensorProto.BOOL, [])], [])
    model = helper.make_model(graph, doc_string="/home/ann/net.py", producer_name="torch")
    cleaned = without_traces(model)
    assert b"ann" not in cleaned.SerializeToString()
    assert cleaned.producer_name == "torch"
