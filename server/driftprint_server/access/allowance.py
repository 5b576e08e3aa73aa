"""How often something may be tried: a token bucket for every name or address, in bounded memory."""

from __future__ import annotations

from collections import OrderedDict

from driftprint.clock import Clock

MOST_KEYS = 10_000
"""Beyond them the one not tried for the longest is forgotten."""


class Allowance:
    """So many tries at once, then one every so often.

    Args:
        most: tries at once.
        seconds: until a further one is allowed.
        clock: counts them.
    """

    def __init__(self, most: int, *, seconds: float, clock: Clock) -> None:
        self._most = most
        self._seconds = seconds
        self._clock = clock
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, key: str) -> float:
        """Try once.

        Returns:
            0 where it is allowed; else the seconds until it will be, and the try has cost nothing.
        """
        left, now = self._now(key)
        if left < 1:
            return (1 - left) * self._seconds
        self._put(key, left - 1, now)
        return 0.0

    def give_back(self, key: str) -> None:
        """The last try was a good one, and does not count."""
        left, now = self._now(key)
        self._put(key, min(left + 1, float(self._most)), now)

    def _now(self, key: str) -> tuple[float, float]:
        now = self._clock.now().monotonic
        left, at = self._left.get(key, (float(self._most), now))
        return min(left + (now - at) / self._seconds, float(self._most)), now

    def _put(self, key: str, left: float, now: float) -> None:
        self._left[key] = (left, now)
        self._left.move_to_end(key)
        if len(self._left) > MOST_KEYS:
            self._left.popitem(last=False)
