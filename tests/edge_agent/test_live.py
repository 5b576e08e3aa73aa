"""Live frames: the latest is taken, and a source that is lost comes back."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from random import Random
from threading import Event

import numpy as np
import pytest

from driftprint.errors import SourceError
from driftprint.frames import FrameRef
from driftprint_edge.sources.live import Backoff, LatestFrame, LiveSource, Pace, Put
from tests.server.clocks import FakeClock

AT_ONCE = Backoff(first=1e-6, longest=1e-6)


def ref(name: str) -> FrameRef:
    return FrameRef(name, np.zeros((2, 2), np.uint8))


class Script:
    """A feed that does what it is told each time it is run; at the end of the script it ends the test."""

    def __init__(self, *runs: Callable[[Put], None]) -> None:
        self._runs: Iterator[Callable[[Put], None]] = iter(runs)
        self.done = Event()

    def run(self, put: Put, stop: Event) -> None:
        step = next(self._runs, None)
        if step is None:
            self.done.set()
            stop.wait()
        else:
            step(put)


def giving(clock: FakeClock, names: str, seconds: float) -> Callable[[Put], None]:
    def step(put: Put) -> None:
        for name in names:
            put(ref(name))
            clock.wall += seconds

    return step


def losing(error: Exception) -> Callable[[Put], None]:
    def step(_: Put) -> None:
        raise error

    return step


def live(feed: Script, clock: FakeClock, rate: float = 10) -> LiveSource:
    return LiveSource(feed, frames_per_second=rate, clock=clock, random=Random(0), backoff=AT_ONCE)


def run_to_the_end(source: LiveSource, feed: Script) -> Sequence[str]:
    """What is there to take once the feed has done all that it does."""
    stop = Event()
    names = []
    for frame in source.frames(stop):
        if frame is not None:
            names.append(frame.name)
        if feed.done.is_set() or (names and feed.done.wait(60)):
            stop.set()
    return names


def test_frames_that_nobody_has_time_for_are_dropped_and_counted(clock: FakeClock) -> None:
    """The reader takes one frame and is then busy until the feed has given all."""
    feed = Script(giving(clock, "abcdef", 0.1))
    source = live(feed, clock)
    taken = run_to_the_end(source, feed)
    assert len(taken) == 1
    assert source.faults_total["dropped"] in (4, 5)


def test_the_latest_frame_wins() -> None:
    latest = LatestFrame()
    assert [latest.put(ref(name)) for name in "abc"] == [False, True, True]
    taken = latest.take(0)
    assert taken is not None
    assert taken.name == "c"
    assert latest.take(0) is None


def test_what_comes_faster_than_asked_for_is_passed_over() -> None:
    pace = Pace(10)
    assert sum(pace.lets_pass(i / 30) for i in range(300)) == pytest.approx(100, abs=1)


def test_what_is_passed_over_is_no_fault(clock: FakeClock) -> None:
    feed = Script(giving(clock, "ab" + "x" * 50, 0))
    source = live(feed, clock)
    run_to_the_end(source, feed)
    assert source.faults_total.get("dropped", 0) <= 1


def test_a_camera_of_the_very_rate_loses_no_frame_by_its_jitter() -> None:
    random, pace = Random(0), Pace(10)
    assert all(pace.lets_pass(i / 10 + random.uniform(-0.04, 0.04)) for i in range(1000))


def test_a_burst_after_a_pause_is_passed_over() -> None:
    pace = Pace(10)
    assert pace.lets_pass(0)
    assert sum(pace.lets_pass(100) for _ in range(50)) <= 2


@pytest.mark.parametrize("error", [SourceError("gone"), RuntimeError("the driver is broken")])
def test_a_source_that_is_lost_is_tried_again_and_counted(clock: FakeClock, error: Exception) -> None:
    feed = Script(losing(error), losing(error), giving(clock, "a", 1), losing(error))
    source = live(feed, clock)
    assert run_to_the_end(source, feed) == ["a"]
    assert source.faults_total == {"source_lost": 3}


def test_a_stopped_source_ends_though_nothing_comes(clock: FakeClock) -> None:
    feed, stop = Script(), Event()
    frames = live(feed, clock).frames(stop)
    stop.set()
    assert list(frames) == []


def test_attempts_become_rarer_up_to_a_limit_and_never_keep_step() -> None:
    backoff, random = Backoff(first=1, longest=60), Random(0)
    for failures, longest in ((1, 1), (2, 2), (5, 16), (7, 60), (10_000, 60)):
        waits = [backoff.seconds(failures, random) for _ in range(100)]
        assert longest / 2 <= min(waits) < 0.6 * longest
        assert 0.9 * longest < max(waits) <= longest
