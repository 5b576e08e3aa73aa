"""Which of a graph's tensors depend on the frame, and through which of them everything passes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import onnx

_SHAPE_ONLY = frozenset({"Shape", "Size"})
_MERGES = frozenset({"Add", "Concat", "Sum"})


@dataclass(frozen=True)
class Dataflow:
    """The tensors of a graph that depend on its input, in the order in which they are computed.

    Attributes:
        tensors: their names.
        cuts: those through which everything passes: at that moment no other tensor is still needed.
        merges: those that join two others (residual sums, concatenations).
        consumers: for every tensor, the nodes that read it.
        producers: for every tensor, the node that makes it.
    """

    tensors: tuple[str, ...]
    cuts: frozenset[str]
    merges: frozenset[str]
    consumers: dict[str, list[onnx.NodeProto]]
    producers: dict[str, onnx.NodeProto]


def trace(graph: onnx.GraphProto, input_name: str) -> Dataflow:
    """Follow the input through the graph.

    Values that depend on a tensor's shape alone do not depend on the frame.

    Args:
        graph: its nodes are in topological order, as ONNX demands.
        input_name: the input that carries the frame.
    """
    dynamic = {input_name}
    tensors: list[str] = []
    merges: set[str] = set()
    consumers: dict[str, list[onnx.NodeProto]] = {}
    producers: dict[str, onnx.NodeProto] = {}
    steps: list[tuple[list[str], list[str]]] = []
    for node in graph.node:
        read = list(dict.fromkeys(_reads(node)))
        for name in read:
            consumers.setdefault(name, []).append(node)
        producers.update(dict.fromkeys(node.output, node))
        carried = [name for name in read if name in dynamic]
        if not carried or node.op_type in _SHAPE_ONLY:
            continue
        made = [name for name in node.output if name]
        dynamic.update(made)
        tensors += made
        steps.append((carried, made))
        if node.op_type in _MERGES and len(carried) > 1:
            merges.update(made)
    return Dataflow(tuple(tensors), frozenset(_cuts(steps, input_name)), frozenset(merges), consumers, producers)


def _cuts(steps: list[tuple[list[str], list[str]]], input_name: str) -> Iterator[str]:
    last_use = {name: at for at, (carried, _) in enumerate(steps) for name in carried}
    live = {input_name}
    for at, (carried, made) in enumerate(steps):
        live.update(name for name in made if last_use.get(name, -1) > at)
        live.difference_update(name for name in carried if last_use[name] <= at)
        if len(live) == 1:
            yield from live


def _reads(node: onnx.NodeProto) -> Iterator[str]:
    """The tensors a node reads, those that its branches and loop bodies take from outside included."""
    yield from (name for name in node.input if name)
    for attribute in node.attribute:
        graphs = [attribute.g] if attribute.type == onnx.AttributeProto.GRAPH else list(attribute.graphs)
        for graph in graphs:
            for inner in graph.node:
                yield from _reads(inner)
