"""A clock that tests set."""

from __future__ import annotations

from driftprint.clock import Instant


class FakeClock:
    """Tells the time it was last given."""

    def __init__(self, wall: float = 1_000_000.0) -> None:
        self.wall = wall

    def now(self) -> Instant:
        return Instant(monotonic=self.wall - 900_000.0, wall=self.wall)
