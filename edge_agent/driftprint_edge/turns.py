"""Keeps several streams fair to each other when there is more to do than the device can."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Condition


class Turns:
    """Lets so many threads work at once, in the order in which they came.

    A stream whose frames never stop coming thus waits, after each frame, for every stream that has one ready.

    Args:
        at_once: how many; >= 1.
    """

    def __init__(self, at_once: int) -> None:
        self._at_once = at_once
        self._changed = Condition()
        self._came = 0
        self._done = 0

    @property
    def waiting(self) -> int:
        """How many have come, and not yet begun."""
        return max(0, self._came - self._done - self._at_once)

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Waits for its turn, which lasts as long as the context."""
        with self._changed:
            ticket = self._came
            self._came += 1
            self._changed.wait_for(lambda: ticket < self._done + self._at_once)
        try:
            yield
        finally:
            with self._changed:
                self._done += 1
                self._changed.notify_all()
