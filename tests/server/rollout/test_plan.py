"""Who is reached: whatever comes, widening only adds, the count holds, and nobody outside is touched."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from driftprint_server.rollout.course import Patience, proceed
from driftprint_server.rollout.model import BundleId, DeviceKey, Facts, Rollout, Sighting, Status, StreamKey
from driftprint_server.rollout.plan import covers, fits, select, wishes

NEW = BundleId("toy", 5)
PATIENCE = Patience(refused_after=30.0, overdue_after=1800.0)
BASE = Rollout(
    id="f00",
    number=1,
    bundle=NEW,
    stream=None,
    site=None,
    device=None,
    stages=(10, 100),
    soak_seconds=60.0,
    created_at=0.0,
    created_by="ann",
    percent=10,
)

keys = st.builds(StreamKey, st.sampled_from("ns"), st.sampled_from("abcdefghij"), st.sampled_from(["belt", "door"]))
bundles = st.builds(BundleId, st.sampled_from(["toy", "other"]), st.integers(1, 9))
sightings = st.builds(
    Sighting,
    key=keys,
    online=st.booleans(),
    online_since=st.just(0.0),
    instance=st.just("a" * 16),
    bundle=bundles,
    frames=st.integers(0, 10**6),
    alarms=st.just(0),
    alarm=st.just(False),
)
fleets = st.lists(sightings, max_size=30).map(lambda found: {each.key: each for each in found})
percents = st.integers(1, 100)
rollouts = st.builds(
    lambda percent, stream, site, device: replace(
        BASE, percent=percent, stages=(percent, 100), stream=stream, site=site, device=device if site else None
    ),
    percents,
    st.sampled_from([None, "belt"]),
    st.sampled_from([None, "n"]),
    st.sampled_from([None, "a"]),
)


def of_devices(fleet: dict[StreamKey, Sighting]) -> set[DeviceKey]:
    return {key.of_device for key in fleet}


@given(fleets, percents, percents)
def test_a_larger_share_only_adds(fleet: dict[StreamKey, Sighting], one: int, other: int) -> None:
    few, many = (select(replace(BASE, percent=percent), fleet.values(), set()) for percent in sorted((one, other)))
    assert few <= many


@given(fleets, percents)
def test_the_share_is_rounded_up_and_one_at_least(fleet: dict[StreamKey, Sighting], percent: int) -> None:
    reached = select(replace(BASE, percent=percent), fleet.values(), set())
    devices = of_devices(fleet)
    assert reached <= devices
    assert len(reached) == min(len(devices), max(1, -(-percent * len(devices) // 100)))


@given(fleets, percents, st.data())
def test_who_has_been_reached_stays_so_whoever_comes_and_goes(
    fleet: dict[StreamKey, Sighting], percent: int, data: st.DataObject
) -> None:
    told = data.draw(st.sets(st.sampled_from(sorted(of_devices(fleet))))) if fleet else set()
    reached = select(replace(BASE, percent=percent), fleet.values(), told)
    assert told <= reached


@given(fleets, percents)
def test_those_who_are_online_are_drawn_first(fleet: dict[StreamKey, Sighting], percent: int) -> None:
    fleet = {key: replace(each, bundle=BundleId("toy", 1)) for key, each in fleet.items()}
    reached = select(replace(BASE, percent=percent), fleet.values(), set())
    # As `select` sees a device: by the last of its streams.
    online = {each.key.of_device: each.online for each in fleet.values()}
    if any(not online[device] for device in reached):
        assert {device for device, is_online in online.items() if is_online} <= reached


@given(rollouts, fleets)
def test_nobody_is_told_who_is_not_meant_and_nobody_is_made_older(
    rollout: Rollout, fleet: dict[StreamKey, Sighting]
) -> None:
    course = proceed(rollout, {}, fleet, 0.0, PATIENCE)
    for key, wish in wishes(course.rollout, course.facts, fleet):
        assert rollout.site in (None, key.site)
        assert rollout.device in (None, key.device)
        assert rollout.stream in (None, key.stream)
        assert rollout.stream is not None or fleet[key].bundle.name == "toy"
        assert fleet[key].bundle.name != "toy" or fleet[key].bundle.version <= wish.bundle.version


@given(rollouts, fleets)
def test_a_look_that_is_taken_twice_tells_nobody_else(rollout: Rollout, fleet: dict[StreamKey, Sighting]) -> None:
    once = proceed(rollout, {}, fleet, 0.0, PATIENCE)
    twice = proceed(once.rollout, once.facts, fleet, 0.0, PATIENCE)
    assert twice.facts.keys() == once.facts.keys()
    assert (twice.rollout.percent, twice.rollout.status) == (once.rollout.percent, once.rollout.status)
    assert twice.steps == ()


@given(rollouts, fleets)
def test_a_stopped_one_wants_nothing_but_the_way_back_of_those_that_run_it(
    rollout: Rollout, fleet: dict[StreamKey, Sighting]
) -> None:
    told = proceed(rollout, {}, fleet, 0.0, PATIENCE).facts
    stopped = replace(rollout, status=Status.STOPPED, back=True)
    followed = {key: replace(each, bundle=NEW) if key in told else each for key, each in fleet.items()}
    course = proceed(stopped, told, followed, 1.0, PATIENCE)
    assert course.facts.keys() == told.keys()
    wanted = dict(wishes(stopped, course.facts, followed))
    assert {key: wish.bundle for key, wish in wanted.items()} == {
        key: facts.before for key, facts in told.items() if facts.before is not None
    }
    assert all(wish.back for wish in wanted.values())
    assert dict(wishes(replace(stopped, back=False), course.facts, followed)) == {}


@given(rollouts, rollouts, fleets, st.data())
def test_one_that_covers_another_fits_all_that_the_other_fits(
    one: Rollout, other: Rollout, fleet: dict[StreamKey, Sighting], data: st.DataObject
) -> None:
    later = replace(one, number=2, percent=100, bundle=BundleId("toy", data.draw(st.integers(4, 6))))
    if covers(later, other):
        assert all(fits(later, each) for each in fleet.values() if fits(other, each))


def test_members_differ_from_rollout_to_rollout() -> None:
    key = StreamKey("n", "a", "belt")
    first = Sighting(key, True, 0.0, "a" * 16, BundleId("toy", 1), 0, 0, False)
    fleet = [replace(first, key=StreamKey("n", f"pi-{number}", "belt")) for number in range(100)]
    drawn = [select(replace(BASE, id=name), fleet, set()) for name in ("f00", "ba5")]
    assert drawn[0] != drawn[1]


def test_nothing_that_is_known_of_a_stream_is_lost_where_a_later_rollout_has_its_say() -> None:
    key = StreamKey("n", "a", "belt")
    sighting = Sighting(key, True, 0.0, "a" * 16, BundleId("toy", 1), 100, 0, False)
    facts: dict[StreamKey, Facts] = dict(proceed(BASE, {}, {key: sighting}, 0.0, PATIENCE).facts)
    assert proceed(BASE, facts, {}, 1.0, PATIENCE).facts == facts
