"""Takes out of a model what tells of the machine that it was made on."""

from __future__ import annotations

import onnx


def without_traces(model: onnx.ModelProto) -> onnx.ModelProto:
    """The same model without the notes that exporters leave in it.

    torch's exporter writes a stack trace with file names to every node, which says nothing to a runtime, and tells
    whoever gets the bundle where and how it was made.

    Args:
        model: is changed.
    """
    model.ClearField("metadata_props")
    model.ClearField("doc_string")
    for function in model.functions:
        function.ClearField("metadata_props")
        _clear_nodes(function.node)
    _clear_graph(model.graph)
    return model


def _clear_graph(graph: onnx.GraphProto) -> None:
    graph.ClearField("metadata_props")
    graph.ClearField("doc_string")
    for value in (*graph.input, *graph.output, *graph.value_info, *graph.initializer):
        value.ClearField("metadata_props")
        value.ClearField("doc_string")
    _clear_nodes(graph.node)


def _clear_nodes(nodes: list[onnx.NodeProto]) -> None:
    for node in nodes:
        node.ClearField("metadata_props")
        node.ClearField("doc_string")
        for attribute in node.attribute:
            attribute.ClearField("doc_string")
            for graph in (*((attribute.g,) if attribute.HasField("g") else ()), *attribute.graphs):
                _clear_graph(graph)
