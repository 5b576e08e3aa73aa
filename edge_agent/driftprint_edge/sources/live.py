"""Frames that come by themselves: the latest is taken, and a source that is lost is tried again for ever."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from random import Random
from threading import Condition, Event, Thread
from typing import Annotated, ClassVar, Protocol, TypeAlias

import structlog
from pydantic import BaseModel, ConfigDict, Field

from driftprint.clock import Clock
from driftprint.errors import FaultReason, SourceError
from driftprint.frames import FrameRef

POLL_SECONDS = 0.2
"""A thread that waits for frames looks this often whether it is to stop."""

Put: TypeAlias = Callable[[FrameRef], None]
"""Takes a frame that has come. It never blocks."""


class LiveSettings(BaseModel):
    """What all tables ``[stream.source]`` of live sources have."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    steady: ClassVar[bool] = False
    """Whether frames come all the time, so that none for long is a fault."""

    frames_per_second: Annotated[float, Field(gt=0, le=1000)]
    """At most this many frames are looked at; what comes faster is passed over."""

    def source_of(self, feed: Feed, clock: Clock) -> LiveSource:
        """A source of these frames."""
        return LiveSource(feed, frames_per_second=self.frames_per_second, clock=clock, random=Random())


class Feed(Protocol):
    """Where live frames come from."""

    def run(self, put: Put, stop: Event) -> None:
        """Hand on frames until `stop` is set.

        Raises:
            SourceError: where the source cannot be opened, or is lost. It is run again later.
        """
        ...


@dataclass(frozen=True)
class Backoff:
    """How long to wait before a lost source is tried again: twice as long each time, and never in step with others.

    Attributes:
        first: seconds after the first failure.
        longest: seconds at most.
    """

    first: float = 1.0
    longest: float = 60.0

    def seconds(self, failures: int, random: Random) -> float:
        """After so many failures in a row, at least one: half of the time for sure, the other half by chance."""
        whole = min(self.longest, self.first * 2.0 ** min(failures - 1, 30))
        return whole * random.uniform(0.5, 1)


BACKOFF = Backoff()


class Pace:
    """Lets at most so many frames pass.

    Args:
        per_second: how many.
    """

    def __init__(self, per_second: float) -> None:
        self._interval = 1 / per_second
        self._due = float("-inf")

    def lets_pass(self, now: float) -> bool:
        """Whether a frame that comes at `now`, in seconds of the monotonic clock, is taken."""
        if now < self._due:
            return False
        # The next may come up to an interval early, so that a camera of that very rate loses none by its jitter.
        self._due = max(self._due + self._interval, now)
        return True


class LatestFrame:
    """A place for one frame. A new one takes the place of one that nobody had time for."""

    def __init__(self) -> None:
        self._changed = Condition()
        self._frame: FrameRef | None = None

    def put(self, frame: FrameRef) -> bool:
        """Place a frame; whether one was dropped for it."""
        with self._changed:
            dropped = self._frame is not None
            self._frame = frame
            self._changed.notify()
            return dropped

    def take(self, timeout: float) -> FrameRef | None:
        """The frame, as soon as there is one; None where none comes within `timeout` seconds."""
        with self._changed:
            self._changed.wait_for(lambda: self._frame is not None, timeout)
            frame, self._frame = self._frame, None
            return frame


class LiveSource:
    """A feed in a thread of its own. A slow model never makes a queue grow.

    Args:
        feed: gives the frames.
        frames_per_second: at most so many are taken from it.
        clock: paces them.
        random: spreads the attempts at a lost source.
        backoff: between these attempts.
    """

    def __init__(
        self, feed: Feed, *, frames_per_second: float, clock: Clock, random: Random, backoff: Backoff = BACKOFF
    ) -> None:
        self.feed = feed
        self._pace = Pace(frames_per_second)
        self._clock = clock
        self._random = random
        self._backoff = backoff
        self._latest = LatestFrame()
        self._faults: Counter[FaultReason] = Counter()
        self._failures = 0

    @property
    def faults_total(self) -> Mapping[FaultReason, int]:
        """See `Source.faults_total`."""
        return dict(self._faults)

    def frames(self, stop: Event) -> Iterator[FrameRef | None]:
        """The latest frame, again and again, until `stop` is set; None while there is no new one."""
        thread = Thread(target=self._keep_running, args=(stop,), name="feed", daemon=True)
        thread.start()
        while not stop.is_set():
            yield self._latest.take(POLL_SECONDS)
        thread.join(2 * POLL_SECONDS)  # a driver that hangs must not keep the agent from stopping

    def _keep_running(self, stop: Event) -> None:
        while not stop.is_set():
            try:
                self.feed.run(self._put, stop)
            except SourceError as error:
                self._lost(str(error))
            except Exception as error:  # a driver's fault must not end the watch
                self._lost(repr(error))
            if not stop.is_set():
                stop.wait(self._backoff.seconds(max(1, self._failures), self._random))

    def _put(self, frame: FrameRef) -> None:
        self._failures = 0
        if self._pace.lets_pass(self._clock.now().monotonic) and self._latest.put(frame):
            self._faults["dropped"] += 1

    def _lost(self, what: str) -> None:
        self._failures += 1
        self._faults["source_lost"] += 1
        if self._failures in (1, 10) or self._failures % 100 == 0:
            structlog.get_logger().warning("source lost", what=what, failures=self._failures)
