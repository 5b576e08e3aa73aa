import contextlib
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from driftprint.onnx_wire import has_external_data
from tests.bundles import make_model

INNOCENT = make_model()


def external_tensor(name: str = "weights") -> TensorProto:
    tensor = numpy_helper.from_array(np.zeros(3, np.float32), name)
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="/etc/passwd")
    return tensor


def graph(nodes: list[onnx.NodeProto] | None = None) -> onnx.GraphProto:
    return helper.make_graph(nodes or [], "graph", [], [])


def node(**attributes: Any) -> onnx.NodeProto:
    return helper.make_node("Constant", [], ["y"], **attributes)


def sparse(tensor: TensorProto) -> onnx.SparseTensorProto:
    return onnx.SparseTensorProto(values=tensor, dims=[3])


def model_of(made: onnx.GraphProto) -> onnx.ModelProto:
    return helper.make_model(made)


def in_initializer() -> onnx.ModelProto:
    made = graph()
    made.initializer.append(external_tensor())
    return model_of(made)


def in_sparse_initializer() -> onnx.ModelProto:
    made = graph()
    made.sparse_initializer.append(sparse(external_tensor()))
    return model_of(made)


def in_sparse_indices() -> onnx.ModelProto:
    made = graph()
    made.sparse_initializer.append(onnx.SparseTensorProto(indices=external_tensor(), dims=[3]))
    return model_of(made)


def in_branch() -> onnx.ModelProto:
    inner = graph([helper.make_node("If", ["c"], ["y"], then_branch=in_initializer().graph, else_branch=graph())])
    return model_of(graph([helper.make_node("Loop", ["n"], ["y"], body=inner)]))


def in_list_of_graphs() -> onnx.ModelProto:
    return model_of(graph([node(graphs=[graph(), in_initializer().graph])]))


def in_function() -> onnx.ModelProto:
    made = model_of(graph())
    made.functions.append(
        helper.make_function("d", "f", [], ["y"], [node(value=external_tensor())], [helper.make_opsetid("", 17)])
    )
    return made


def in_function_default() -> onnx.ModelProto:
    made = in_function()
    function = made.functions[0]
    function.ClearField("node")
    function.attribute_proto.append(helper.make_attribute("value", external_tensor()))
    return made


def in_training() -> onnx.ModelProto:
    made = model_of(graph())
    made.training_info.add().algorithm.CopyFrom(in_initializer().graph)
    return made


def in_training_start() -> onnx.ModelProto:
    made = model_of(graph())
    made.training_info.add().initialization.CopyFrom(in_initializer().graph)
    return made


@pytest.mark.parametrize(
    "model",
    [
        in_initializer(),
        in_sparse_initializer(),
        in_sparse_indices(),
        model_of(graph([node(value=external_tensor())])),
        model_of(graph([node(values=[numpy_helper.from_array(np.zeros(1)), external_tensor()])])),
        model_of(graph([node(sparse_value=sparse(external_tensor()))])),
        in_branch(),
        in_list_of_graphs(),
        in_function(),
        in_function_default(),
        in_training(),
        in_training_start(),
    ],
    ids=[
        "initializer",
        "sparse initializer",
        "sparse indices",
        "attribute",
        "list of tensors",
        "sparse attribute",
        "branch of a loop's body",
        "list of graphs",
        "function",
        "function's default",
        "training",
        "training's start",
    ],
)
def test_a_tensor_in_another_file_is_found_wherever_a_tensor_may_be(model: onnx.ModelProto) -> None:
    assert has_external_data(model.SerializeToString())


@pytest.mark.parametrize("mark", ["location", "entries"])
def test_either_mark_is_enough(mark: str) -> None:
    model = in_initializer()
    model.graph.initializer[0].ClearField("external_data" if mark == "location" else "data_location")

    assert has_external_data(model.SerializeToString())


def test_self_contained_models_pass() -> None:
    model = onnx.load_model_from_string(INNOCENT)
    model.graph.initializer.append(numpy_helper.from_array(np.random.default_rng(0).normal(size=(64, 64)), "w"))
    model.graph.initializer[-1].data_location = TensorProto.DEFAULT

    assert not has_external_data(INNOCENT)
    assert not has_external_data(model.SerializeToString())


@given(kept=st.integers(0, len(INNOCENT) - 1))
def test_a_model_cut_short_is_refused_or_has_lost_whole_fields(kept: int) -> None:
    try:
        assert not has_external_data(INNOCENT[:kept])
    except ValueError:
        with pytest.raises(Exception, match="pars"):
            onnx.load_model_from_string(INNOCENT[:kept])


@given(data=st.binary(max_size=300))
def test_no_bytes_break_the_walk(data: bytes) -> None:
    with contextlib.suppress(ValueError):
        has_external_data(data)


def test_graphs_in_graphs_without_end_are_refused() -> None:
    made = graph()
    for _ in range(25):  # three messages deep each
        made = graph([node(g=made)])

    with pytest.raises(ValueError, match="too deeply"):
        has_external_data(model_of(made).SerializeToString())
