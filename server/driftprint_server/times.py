"""When what a message says was so, to the millisecond, and the same however often the message comes."""

from __future__ import annotations

from collections import OrderedDict

from driftprint.clock import Instant
from driftprint_server.records import STREAM_MESSAGES, FleetMessage

STEP_SECONDS = 300.0
"""Our own clock is set, where it is set, by more than this. What a smaller step does is over as soon."""
SETTLE_SECONDS = 3600.0
"""After a start, and after a step of our clock, all devices that live are heard of within this time."""

CLOCK_SECONDS = 2.0
"""A device's clock that is no further ahead than this is right."""
WAIT_SECONDS = 60.0
"""A message may have waited at the broker for this long: a clock that is no further behind is right, too."""
LONGEST_WAIT_SECONDS = 86_400.0
"""What was sent as soon as it was recorded may have waited for this long, while we were away."""
AT_ONCE_SECONDS = 5.0
DOUBT_SECONDS = 60.0
"""A device that has been heard for so long without its clock being right is not waiting for us: it has it wrong."""
MOST_MESSAGES = 100_000
"""Messages, and devices, of which something is remembered."""

_Device = tuple[str, str]
_Key = tuple[str, str, str, int]


class Settling:
    """Says whether dates may be gone by to throw things away.

    A clock that is ahead, if only for a moment, makes all that is kept look old. So nothing is thrown away until it has
    run steadily for a while, in which those who live renew their dates.

    Args:
        now: when this begins; nothing is known of the clock before.
    """

    def __init__(self, now: Instant) -> None:
        self._before = now
        self._since = now.monotonic

    def over(self, now: Instant) -> bool:
        """Whether the clock has been steady for `SETTLE_SECONDS`. A step is noticed by the ask that follows it."""
        elapsed = now.monotonic - self._before.monotonic
        if abs(now.wall - self._before.wall - elapsed) > STEP_SECONDS:
            self._since = now.monotonic
        self._before = now
        return now.monotonic - self._since >= SETTLE_SECONDS


class EventTimes:
    """Dates messages.

    By our clock and its age a message that is sent again gets another time, by the milliseconds that its ways took, and
    one that waits at the broker gets a later one. So where the device's own clock agrees with ours, but for what a wait
    explains, its word is taken, which is the same every time and to every replica. Where it does not, the first time is
    remembered.

    Args:
        most: messages, and devices, of which something is remembered; of more, the latest.
    """

    def __init__(self, most: int = MOST_MESSAGES) -> None:
        self._most = most
        self._first: OrderedDict[_Key, float] = OrderedDict()
        self._doubted: OrderedDict[_Device, float] = OrderedDict()
        """Devices whose clock seems to be behind, and since when it has."""

    def at(self, message: FleetMessage, happened_at: float, now: float) -> float:
        """Unix time in seconds.

        Args:
            message: what is dated.
            happened_at: by our clock and the message's age.
            now: by our clock; nothing is dated later, since a sample from the future may shut out others.
        """
        at = happened_at
        if isinstance(message, STREAM_MESSAGES):
            key = (message.site, message.device, message.instance, message.seq)
            waited = at - message.recorded_at
            if -CLOCK_SECONDS <= waited <= WAIT_SECONDS and message.recorded_at <= now:
                self._doubted.pop(key[:2], None)
                at = self._first.get(key, message.recorded_at)
            elif WAIT_SECONDS < waited <= LONGEST_WAIT_SECONDS and self._has_waited(key[:2], message.age_seconds, now):
                at = self._remembered(key, message.recorded_at)
            else:
                at = self._remembered(key, at)
        return int(max(min(at, now), 0.0) * 1000) / 1000

    def _has_waited(self, device: _Device, age_seconds: float, now: float) -> bool:
        if age_seconds > AT_ONCE_SECONDS:  # it was kept on the device, as nobody took it
            return False
        since = self._doubted.setdefault(device, now)
        if since > now:  # by our own clock, which was ahead
            self._doubted[device] = since = now
        if len(self._doubted) > self._most:
            self._doubted.popitem(last=False)
        return now - since <= DOUBT_SECONDS

    def _remembered(self, key: _Key, at: float) -> float:
        first = self._first.setdefault(key, at)
        if len(self._first) > self._most:
            self._first.popitem(last=False)
        return first
