"""What every source of frames is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from threading import Event
from typing import Protocol

from driftprint.errors import FaultReason
from driftprint.frames import FrameRef


class Source(Protocol):
    """Gives frames, one after another, at its own pace."""

    @property
    def faults_total(self) -> Mapping[FaultReason, int]:
        """What went wrong before a frame was handed on, since the source was opened."""
        ...

    def frames(self, stop: Event) -> Iterator[FrameRef | None]:
        """The frames, until the source ends or `stop` is set; None now and then while nothing comes.

        A frame is decoded only when it is loaded; one that cannot be raises `FrameError` then, and the next
        one follows.
        """
        ...
