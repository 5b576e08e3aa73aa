"""Samples of very many messages as text for Prometheus, some thousands of lines at a time.

prometheus_client makes an object of every sample, which for 100,000 devices takes the better part of a minute. Lines
are made here family by family, as the format asks, in the tightest loop that Python has.

Source: https://prometheus.io/docs/instrumenting/exposition_formats/, text format 0.0.4.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import TypeVar

from driftprint.exposition import Several, Single, Spec

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_ROWS_AT_ONCE = 5_000

M = TypeVar("M")


def head(spec: Spec) -> str:
    """The lines that begin a family."""
    return f"# HELP {spec.name} {spec.help}\n# TYPE {spec.name} {spec.type}\n"


def labels(names: Sequence[str], values: Sequence[str]) -> str:
    """Labels as they stand between braces; without them, nothing."""
    return ",".join(f'{name}="{_escape(value)}"' for name, value in zip(names, values, strict=True))


def lines(reading: Single[M] | Several[M], own: Sequence[str], rows: Sequence[tuple[str, M]]) -> Iterator[str]:
    """A family's samples.

    Args:
        reading: the family, and what it reads from a message.
        own: the names of the labels that a message has of its own; the family's first.
        rows: messages with those labels, as `labels` writes them.
    """
    name, more = reading.spec.name, reading.spec.labels[len(own) :]
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
                    f"{name}{{{labelled},{_more(more, values)}}} {+value}\n"
                    for labelled, it in part
                    for values, value in read_all(it)
                ]
            )


@lru_cache(maxsize=4096)
def _more(names: tuple[str, ...], values: tuple[str, ...]) -> str:
    return labels(names, values)


def _escape(value: str) -> str:
    return value.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')
