"""Samples of very many messages as text for Prometheus, some thousands of lines at a time.

prometheus_client makes an object of every sample, which for 100,000 devices takes the better part of a minute. Lines
are made here family by family, as the format asks, in the tightest loop that Python has.

Source: https://prometheus.io/docs/instrumenting/exposition_formats/, text format 0.0.4.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeVar

from driftprint.exposition import Several, Single, Spec

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_ROWS_AT_ONCE = 5_000

M = TypeVar("M")


def head(spec: Spec) -> str:
    """The lines that begin a family."""
    return f"# HELP {spec.name} {spec.help}\n# TYPE {spec.name} {spec.type}\n"


def lines(reading: Single[M] | Several[M], own: Sequence[str], rows: Sequence[tuple[str, M]]) -> Iterator[str]:
    """A family's samples.

    Args:
        reading: the family, and what it reads from a message.
        own: the names of the labels that a message has of its own; the family's first.
        rows: messages with those labels, as they stand between braces.
    """
    name, further = reading.spec.name, _Labels(reading.spec.labels[len(own) :])
    for start in range(0, len(rows), _ROWS_AT_ONCE):
        part = rows[start : start + _ROWS_AT_ONCE]
        # The sign makes a number of a truth value.
        if isinstance(reading, Single):
            read = reading.read
            yield "".join(
                [f"{name}{{{labelled}}} {+value}\n" for labelled, it in part if (value := read(it)) is not None]
            )
        else:
            read_all = reading.read
            yield "".join(
                [
                    f"{name}{{{labelled},{further[values]}}} {+value}\n"
                    for labelled, it in part
                    for values, value in read_all(it)
                ]
            )


class _Labels(dict[tuple[str, ...], str]):
    """Labels as they stand between braces, by their values; the same ones come again and again."""

    def __init__(self, names: Sequence[str]) -> None:
        super().__init__()
        self._names = tuple(names)

    def __missing__(self, values: tuple[str, ...]) -> str:
        text = ",".join(f'{name}="{_escape(value)}"' for name, value in zip(self._names, values, strict=True))
        self[values] = text
        return text


def _escape(value: str) -> str:
    return value.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')
