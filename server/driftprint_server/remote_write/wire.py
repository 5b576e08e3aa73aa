"""Remote write's request body: the protobuf message ``prometheus.WriteRequest``, compressed by snappy's block format.

Encoded by hand, since generated code makes an object of every label and every sample. The bytes of labels are kept, not
those of series: of these a large fleet has more than a replica has room for, while few labels make them all.

The form: https://prometheus.io/docs/specs/prw/remote_write_spec/ (version 1.0) and
https://protobuf.dev/programming-guides/encoding/.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from typing import TypeAlias

import cramjam

from driftprint.exposition import Spec
from driftprint_server.remote_write.samples import Sample

MOST_VALUES = 50_000
"""Values of a label whose bytes are kept: about 10 MB."""

# The tags of the fields: number * 8 + wire type.
_TIMESERIES = b"\x0a"  # WriteRequest.timeseries = 1, and so TimeSeries.labels and Label.name
_LABEL = b"\x0a"
_NAME = b"\x0a"
_VALUE = b"\x12"  # Label.value = 2
_SAMPLE = b"\x12"  # TimeSeries.samples = 2
_NUMBER = b"\x09"  # Sample.value = 1, a double
_AT = b"\x10"  # Sample.timestamp = 2, a varint

_double = struct.Struct("<cd").pack
_NUMBER_SIZE = 9


class _Values(dict[str, bytes]):
    """The bytes of one label with any value, as they are needed; when there are too many it begins anew."""

    def __init__(self, name: str, most: int) -> None:
        super().__init__()
        self._name = name
        self._most = most

    def __missing__(self, value: str) -> bytes:
        if len(self) >= self._most:
            self.clear()
        self[value] = encoded = _label(self._name, value)
        return encoded


_Layout: TypeAlias = tuple[bytes, tuple[tuple[int, _Values], ...]]
"""Of a family's labels: the bytes of its name, and then by the labels' names where each value stands."""


class Encoder:
    """Makes requests of samples.

    Args:
        most_values: of each label, whose bytes are kept.
    """

    def __init__(self, most_values: int = MOST_VALUES) -> None:
        self._most_values = most_values
        self._values: dict[str, _Values] = {}
        self._layouts: dict[str, _Layout] = {}

    @property
    def kept(self) -> int:
        """Values of labels whose bytes are kept."""
        return sum(map(len, self._values.values()))

    def encode(self, samples: Iterable[Sample]) -> bytes:
        """One request, not yet compressed.

        Args:
            samples: those of one series in the order of time.
        """
        by_labels: dict[bytes, bytes] = {}
        at, head, tail = -1, b"", b""
        for spec, values, value, milliseconds in samples:
            if milliseconds != at:
                at, tail = milliseconds, _AT + varint(milliseconds)
                head = _SAMPLE + varint(_NUMBER_SIZE + len(tail))
            labels, others = self._layouts.get(spec.name) or self._layout(spec)
            for index, encoded in others:
                labels += encoded[values[index]]
            by_labels[labels] = by_labels.get(labels, labels) + head + _double(_NUMBER, value) + tail
        parts: list[bytes] = []
        for series in by_labels.values():
            parts += (_TIMESERIES, _LENGTHS[size] if (size := len(series)) < _MOST_SHORT else varint(size), series)
        return b"".join(parts)

    def _layout(self, spec: Spec) -> _Layout:
        """Sorted by name, as the specification asks: ``__name__`` comes before every name that we use."""
        others = []
        for name in sorted(spec.labels):
            values = self._values.setdefault(name, _Values(name, self._most_values))
            others.append((spec.labels.index(name), values))
        self._layouts[spec.name] = layout = (_label("__name__", spec.name), tuple(others))
        return layout


def compress(request: bytes) -> bytes:
    """In snappy's block format, as remote write has it."""
    return bytes(cramjam.snappy.compress_raw(request))


NOTHING = compress(b"")
"""A request without samples."""


def varint(number: int) -> bytes:
    """A number that is not negative: seven bits a byte, the lowest first.

    >>> varint(300).hex()
    'ac02'
    """
    encoded = bytearray()
    while number > 0x7F:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)


_MOST_SHORT = 1024
_LENGTHS = tuple(varint(number) for number in range(_MOST_SHORT))


def _label(name: str, value: str) -> bytes:
    """One label of a series; nothing where it is empty, as the specification asks."""
    if not value:
        return b""
    body = _text(_NAME, name) + _text(_VALUE, value)
    return _LABEL + varint(len(body)) + body


def _text(tag: bytes, text: str) -> bytes:
    encoded = text.encode()
    return tag + varint(len(encoded)) + encoded
