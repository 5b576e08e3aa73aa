"""Replayed frames: which, in what order, and when."""

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from threading import Event

import numpy as np
import pytest
from PIL import Image

from driftprint.frames import ArrayFrames, FrameRef
from driftprint_edge.sources.replay import ReplaySettings, ReplaySource
from tests.server.clocks import FakeClock


class Patience(Event):
    """A stop event that lets the clock run while somebody waits for it."""

    def __init__(self, clock: FakeClock) -> None:
        super().__init__()
        self._clock = clock

    def wait(self, timeout: float | None = None) -> bool:
        assert timeout is not None
        assert timeout > 0
        self._clock.wall += timeout
        return self.is_set()


@pytest.fixture
def stop(clock: FakeClock) -> Patience:
    return Patience(clock)


def replay(clock: FakeClock, count: int = 3, *, rate: float = 4, repeat: bool = True) -> ReplaySource:
    settings = ReplaySettings(path=Path("x"), frames_per_second=rate, repeat=repeat)
    return ReplaySource(ArrayFrames(np.arange(count, dtype=np.uint8)[:, None, None]), settings, clock)


def names(frames: Iterator[FrameRef]) -> str:
    return "".join(frame.name for frame in frames)


def test_all_frames_come_in_order_and_then_it_ends(clock: FakeClock, stop: Patience) -> None:
    assert names(replay(clock, repeat=False).frames(stop)) == "012"


def test_it_starts_again_at_the_end(clock: FakeClock, stop: Patience) -> None:
    assert names(islice(replay(clock).frames(stop), 8)) == "01201201"


def test_a_folder_is_replayed_in_the_order_of_its_paths(clock: FakeClock, stop: Patience, tmp_path: Path) -> None:
    for name in ("b/1.png", "a.png", "b/0.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.new("L", (4, 4)).save(tmp_path / name)
    source = ReplaySettings(path=tmp_path, frames_per_second=1, repeat=False).open(clock)
    assert [frame.name for frame in source.frames(stop)] == ["a.png", "b/0.png", "b/1.png"]


def test_the_frames_come_at_the_stated_rate(clock: FakeClock, stop: Patience) -> None:
    start = clock.wall
    at = [clock.wall - start for _ in islice(replay(clock, rate=4).frames(stop), 9)]
    assert at == pytest.approx([i / 4 for i in range(9)])


def test_time_spent_on_a_frame_does_not_slow_the_replay(clock: FakeClock, stop: Patience) -> None:
    start, at = clock.wall, []
    for _ in islice(replay(clock, rate=4).frames(stop), 5):
        at.append(clock.wall - start)
        clock.wall += 0.2
    assert at == pytest.approx([0, 0.25, 0.5, 0.75, 1])


def test_lost_time_is_not_made_up_for_in_a_burst(clock: FakeClock, stop: Patience) -> None:
    start, at = clock.wall, []
    for frame in islice(replay(clock, rate=4).frames(stop), 6):
        at.append(clock.wall - start)
        if frame.name == "1" and len(at) == 2:
            clock.wall += 100
    assert at == pytest.approx([0, 0.25, 100.25, 100.25, 100.5, 100.75])


@pytest.mark.parametrize("taken", [0, 4])
def test_it_ends_when_asked_to(clock: FakeClock, stop: Patience, taken: int) -> None:
    frames = replay(clock).frames(stop)
    assert len(list(islice(frames, taken))) == taken
    stop.set()
    assert list(frames) == []


def test_it_ends_when_asked_to_even_where_it_cannot_keep_the_rate(clock: FakeClock, stop: Patience) -> None:
    taken = 0
    for _ in replay(clock, rate=1000).frames(stop):
        taken += 1
        clock.wall += 5
        if taken == 7:
            stop.set()
    assert taken == 7
