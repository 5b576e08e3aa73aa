from collections.abc import Callable

import pytest

from driftprint.messages import AlertStatus, BundleRef, Cause, DeviceMessage, DeviceStatus
from driftprint_server.fleet import Fleet
from driftprint_server.listing import MOST_CURRENT, Condition, Index, Listing, Query, Sort
from driftprint_server.records import kept
from tests.server.clocks import FakeClock
from tests.server.messages import alert, state, window

NOW = 1_000_000.0


def index_of(*messages: DeviceMessage, ages: tuple[float, ...] = ()) -> Index:
    """An index of what devices have said, some of them some seconds ago."""
    fleet = Fleet(max_devices=1000, forget_after_seconds=1e6)
    for message, age in zip(messages, ages or (0.0,) * len(messages), strict=True):
        fleet.apply(kept(message), NOW - age)
    return Index(fleet.devices(), NOW, stale_after_seconds=60, version=fleet.version)


def names(index: Index, query: Query) -> list[str]:
    return [row.device.name for row in index.select(query)]


@pytest.fixture
def mixed() -> Index:
    """Five devices at two sites, each in another condition."""
    return index_of(
        window(1, device="well", ratio=0.05, bundle=BundleRef(name="digits", version=2)),
        window(1, device="drifts", ratio=0.5, evidence=2.0, alarm=True),
        window(1, device="covered", ratio=0.1, camera_faults=(Cause.COVERED,)),
        window(1, device="silent", ratio=0.9, site="south"),
        state(DeviceStatus.OFFLINE, device="away", site="south", streams=()),
        ages=(0.0, 1.0, 2.0, 100.0, 3.0),
    )


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        (Query(), ["covered", "drifts", "well", "away", "silent"]),
        (Query(search="DRIFT"), ["drifts"]),
        (Query(search="north digits-2"), ["well"]),
        (Query(search="south belt"), ["silent"]),
        (Query(search="nobody"), []),
        (Query(site="south"), ["away", "silent"]),
        (Query(bundle="digits-1"), ["covered", "drifts", "silent"]),
        (Query(bundle=""), ["away"]),
        (Query(condition=Condition.ALARM), ["drifts"]),
        (Query(condition=Condition.FAULT), ["covered"]),
        (Query(condition=Condition.ONLINE), ["covered", "drifts", "well"]),
        (Query(condition=Condition.STALE), ["silent"]),
        (Query(condition=Condition.OFFLINE), ["away"]),
        (Query(sort=Sort.NAME, descending=True), ["silent", "away", "well", "drifts", "covered"]),
        (Query(sort=Sort.CONDITION), ["drifts", "covered", "silent", "away", "well"]),
        (Query(sort=Sort.OUTLIER_RATIO), ["well", "covered", "drifts", "away", "silent"]),
        (Query(sort=Sort.OUTLIER_RATIO, descending=True), ["drifts", "covered", "well", "away", "silent"]),
        (Query(sort=Sort.EVIDENCE, descending=True, condition=Condition.ONLINE), ["drifts", "covered", "well"]),
        (Query(sort=Sort.LAST_SEEN, descending=True), ["well", "drifts", "covered", "silent", "away"]),
    ],
)
def test_streams_are_searched_filtered_and_sorted(mixed: Index, query: Query, expected: list[str]) -> None:
    assert names(mixed, query) == expected


def test_the_fleet_is_told_in_figures(mixed: Index) -> None:
    figures = mixed.figures
    assert (figures.devices, figures.devices_online) == (5, 3)
    assert (figures.streams, figures.streams_reporting) == (4, 3)
    assert (figures.frames_per_second, figures.alarms) == (30.0, 1)


def test_bundles_are_counted_by_site() -> None:
    index = index_of(
        window(1, device="a"),
        window(1, device="b"),
        window(1, site="south", bundle=BundleRef(name="parts", version=3)),
        state(site="south", device="new"),
    )
    assert index.bundles() == {"north": {"digits-1": 2}, "south": {"parts-3": 1, "": 1}}


def test_of_many_alerts_the_latest_are_kept_and_all_are_counted() -> None:
    raised = [alert(1, device=f"pi-{number}", number=number) for number in range(MOST_CURRENT + 5)]
    over = [alert(2, device=f"pi-{number}", number=number, revision=1, status=AlertStatus.CLEARED) for number in (7, 9)]
    index = index_of(*raised, *over, ages=(*(float(age) for age in range(len(raised))), 0.0, 0.0))
    assert index.figures.current_alerts == MOST_CURRENT + 3
    assert len(index.current_alerts) == MOST_CURRENT
    assert index.current_alerts[0].device == "pi-0"
    assert {alert.device for alert in index.recent_alerts} == {"pi-7", "pi-9"}


class Watched:
    """A listing of a fleet, by a clock that is set."""

    def __init__(self, cpu_seconds: Callable[[], float] = lambda: 0.0) -> None:
        self.clock = FakeClock()
        self.fleet = Fleet(max_devices=10, forget_after_seconds=1000)
        self.listing = Listing(
            self.fleet, clock=self.clock, stale_after_seconds=60, least_age_seconds=1.0, cpu_seconds=cpu_seconds
        )

    def take(self, message: DeviceMessage) -> None:
        self.fleet.apply(kept(message), self.clock.wall)


def test_an_index_is_kept_for_a_moment_however_much_changes() -> None:
    watched = Watched()
    first = watched.listing.index()
    watched.take(window(1))
    assert watched.listing.index() is first
    watched.clock.wall += 1.0
    second = watched.listing.index()
    assert second.figures.devices == 1
    watched.clock.wall += 2.0
    assert watched.listing.index() is second


def test_an_index_that_was_costly_is_kept_for_longer() -> None:
    used = iter((0.0, 0.5, 0.5, 0.75))  # seconds, before and after the making of each index
    watched = Watched(cpu_seconds=lambda: next(used))
    first = watched.listing.index()
    watched.take(window(1))
    watched.clock.wall += 4.9
    assert watched.listing.index() is first
    watched.clock.wall += 0.2
    assert watched.listing.index() is not first


def test_an_index_made_of_an_earlier_one_is_as_one_made_anew() -> None:
    watched = Watched()
    for number in range(4):
        watched.take(window(1, device=f"pi-{number}"))
    watched.listing.index()
    watched.clock.wall += 40.0
    watched.take(window(2, device="pi-1", ratio=0.5, alarm=True))
    watched.take(alert(3, device="pi-2"))
    watched.fleet.forget("north", "pi-3")
    watched.clock.wall += 40.0
    made = watched.listing.index()
    anew = Index(watched.fleet.devices(), watched.clock.wall, stale_after_seconds=60, version=watched.fleet.version)
    assert made.select(Query()) == anew.select(Query())
    assert (made.figures, made.current_alerts) == (anew.figures, anew.current_alerts)
    assert made.figures.devices_online == 2


def test_silence_is_noticed_though_nothing_is_heard() -> None:
    watched = Watched()
    watched.take(window(1))
    assert watched.listing.index().figures.devices_online == 1
    watched.clock.wall += 61.0
    assert watched.listing.index().figures.devices_online == 0
