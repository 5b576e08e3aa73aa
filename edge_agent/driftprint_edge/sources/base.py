"""What every source of frames is."""

from __future__ import annotations

from collections.abc import Iterator
from threading import Event
from typing import Protocol

from driftprint.frames import FrameRef


class Source(Protocol):
    """Gives frames, one after another, at its own pace."""

    def frames(self, stop: Event) -> Iterator[FrameRef]:
        """The frames, until the source ends or `stop` is set.

        A frame is decoded only when it is loaded; one that cannot be raises `FrameError` then, and the next
        one follows.
        """
        ...
