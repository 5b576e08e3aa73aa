"""The latest outlier ratios of every stream, in little memory: what the page's table draws."""

from __future__ import annotations

import threading
from array import array
from collections.abc import Sequence

from driftprint.exposition import shown_ratio
from driftprint.messages import WindowKind
from driftprint_server.records import WindowRecord
from driftprint_server.sinks import Accepted

POINTS = 60
"""Ratios kept of a stream."""

_NOTHING = 0xFFFF
_ONE = 0xFFFE
_EMPTY = array("H", [_NOTHING] * POINTS)


class Sparklines:
    """A sink that keeps the outlier ratio by count of each stream's latest windows. A restart begins anew.

    Takes some 300 bytes a stream. One thread writes; any may read.

    Args:
        most_streams: beyond so many, the stream that was heard of first gives its place.
    """

    def __init__(self, *, most_streams: int) -> None:
        self._most = most_streams
        self._places: dict[str, int] = {}
        # By place. Arrays, as objects of a stream's own would take several times the memory.
        self._ratios = array("H")
        self._next = bytearray()
        self._seqs = array("q")
        self._instances = array("i")
        self._lock = threading.Lock()

    def write(self, batch: Sequence[Accepted]) -> None:
        """Take windows in; those that are not ahead of what is known change nothing."""
        with self._lock:
            for accepted in batch:
                if isinstance(accepted.message, WindowRecord):
                    self._take(accepted.message)

    def latest(self, site: str, device: str, stream: str) -> tuple[float, ...]:
        """The ratios, the newest last; `POINTS` at most."""
        with self._lock:
            place = self._places.get(_name(site, device, stream))
            if place is None:
                return ()
            kept = self._ratios[place * POINTS : (place + 1) * POINTS]
            split = self._next[place]
        return tuple(round(ratio / _ONE, 4) for ratio in kept[split:] + kept[:split] if ratio != _NOTHING)

    def _take(self, window: WindowRecord) -> None:
        ratio = shown_ratio(window, WindowKind.COUNT)
        if ratio is None:
            return
        name = _name(window.site, window.device, window.stream)
        instance = hash(window.instance) & 0x7FFFFFFF
        place = self._places.get(name)
        if place is None:
            place = self._place(name)
        elif self._instances[place] == instance and window.seq <= self._seqs[place]:
            return
        at = self._next[place]
        self._ratios[place * POINTS + at] = round(ratio * _ONE)
        self._next[place] = (at + 1) % POINTS
        self._instances[place], self._seqs[place] = instance, window.seq

    def _place(self, name: str) -> int:
        """An empty place for a stream."""
        place = len(self._next)
        if place < self._most:
            self._ratios.extend(_EMPTY)
            self._next.append(0)
            self._seqs.append(0)
            self._instances.append(0)
        else:
            place = self._places.pop(next(iter(self._places)))
            self._ratios[place * POINTS : (place + 1) * POINTS] = _EMPTY
            self._next[place] = 0
        self._places[name] = place
        return place


def _name(site: str, device: str, stream: str) -> str:
    return f"{site}/{device}/{stream}"  # ids have no slash
