"""Remote write's request body: the protobuf message ``prometheus.WriteRequest``, compressed by snappy's block format.

Encoded by hand, since generated code makes an object of every label and every sample. Of a series all but the samples
is always the same bytes, which are kept.

The form: https://prometheus.io/docs/specs/prw/remote_write_spec/ (version 1.0) and
https://protobuf.dev/programming-guides/encoding/.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence

import cramjam

from driftprint.exposition import Spec
from driftprint_server.remote_write.samples import Sample

MOST_SERIES = 200_000
"""Series whose bytes are kept: about 100 MB."""

# The tags of the fields: number * 8 + wire type.
_TIMESERIES = b"\x0a"  # WriteRequest.timeseries = 1, and so TimeSeries.labels and Label.name
_LABEL = b"\x0a"
_NAME = b"\x0a"
_VALUE = b"\x12"  # Label.value = 2
_SAMPLE = b"\x12"  # TimeSeries.samples = 2
_NUMBER = b"\x09"  # Sample.value = 1, a double
_AT = b"\x10"  # Sample.timestamp = 2, a varint

_double = struct.Struct("<cd").pack

SeriesKey = tuple[str, tuple[str, ...]]
"""A metric's name and the values of its labels."""


class Encoder:
    """Makes requests of samples.

    Args:
        most_series: series whose bytes are kept: those that were needed last.
    """

    def __init__(self, most_series: int = MOST_SERIES) -> None:
        # Two halves: what is needed moves into the new one, and when that is full the old one goes. So a look is a look
        # into a plain dictionary.
        self._half = max(most_series // 2, 1)
        self._new: dict[SeriesKey, bytes] = {}
        self._old: dict[SeriesKey, bytes] = {}

    @property
    def kept(self) -> int:
        """Series whose bytes are kept."""
        return len(self._new) + len(self._old)

    def encode(self, samples: Iterable[Sample]) -> bytes:
        """One request, not yet compressed.

        Args:
            samples: those of one series in the order of time.
        """
        by_series: dict[SeriesKey, bytes] = {}
        at, tail = -1, b""
        for spec, labels, value, milliseconds in samples:
            if milliseconds != at:
                at, tail = milliseconds, _AT + varint(milliseconds)
            sample = _double(_NUMBER, value) + tail
            key = (spec.name, labels)
            known = by_series.get(key) or self._new.get(key) or self._labels_of(key, spec)
            by_series[key] = known + _SAMPLE + _LENGTHS[len(sample)] + sample
        parts: list[bytes] = []
        for series in by_series.values():
            parts += (_TIMESERIES, _LENGTHS[size] if (size := len(series)) < _MOST_SHORT else varint(size), series)
        return b"".join(parts)

    def _labels_of(self, key: SeriesKey, spec: Spec) -> bytes:
        encoded = self._old.pop(key, None) or encode_labels(spec, key[1])
        self._new[key] = encoded
        if len(self._new) >= self._half:
            self._new, self._old = {}, self._new
        return encoded


def encode_labels(spec: Spec, values: Sequence[str]) -> bytes:
    """The labels of a series: sorted by name, without empty ones, as the specification asks."""
    labels = [("__name__", spec.name), *zip(spec.labels, values, strict=True)]
    parts: list[bytes] = []
    for name, value in sorted(labels):
        if value:
            body = _text(_NAME, name) + _text(_VALUE, value)
            parts += (_LABEL, varint(len(body)), body)
    return b"".join(parts)


def compress(request: bytes) -> bytes:
    """In snappy's block format, as remote write has it."""
    return bytes(cramjam.snappy.compress_raw(request))


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


def _text(tag: bytes, text: str) -> bytes:
    encoded = text.encode()
    return tag + varint(len(encoded)) + encoded
