"""Whose messages are rejected."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

import structlog

from driftprint.clock import Clock
from driftprint.topics import PREFIX
from driftprint_server.counts import Counts, Reason

QUIET_SECONDS = 60.0
"""Between two lines of the log about one device and reason."""

_SITE_AT = PREFIX.count("/") + 1
_LONGEST_SHOWN = 300  # characters of a topic


@dataclass(slots=True)
class _Line:
    """Of the log: when there may be the next (monotonic seconds), and of how many messages."""

    due: float = float("-inf")
    messages: int = 0


class Rejections:
    """Counts rejected messages, and names their topic in the log: for each reason and device one line a minute at most.

    For one thread. Where too many devices are rejected within a minute for one line each, those that come last share
    one for each reason.

    Args:
        counts: counts them.
        clock: the minute's.
        most_lines: so many devices and reasons are remembered, each with when it had its line.
    """

    def __init__(self, counts: Counts, clock: Clock, *, most_lines: int = 1000) -> None:
        self._counts = counts
        self._clock = clock
        self._most_lines = most_lines
        self._lines: OrderedDict[tuple[Reason, str], _Line] = OrderedDict()
        """By reason and device; the one that may be told again first is the first."""
        self._shared = {reason: _Line() for reason in Reason}
        self._log = structlog.get_logger()

    def __len__(self) -> int:
        """Of how many devices and reasons something is remembered."""
        return len(self._lines)

    def reject(self, reason: Reason, topic: str, what: str) -> None:
        """A message was rejected.

        Args:
            reason: why.
            topic: its topic, which need not be one of ours.
            what: the same for people.
        """
        total = self._counts.reject(reason)
        now = self._clock.now().monotonic
        topic = topic[:_LONGEST_SHOWN]
        line = self._line(reason, "/".join(topic.split("/")[_SITE_AT : _SITE_AT + 2]), now)
        line.messages += 1
        if now < line.due:
            return
        self._log.warning(
            "message rejected", reason=reason.value, topic=topic, what=what, messages=line.messages, total=total
        )
        line.messages = 0
        line.due = now + QUIET_SECONDS

    def _line(self, reason: Reason, device: str, now: float) -> _Line:
        key = (reason, device)
        line = self._lines.get(key)
        if line is not None:
            if now >= line.due:
                self._lines.move_to_end(key)
            return line
        if len(self._lines) >= self._most_lines:
            oldest = next(iter(self._lines))
            if now < self._lines[oldest].due:
                return self._shared[reason]
            del self._lines[oldest]
        line = self._lines[key] = _Line()
        return line
