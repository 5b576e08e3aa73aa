"""Refuses ONNX files that would make the runtime read other files.

An ONNX tensor may say that its numbers lie in another file (``data_location = EXTERNAL``); a runtime that
is given the model as bytes then reads that file relative to the working directory. The device does not have
the onnx package, so this walks the protobuf wire format (protobuf.dev/programming-guides/encoding) just far
enough to see every tensor, in time linear in the file's size.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


class _Type(Enum):
    """The message types of onnx.proto3 that can hold tensors, and the tensor itself."""

    MODEL = "ModelProto"
    GRAPH = "GraphProto"
    NODE = "NodeProto"
    ATTRIBUTE = "AttributeProto"
    FUNCTION = "FunctionProto"
    SPARSE = "SparseTensorProto"
    TRAINING = "TrainingInfoProto"
    TENSOR = "TensorProto"


# Field number to the type of the message in it (onnx.proto3 of IR version 11).
_CHILDREN: dict[_Type, dict[int, _Type]] = {
    _Type.MODEL: {7: _Type.GRAPH, 20: _Type.TRAINING, 25: _Type.FUNCTION},
    _Type.TRAINING: {1: _Type.GRAPH, 2: _Type.GRAPH},
    _Type.GRAPH: {1: _Type.NODE, 5: _Type.TENSOR, 15: _Type.SPARSE},
    _Type.NODE: {5: _Type.ATTRIBUTE},
    _Type.FUNCTION: {7: _Type.NODE, 11: _Type.ATTRIBUTE},
    _Type.ATTRIBUTE: {
        5: _Type.TENSOR,
        6: _Type.GRAPH,
        10: _Type.TENSOR,
        11: _Type.GRAPH,
        22: _Type.SPARSE,
        23: _Type.SPARSE,
    },
    _Type.SPARSE: {1: _Type.TENSOR, 2: _Type.TENSOR},
    _Type.TENSOR: {},
}
_TENSOR_EXTERNAL_DATA = 13
_TENSOR_DATA_LOCATION = 14
_DEEPEST = 64


def has_external_data(model: bytes) -> bool:
    """Whether any tensor of a serialised ONNX model lies in another file.

    Args:
        model: a serialised ``ModelProto``.

    Raises:
        ValueError: where `model` is not well-formed protobuf, or nested deeper than any real model.
    """
    pending = [(_Type.MODEL, 0, len(model), 0)]
    while pending:
        kind, start, end, depth = pending.pop()
        if depth > _DEEPEST:
            raise ValueError("graphs nested too deeply")
        for field, wire_type, low, high in _fields(memoryview(model), start, end):
            if kind is _Type.TENSOR:
                if field == _TENSOR_EXTERNAL_DATA or (field == _TENSOR_DATA_LOCATION and model[low:high] != b"\x00"):
                    return True
            elif wire_type == _BYTES and field in _CHILDREN[kind]:
                pending.append((_CHILDREN[kind][field], low, high, depth + 1))
    return False


def _fields(data: memoryview, position: int, end: int) -> Iterator[tuple[int, int, int, int]]:
    """The fields of one message: number, wire type, and where its value starts and ends."""
    while position < end:
        tag, position = _varint(data, position, end)
        field, wire_type = tag >> 3, tag & 7
        start = position
        if wire_type == _VARINT:
            _, position = _varint(data, position, end)
        elif wire_type == _FIXED64:
            position += 8
        elif wire_type == _FIXED32:
            position += 4
        elif wire_type == _BYTES:
            length, start = _varint(data, position, end)
            position = start + length
        else:
            raise ValueError(f"unknown protobuf wire type {wire_type}")
        if position > end:
            raise ValueError("cut short")
        yield field, wire_type, start, position


def _varint(data: memoryview, position: int, end: int) -> tuple[int, int]:
    value = shift = 0
    while position < end and shift < 70:
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if not byte & 0x80:
            return value, position
        shift += 7
    raise ValueError("cut short")
