"""Time as an argument."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Instant:
    """One moment on both clocks.

    Attributes:
        monotonic: seconds since some start, never stepped: for durations.
        wall: Unix time in seconds, which may be wrong or stepped: for people.
    """

    monotonic: float
    wall: float


class Clock(Protocol):
    """Tells the time."""

    def now(self) -> Instant:
        """The present moment."""
        ...


class SystemClock:
    """The machine's own clocks."""

    def now(self) -> Instant:
        """The present moment."""
        return Instant(time.monotonic(), time.time())
