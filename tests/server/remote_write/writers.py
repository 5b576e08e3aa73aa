"""The sink as a server makes it, over a clock that a test sets."""

from __future__ import annotations

from typing import Any

from driftprint.messages import DeviceMessage
from driftprint_server.records import kept
from driftprint_server.remote_write.counts import WriteCounts
from driftprint_server.remote_write.sender import Sender
from driftprint_server.remote_write.settings import RemoteWriteSettings
from driftprint_server.remote_write.sink import RemoteWrite
from driftprint_server.sinks import Accepted
from driftprint_server.times import EventTimes
from tests.server.clocks import FakeClock


def accept(message: DeviceMessage, at: float, *, retained: bool = False) -> Accepted:
    """A message as the server has it."""
    return Accepted(kept(message), at, retained)


def dated(times: EventTimes, message: DeviceMessage, at: float, now: float) -> Accepted:
    """The same, dated as a keeper does."""
    record = kept(message)
    return Accepted(record, times.at(record, at, now))


class Waits:
    """Passes time on a clock instead of waiting, and remembers for how long."""

    def __init__(self, clock: FakeClock) -> None:
        self.seconds: list[float] = []
        self.stopping = False
        self._clock = clock

    def __call__(self, seconds: float) -> bool:
        self.seconds.append(seconds)
        self._clock.wall += seconds
        return self.stopping


def make_sender(url: str, clock: FakeClock, **settings: Any) -> tuple[Sender, WriteCounts, Waits]:
    counts, waits = WriteCounts(), Waits(clock)
    return Sender(RemoteWriteSettings(url=url, **settings), counts=counts, clock=clock, wait=waits), counts, waits


def make_sink(
    url: str, clock: FakeClock, *, max_samples: int = 10_000, **settings: Any
) -> tuple[RemoteWrite, WriteCounts]:
    sender, counts, _ = make_sender(url, clock, **settings)
    return RemoteWrite(sender, counts=counts, clock=clock, max_samples=max_samples, max_classes=20), counts
