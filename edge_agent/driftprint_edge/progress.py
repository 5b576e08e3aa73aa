"""Which of the agent's parts still move."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from threading import Lock

from driftprint.clock import Clock


@dataclass
class _Part:
    within_seconds: float
    moved_at: float


class Progress:
    """Remembers when each part last moved. Safe to use from several threads.

    Args:
        clock: tells how long ago that was, by its monotonic time.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = Lock()
        self._parts: dict[str, _Part] = {}

    def part(self, name: str, *, within_seconds: float) -> Callable[[], None]:
        """A part that must move at least so often; asked for again, the same part.

        Returns:
            To be called whenever it moves.
        """
        with self._lock:
            part = self._parts.setdefault(name, _Part(within_seconds, self._clock.now().monotonic))

        def moved() -> None:
            part.moved_at = self._clock.now().monotonic

        return moved

    def over(self, name: str) -> None:
        """A part has come to its end, and need not move any more."""
        with self._lock:
            self._parts.pop(name, None)

    def stalled(self) -> tuple[str, ...]:
        """The parts that stand still for too long."""
        now = self._clock.now().monotonic
        with self._lock:
            return tuple(name for name, part in self._parts.items() if now - part.moved_at > part.within_seconds)
