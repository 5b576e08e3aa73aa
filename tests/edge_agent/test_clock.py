"""A device's wall clock is wrong, or steps: what is judged goes by the monotonic one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from threading import Event
from types import MappingProxyType

import pytest

from driftprint.bundle import read_bundle
from driftprint.clock import Instant
from driftprint.errors import FaultReason
from driftprint.frames import FrameRef
from driftprint.messages import AlertMessage, WindowMessage
from driftprint.scorer import Scorer
from driftprint_edge.reports import StreamId
from driftprint_edge.stream import Stream
from driftprint_edge.turns import Turns
from tests.bundles import inlier_frames, make_bundle, outlier_frames
from tests.edge_agent.stores import open_store
from tests.edge_agent.test_stream import Disk
from tests.edge_agent.watches import watch_of

DAY = 86_400.0
NOW = 1_700_000_000.0

Step = Callable[[int], float]
"""How wrong the wall clock is at a second of the run."""


class TwoClocks:
    """A monotonic clock that goes on, and a wall clock that is off."""

    def __init__(self, off: Step) -> None:
        self.second = 0
        self._off = off

    def now(self) -> Instant:
        return Instant(50.0 + self.second, NOW + self.second + self._off(self.second))


class Frames:
    """Inliers, outliers, and inliers again, one a second."""

    faults_total: Mapping[FaultReason, int] = MappingProxyType({})

    def __init__(self, clock: TwoClocks) -> None:
        self._clock = clock

    def frames(self, _stop: Event) -> Iterator[FrameRef]:
        for frame in [*inlier_frames(100), *outlier_frames(30), *inlier_frames(700), *outlier_frames(40)]:
            self._clock.second += 1
            yield FrameRef("x", frame)


@pytest.fixture(scope="module")
def scorer(tmp_path_factory: pytest.TempPathFactory) -> Scorer:
    return Scorer(read_bundle(make_bundle(tmp_path_factory.mktemp("clocks") / "toy-1.driftprint")))


def run(scorer: Scorer, folder: Path, off: Step) -> tuple[Disk, list[float]]:
    """All that is sent, and how old the outbox says each message is at the end."""
    folder.mkdir()
    clock = TwoClocks(off)
    store = open_store(folder / "agent.db", clock)
    disk = Disk(store)
    decision = {"cool_down_seconds": 60, "update_seconds": 20, "window_seconds": 40}
    Stream(
        StreamId("north", "pi-1", "belt"),
        source=Frames(clock),
        watch=watch_of(scorer, folder, clock, decision=decision),
        outbox=disk,
        turns=Turns(1),
        clock=clock,
        report_seconds=10,
        on_store_error=lambda _: None,
    ).run(Event())
    store.flush(at_once=True)
    ages = [message.age_seconds for message in store.find([message.seq for message in disk.committed])]
    store.close()
    return disk, ages


def said(disk: Disk) -> list[tuple[object, ...]]:
    """What does not hang on the wall clock."""
    rows: list[tuple[object, ...]] = []
    for message in disk.committed:
        if isinstance(message, WindowMessage):
            rows.append((message.frames_total, message.alarm, message.windows, message.frames_per_second))
        if isinstance(message, AlertMessage):
            rows.append((message.frames_total, message.status, message.cause, message.revision))
    return rows


OFF: dict[str, Step] = {
    "two hours ahead": lambda _: 7200.0,
    "a day behind": lambda _: -DAY,
    "in 1970": lambda _: -NOW,
    "in 2037": lambda _: 12 * 365 * DAY,
    "stepped ahead while an alert is raised": lambda second: 7200.0 * (second > 120),
    "stepped back while an alert is raised": lambda second: -DAY * (second > 120),
    "stepped back while it cools down": lambda second: -DAY * (second > 600),
    "set by the network after a start in 1970": lambda second: -NOW * (second < 30),
    "stepped to and fro": lambda second: 3600.0 * (second // 7 % 3 - 1),
}


@pytest.mark.parametrize("off", OFF.values(), ids=OFF.keys())
def test_windows_alerts_and_cool_downs_are_those_of_a_right_clock(scorer: Scorer, tmp_path: Path, off: Step) -> None:
    right, right_ages = run(scorer, tmp_path / "right", lambda _: 0.0)
    wrong, wrong_ages = run(scorer, tmp_path / "wrong", off)
    assert said(wrong) == said(right)
    assert set(right.kinds) == {"window", "raised", "updated", "cleared"}
    assert right.kinds.count("raised") == 2
    assert wrong_ages == right_ages
