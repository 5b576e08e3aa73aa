"""A frame's way: scored or counted as a fault, reported, remembered, and no alert lost to a full disk."""

import io
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from threading import Event
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest
from PIL import Image

from driftprint.bundle import read_bundle
from driftprint.errors import FaultReason, StoreError
from driftprint.frames import FrameRef
from driftprint.messages import AlertMessage, AlertStatus, Cause, StreamMessage, WindowMessage
from driftprint.preprocess import Frame
from driftprint.scorer import Scorer
from driftprint.stats.class_mix import ClassMix
from driftprint.stats.site import SiteBaseline
from driftprint_edge.evidence import FrameRecord
from driftprint_edge.reports import StreamId
from driftprint_edge.store import Store, StreamState
from driftprint_edge.stream import Stream
from driftprint_edge.turns import Turns
from tests.bundles import inlier_frames, make_bundle, outlier_frames
from tests.edge_agent.stores import waiting
from tests.edge_agent.watches import watch_of
from tests.server.clocks import FakeClock

REPORT_SECONDS = 10.0


class ListSource:
    """Gives the frames of a list, one a second."""

    faults_total: Mapping[FaultReason, int] = MappingProxyType({})

    def __init__(self, clock: FakeClock, frames: Sequence[FrameRef | None]) -> None:
        self._clock = clock
        self._frames = frames

    def frames(self, stop: Event) -> Iterator[FrameRef | None]:
        for frame in self._frames:
            if stop.is_set():
                return
            self._clock.wall += 1
            yield frame


class Disk:
    """A store whose disk is full at times; remembers what was committed."""

    def __init__(self, store: Store) -> None:
        self.full = False
        self.refused = 0
        self.committed: list[StreamMessage] = []
        self.instance = store.instance
        self.load = store.load
        self._store = store

    def commit(self, state: StreamState, message: StreamMessage) -> StreamMessage:
        if self.full:
            self.refused += 1
            raise StoreError("database or disk is full")
        self.committed.append(self._store.commit(state, message))
        return self.committed[-1]

    @property
    def windows(self) -> list[WindowMessage]:
        return [message for message in self.committed if isinstance(message, WindowMessage)]

    @property
    def kinds(self) -> list[str]:
        """`window`, or an alert's status."""
        return ["window" if isinstance(m, WindowMessage) else m.status.value for m in self.committed]  # type: ignore[attr-defined]


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Scorer]:
    """Two versions of one bundle."""
    folder = tmp_path_factory.mktemp("bundles")
    return {
        version: Scorer(read_bundle(make_bundle(folder / f"toy-{version}.driftprint", version=version)))
        for version in (1, 2)
    }


@pytest.fixture
def disk(store: Store) -> Disk:
    return Disk(store)


MakeStream = Callable[..., Stream]


@pytest.fixture
def make_stream(bundles: dict[int, Scorer], disk: Disk, clock: FakeClock, tmp_path: Path) -> MakeStream:
    """A stream named belt; made again, it is the one of a restarted agent."""

    def make(
        frames: Sequence[FrameRef | None] = (),
        *,
        version: int = 1,
        disk: Disk = disk,
        source: type[ListSource] = ListSource,
        **watched: Any,
    ) -> Stream:
        return Stream(
            StreamId("north", "pi-1", "belt"),
            source=source(clock, frames),
            watch=watch_of(bundles[version], tmp_path, clock, **watched),
            outbox=disk,
            turns=Turns(1),
            clock=clock,
            report_seconds=REPORT_SECONDS,
            on_store_error=lambda _: None,
        )

    return make


def refs(frames: Sequence[Frame]) -> list[FrameRef]:
    return [FrameRef(str(i), frame) for i, frame in enumerate(frames)]


def inliers(count: int) -> list[FrameRef]:
    return refs(list(inlier_frames(count)))


def outliers(count: int) -> list[FrameRef]:
    return refs(list(outlier_frames(count)))


def test_a_broken_image_is_a_fault_by_its_reason_and_no_outlier(
    make_stream: MakeStream, disk: Disk, tmp_path: Path
) -> None:
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"\x89PNG and nothing else")
    faulty = [
        FrameRef("broken", broken),
        FrameRef("gone", tmp_path / "gone.png"),
        FrameRef("floats", np.zeros((8, 8), np.float32)),
        FrameRef("no colours", np.zeros((8, 8, 2), np.uint8)),
        FrameRef("gone", tmp_path / "gone.png"),
    ]
    make_stream([*inliers(5), *faulty, *inliers(5)]).run(Event())
    last = disk.windows[-1]
    assert last.faults_total == {"undecodable": 1, "unreadable": 2, "dtype": 1, "shape": 1}
    assert (last.frames_total, last.outliers_total) == (10, 0)
    assert [stats.frames for stats in last.windows] == [10, 10]


def test_nothing_but_faults_raises_no_alert_and_is_reported(
    make_stream: MakeStream, disk: Disk, tmp_path: Path
) -> None:
    make_stream([FrameRef("gone", tmp_path / "gone.png")] * 35).run(Event())
    assert disk.kinds == ["window"] * 4
    assert disk.windows[-1].faults_total == {"unreadable": 35}
    assert disk.windows[-1].frames_per_second == 0


class Explosive(FrameRef):
    """A frame whose loading fails in a way nobody foresaw."""

    def load(self) -> Frame:
        raise ZeroDivisionError


def test_a_failure_nobody_foresaw_is_a_fault_too(make_stream: MakeStream, disk: Disk) -> None:
    make_stream([Explosive("x", Path("x")), *inliers(1)]).run(Event())
    assert disk.windows[-1].faults_total == {"internal": 1}
    assert disk.windows[-1].frames_total == 1


def test_a_window_is_sent_each_interval_and_at_the_end(make_stream: MakeStream, disk: Disk, clock: FakeClock) -> None:
    start = clock.wall
    make_stream(inliers(35)).run(Event())
    assert [window.recorded_at - start for window in disk.windows] == [10, 20, 30, 35]
    assert [window.frames_total for window in disk.windows] == [10, 20, 30, 35]
    assert {window.frames_per_second for window in disk.windows} == {1.0}


def test_a_stream_to_which_nothing_comes_reports_all_the_same(make_stream: MakeStream, disk: Disk) -> None:
    make_stream([*inliers(5), *[None] * 20]).run(Event())
    assert [window.frames_total for window in disk.windows] == [5, 5, 5]


def test_faults_of_the_source_are_reported_and_go_on_after_a_restart(make_stream: MakeStream, disk: Disk) -> None:
    class Losing(ListSource):
        faults_total: Mapping[FaultReason, int] = MappingProxyType({"source_lost": 2, "dropped": 5})

    for _ in range(2):
        make_stream(inliers(1), source=Losing).run(Event())
    assert disk.windows[-1].faults_total == {"source_lost": 4, "dropped": 10}


def test_a_stopped_stream_sends_a_last_window(make_stream: MakeStream, disk: Disk) -> None:
    stop = Event()
    stop.set()
    make_stream(inliers(5)).run(stop)
    assert [window.frames_total for window in disk.windows] == [0]


def test_an_alert_is_recorded_the_moment_it_is_raised_and_when_it_clears(make_stream: MakeStream, disk: Disk) -> None:
    make_stream([*outliers(9), *inliers(2000)]).run(Event())
    assert disk.kinds[0] == "raised"
    assert [kind for kind in disk.kinds if kind != "window"] == ["raised", "cleared"]
    raised, cleared = (message for message in disk.committed if not isinstance(message, WindowMessage))
    assert raised.alert_id == cleared.alert_id  # type: ignore[attr-defined]
    assert (raised.seq, raised.site, raised.device, raised.stream) == (1, "north", "pi-1", "belt")
    assert "are taken for" in raised.summary  # type: ignore[attr-defined]
    assert sum(raised.classes.values()) == 1  # type: ignore[attr-defined]
    assert raised.suspected_at <= raised.raised_at  # type: ignore[attr-defined]
    assert disk.windows[0].alarm
    assert not disk.windows[-1].alarm


def test_a_restart_goes_on_with_totals_and_evidence(make_stream: MakeStream, disk: Disk, tmp_path: Path) -> None:
    gone = FrameRef("gone", tmp_path / "gone.png")
    make_stream([*inliers(20), gone, gone, *outliers(2)]).run(Event())
    before = disk.windows[-1]
    assert before.evidence > 0.3
    make_stream([gone]).run(Event())
    after = disk.windows[-1]
    assert (after.frames_total, after.outliers_total, after.evidence) == (22, 2, before.evidence)
    assert after.faults_total == {"unreadable": 3}
    assert not after.windows[0].frames, "a window fills anew"


def test_a_restart_in_mid_alert_goes_on_with_that_alert(make_stream: MakeStream, disk: Disk) -> None:
    make_stream(outliers(20)).run(Event())
    make_stream(inliers(2000)).run(Event())
    alerts = [message for message in disk.committed if not isinstance(message, WindowMessage)]
    assert [(a.status, a.revision) for a in alerts] == [(AlertStatus.RAISED, 0), (AlertStatus.CLEARED, 1)]  # type: ignore[attr-defined]
    assert len({a.alert_id for a in alerts}) == 1  # type: ignore[attr-defined]


def kept(folder: Path) -> list[FrameRecord]:
    """The records, each of which has its picture beside it."""
    files = sorted((folder / "evidence").rglob("*.json"))
    assert all(file.with_suffix(".jpg").exists() for file in files)
    assert sum(1 for path in (folder / "evidence").rglob("*") if path.is_file()) == 2 * len(files)
    return [FrameRecord.model_validate_json(file.read_text()) for file in files]


def test_an_alerts_most_outlying_frames_are_kept_with_those_that_raised_it(
    make_stream: MakeStream, tmp_path: Path, disk: Disk
) -> None:
    make_stream([*inliers(30), *outliers(9), *inliers(2000)]).run(Event())
    raised = next(message for message in disk.committed if not isinstance(message, WindowMessage))
    records = kept(tmp_path)
    assert len(records) == 3
    assert {record.alert_id for record in records} == {raised.alert_id}  # type: ignore[attr-defined]
    assert all(record.p_value <= 0.05 for record in records)
    assert {record.stream for record in records} == {"belt"}


def test_an_alert_that_goes_on_after_a_restart_has_its_evidence_in_one_place(
    make_stream: MakeStream, tmp_path: Path
) -> None:
    for _ in range(2):
        make_stream(outliers(20)).run(Event())
    assert len({record.alert_id for record in kept(tmp_path)}) == 1
    assert 3 <= len(kept(tmp_path)) <= 6


def test_inliers_leave_no_evidence(make_stream: MakeStream, tmp_path: Path) -> None:
    make_stream(inliers(500)).run(Event())
    assert not (tmp_path / "evidence").exists()


def blown_out(count: int) -> list[FrameRef]:
    """By their score outliers, all of them."""
    return refs([np.full((8, 8), 255 - i % 2, np.uint8) for i in range(count)])


def test_a_camera_at_fault_is_an_alert_of_its_own_and_no_drift(make_stream: MakeStream, disk: Disk) -> None:
    make_stream([*inliers(20), *blown_out(100), *inliers(100)], checks=["blown_out"]).run(Event())
    alerts = [message for message in disk.committed if isinstance(message, AlertMessage)]
    assert [(alert.cause, alert.status) for alert in alerts] == [
        (Cause.BLOWN_OUT, AlertStatus.RAISED),
        (Cause.BLOWN_OUT, AlertStatus.CLEARED),
    ]
    assert (alerts[0].p0, alerts[0].outlier_ratio) == (None, None)
    last = disk.windows[-1]
    assert last.outliers_total <= 10
    assert 100 <= last.faults_total["camera_fault"] <= 110
    assert last.frames_total + last.faults_total["camera_fault"] == 220
    assert {window.camera_faults for window in disk.windows} == {(), (Cause.BLOWN_OUT,)}


def test_what_is_not_looked_for_is_drift(make_stream: MakeStream, disk: Disk) -> None:
    make_stream([*inliers(20), *blown_out(100)], checks=["black", "frozen"]).run(Event())
    assert [message.cause for message in disk.committed if isinstance(message, AlertMessage)] == [Cause.DRIFT]


def test_an_alert_about_the_camera_goes_on_after_a_restart(make_stream: MakeStream, disk: Disk) -> None:
    make_stream([*inliers(20), *blown_out(30)], checks=["blown_out"]).run(Event())
    make_stream([*blown_out(30), *inliers(30)], checks=["blown_out"]).run(Event())
    alerts = [message for message in disk.committed if isinstance(message, AlertMessage)]
    assert [alert.status for alert in alerts] == [AlertStatus.RAISED, AlertStatus.CLEARED]
    assert len({alert.alert_id for alert in alerts}) == 1


def test_an_alert_about_a_fault_that_is_no_longer_looked_for_is_cleared(make_stream: MakeStream, disk: Disk) -> None:
    make_stream([*inliers(20), *blown_out(30)], checks=["blown_out"]).run(Event())
    make_stream(inliers(1)).run(Event())
    alerts = [message for message in disk.committed if isinstance(message, AlertMessage)]
    assert [alert.status for alert in alerts] == [AlertStatus.RAISED, AlertStatus.CLEARED]
    make_stream(inliers(1)).run(Event())
    assert len([message for message in disk.committed if isinstance(message, AlertMessage)]) == 2


def test_a_camera_that_gives_nothing_is_missed(make_stream: MakeStream, disk: Disk) -> None:
    make_stream([*inliers(20), *[None] * 30, *inliers(30)], checks=["missing"]).run(Event())
    alerts = [message for message in disk.committed if isinstance(message, AlertMessage)]
    assert [(alert.cause, alert.status) for alert in alerts] == [
        (Cause.MISSING, AlertStatus.RAISED),
        (Cause.MISSING, AlertStatus.CLEARED),
    ]


def site_with(counts: dict[str, int]) -> SiteBaseline:
    mix = ClassMix(counts=counts, stride=1)
    return SiteBaseline(
        bundle="toy-1", recorded_at=0, frames=1000, outliers=50, decisions=1000, stride=1, p0=0.07, mix=mix
    )


EVEN = site_with({"dark": 250, "dim": 250, "light": 500})
DARK = refs([np.full((8, 8), 60, np.uint8)] * 300)
"""Inliers, all of one class."""


def test_other_classes_than_the_sites_are_an_alert_of_their_own_and_no_drift(
    make_stream: MakeStream, disk: Disk
) -> None:
    make_stream([*DARK, *inliers(1000)], site=EVEN, decision={"class_mix": True}).run(Event())
    alerts = [message for message in disk.committed if isinstance(message, AlertMessage)]
    assert [(alert.cause, alert.status) for alert in alerts] == [(Cause.CLASS_MIX, AlertStatus.RAISED)]
    assert (alerts[0].p0, alerts[0].outlier_ratio, alerts[0].frames_per_false_alarm) == (None, None, 2000)
    assert {window.class_mix_alarm for window in disk.windows} == {False, True}
    assert not any(window.alarm for window in disk.windows)


def test_classes_are_not_watched_unless_asked_for_or_where_the_site_is_unknown(
    make_stream: MakeStream, disk: Disk
) -> None:
    make_stream(DARK, site=EVEN).run(Event())
    make_stream(DARK, decision={"class_mix": True}).run(Event())
    assert set(disk.kinds) == {"window"}


def test_an_alert_about_classes_goes_on_after_a_restart_and_is_cleared_when_nobody_watches_them(
    make_stream: MakeStream, disk: Disk
) -> None:
    watched = {"site": EVEN, "decision": {"class_mix": True}}
    make_stream(DARK, **watched).run(Event())
    make_stream(DARK, **watched).run(Event())
    assert [kind for kind in disk.kinds if kind != "window"] == ["raised"]
    make_stream([]).run(Event())
    assert [kind for kind in disk.kinds if kind != "window"] == ["raised", "cleared"]
    make_stream([]).run(Event())
    assert len({message.alert_id for message in disk.committed if isinstance(message, AlertMessage)}) == 1


def test_alerts_carry_their_most_outlying_frames_only_where_the_user_lets_them(
    make_stream: MakeStream, disk: Disk
) -> None:
    make_stream(outliers(20)).run(Event())
    make_stream([*inliers(2000), *outliers(20)], evidence={"thumbnail_pixels": 32}).run(Event())
    before, _, after = (message for message in disk.committed if isinstance(message, AlertMessage))
    assert before.thumbnails == ()
    assert 1 <= len(after.thumbnails) <= 3
    assert after.thumbnails[0].p_value <= 0.05
    with Image.open(io.BytesIO(after.thumbnails[0].jpeg)) as picture:
        assert (picture.format, picture.size) == ("JPEG", (8, 8))


def test_another_bundle_starts_with_no_evidence_and_the_same_totals(make_stream: MakeStream, disk: Disk) -> None:
    make_stream([*inliers(20), *outliers(2)]).run(Event())
    assert disk.windows[-1].evidence > 0.3
    make_stream(version=2).run(Event())
    after = disk.windows[-1]
    assert (after.bundle.version, after.frames_total, after.outliers_total, after.evidence) == (2, 22, 2, 0)


def test_alerts_that_the_disk_refuses_wait_and_are_sent_in_order(make_stream: MakeStream, disk: Disk) -> None:
    disk.full = True
    stream = make_stream()
    for frame in [*outliers(20), *inliers(2000), *outliers(20)]:
        stream.step(frame)
    assert disk.refused >= 3
    assert disk.committed == []
    disk.full = False
    for frame in inliers(1):
        stream.step(frame)
    stream.run(Event())
    assert disk.kinds == ["raised", "cleared", "raised", "window"]
    assert [message.seq for message in disk.committed] == [1, 2, 3, 4]
    assert disk.windows[-1].alerts_total == 2


def test_a_window_does_not_overtake_a_waiting_alert(make_stream: MakeStream, disk: Disk, clock: FakeClock) -> None:
    """Its state would tell a restart that the alert had been sent."""
    disk.full = True
    stream = make_stream()
    for frame in outliers(20):
        stream.step(frame)
    refused = disk.refused
    clock.wall += REPORT_SECONDS
    stream.report(clock.now())
    assert disk.refused == refused + 1, "the alert was tried, the window was not"
    disk.full = False
    stream.report(clock.now())
    assert disk.kinds == ["raised", "window"]


def test_what_was_not_committed_is_seen_again_after_a_kill(
    make_stream: MakeStream, disk: Disk, store: Store, make_store: Callable[..., Store]
) -> None:
    """Killed while the disk refused the alert: the evidence saved before it raises it anew."""
    stream = make_stream()
    for frame in inliers(20):
        stream.step(frame)
    disk.full = True
    for frame in outliers(20):
        stream.step(frame)
    store.close()
    again = Disk(make_store())
    make_stream(outliers(20), disk=again).run(Event())
    assert "raised" in again.kinds


def test_a_stream_goes_on_through_a_disk_that_stays_full(make_stream: MakeStream, disk: Disk) -> None:
    disk.full = True
    make_stream(inliers(40)).run(Event())
    assert disk.refused >= 4
    assert disk.committed == []


def test_messages_carry_the_instance_and_are_what_the_outbox_holds(
    make_stream: MakeStream, disk: Disk, store: Store
) -> None:
    make_stream([*inliers(10), *outliers(20)]).run(Event())
    assert {message.instance for message in disk.committed} == {store.instance}
    held = [json.loads(message.payload) for message in store.find(waiting(store))]
    assert [message["seq"] for message in held] == [message.seq for message in disk.committed]
    assert {message["bundle"]["name"] for message in held} == {"toy"}
