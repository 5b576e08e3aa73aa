"""When a bundle alarms more than the one before did: the test's error rate, and what counts toward it."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from driftprint_server.rollout.evidence import allowed, follow, log_e, told, weigh
from driftprint_server.rollout.model import LEVEL, BundleId, Exposure, Facts, Sighting, StreamKey

OLD, NEW, OTHER = BundleId("toy", 1), BundleId("toy", 2), BundleId("else", 7)
STOP = math.log(1 / LEVEL)
BEGIN = Sighting(
    key=StreamKey("north", "pi-1", "belt"),
    online=True,
    online_since=0.0,
    instance="a" * 16,
    bundle=OLD,
    frames=10_000,
    alarms=1,
    alarm=False,
)

exposures = st.builds(Exposure, st.integers(0, 10**10), st.integers(0, 1000))


def seen(**changes: object) -> Sighting:
    return replace(BEGIN, **changes)  # type: ignore[arg-type]


def followed(*sightings: Sighting, begin: Sighting = BEGIN) -> Facts:
    facts = told(begin, NEW, now=0.0)
    for number, sighting in enumerate(sightings):
        facts = follow(facts, sighting, NEW, now=float(number))
    return facts


@given(exposures, st.integers(0, 10**9), st.floats(0, 1e-3))
def test_one_alarm_alone_never_stops_a_rollout(old: Exposure, frames: int, promise: float) -> None:
    for alarms in (0, 1):
        assert log_e(old, Exposure(frames, alarms), promise=promise) < STOP


@pytest.mark.parametrize("old_frames", [10**6, 10**8, 10**10])
def test_two_alarms_at_once_stop_it_where_there_had_been_none_for_long(old_frames: int) -> None:
    assert log_e(Exposure(old_frames, 0), Exposure(old_frames // 10_000, 2)) >= STOP


def test_without_a_past_nothing_is_known_and_nothing_stops() -> None:
    assert log_e(Exposure(0, 0), Exposure(1000, 900)) < STOP


def test_a_bundle_that_keeps_to_the_devices_budget_is_not_stopped() -> None:
    old, new = Exposure(10**9, 0), Exposure(10**6, 10)
    assert log_e(old, new) >= STOP
    assert log_e(old, new, promise=1e-5) < STOP


@given(exposures, st.integers(1, 10**9), st.integers(0, 100))
def test_more_alarms_speak_against_it_and_more_frames_for_it(old: Exposure, frames: int, alarms: int) -> None:
    now = log_e(old, Exposure(frames, alarms))
    slack = 1e-6 * (1 + abs(now))
    if alarms:
        assert log_e(old, Exposure(frames, alarms + 1)) >= now - slack
        assert log_e(old, Exposure(frames * 2, alarms)) <= now + slack


@pytest.mark.parametrize(("rate", "history"), [(1e-2, 0.5), (1e-6, 20)])
def test_a_bundle_that_alarms_as_often_as_the_old_one_is_stopped_in_at_most_one_of_a_hundred_cases(
    rate: float, history: float
) -> None:
    random = np.random.default_rng(0)
    cases, stopped = 200, 0
    before = int(history / rate)
    step = int(0.5 / rate)
    for _ in range(cases):
        old = Exposure(before, int(random.poisson(rate * before)))
        new = Exposure()
        for _ in range(25):  # looked at again and again
            old += Exposure(step, int(random.poisson(rate * step)))
            new += Exposure(step, int(random.poisson(rate * step)))
            if log_e(old, new) >= STOP:
                stopped += 1
                break
    assert stopped <= cases * LEVEL + 3 * math.sqrt(cases * LEVEL)


def test_a_bundle_with_which_each_device_keeps_to_its_own_budget_is_stopped_in_at_most_one_of_a_hundred_cases() -> None:
    random = np.random.default_rng(0)
    cases, stopped = 200, 0
    budgets = np.array([1e-3, 1e-3, 1e-5, 1e-6, 1e-7])
    steps = np.array([100, 1000, 1000, 1000, 20_000])
    for _ in range(cases):
        frames, alarms = np.zeros(5, dtype=int), 0
        for _ in range(50):  # looked at again and again
            frames += steps
            alarms += int(random.poisson(budgets * steps).sum())
            promise = allowed(zip(map(int, frames), map(float, budgets), strict=True))
            if log_e(Exposure(10**9, 0), Exposure(int(frames.sum()), alarms), promise=promise) >= STOP:
                stopped += 1
                break
    assert stopped <= cases * LEVEL + 3 * math.sqrt(cases * LEVEL)


def test_a_budget_counts_by_its_devices_frames_and_one_that_is_not_known_as_the_others() -> None:
    assert allowed([]) == 0.0
    assert allowed([(1000, 0.0)]) == 0.0
    assert allowed([(1000, 1e-2), *[(1000, 0.0)] * 9]) == pytest.approx(1e-2)
    assert allowed([(1000, 1e-2), *[(1000, 1e-7)] * 9]) == pytest.approx(1e-3, rel=1e-3)
    assert allowed([(0, 1e-3)]) == pytest.approx(1e-3)


def test_a_look_that_is_taken_twice_changes_nothing() -> None:
    look = seen(bundle=NEW, frames=11_000, alarms=2)
    assert followed(look) == replace(followed(look, look), refused_since=None)


def test_frames_before_the_new_bundle_are_the_old_ones_and_all_since_the_last_look_at_it_the_new_ones() -> None:
    facts = followed(seen(frames=10_100), seen(frames=10_150, bundle=NEW), seen(frames=10_300, bundle=NEW, alarms=2))
    assert facts.old == Exposure(10_100, 1)
    assert facts.new == Exposure(200, 1)


def test_a_stream_that_is_in_alarm_all_the_while_could_raise_none_and_does_not_count() -> None:
    raised = seen(frames=10_010, bundle=NEW, alarms=2, alarm=True)
    facts = followed(raised, replace(raised, frames=90_000))
    assert facts.new == Exposure(10, 1)
    cleared = replace(raised, frames=90_100, alarm=False)
    assert follow(facts, cleared, NEW, 9.0).new == Exposure(110, 1)


def test_frames_of_a_stream_that_is_in_alarm_when_it_is_told_are_no_history() -> None:
    assert followed(begin=seen(alarm=True)).old == Exposure(0, 1)


def test_a_device_with_a_new_store_counts_from_nought_again() -> None:
    facts = followed(
        seen(frames=10_100, bundle=NEW),
        seen(instance="b" * 16, frames=5, alarms=0),
        seen(instance="b" * 16, frames=25, alarms=0, bundle=NEW),
    )
    assert facts.new == Exposure(100 + 5 + 20, 0)


def test_what_a_stream_does_after_it_has_left_the_bundle_is_not_held_against_it() -> None:
    facts = followed(
        seen(frames=10_100, bundle=NEW), seen(frames=10_200, bundle=OTHER), seen(frames=99_000, alarms=50, bundle=OTHER)
    )
    assert facts.new == Exposure(200, 0)


def test_a_stream_that_ran_it_already_has_no_past_with_others() -> None:
    facts = followed(seen(bundle=NEW, frames=10_500, alarms=3), begin=seen(bundle=NEW))
    assert facts.before is None
    assert facts.old == Exposure()
    assert facts.new == Exposure(500, 2)


def test_an_error_from_before_it_was_told_is_no_refusal() -> None:
    facts = told(BEGIN, NEW, now=100.0)
    assert follow(facts, seen(error="older", error_at=99.0), NEW, 101.0).refused_since is None
    refused = follow(facts, seen(error="unsigned", error_at=101.0), NEW, 101.0)
    assert refused.refused_since == 101.0
    assert follow(refused, seen(error="unsigned", error_at=111.0), NEW, 111.0).refused_since == 101.0
    assert follow(refused, seen(error_at=111.0), NEW, 111.0).refused_since is None


def test_those_that_still_run_the_old_bundle_are_compared_with() -> None:
    facts = followed(seen(frames=10_200, bundle=NEW))
    found = weigh([facts], [seen(frames=500, alarms=3), seen(frames=700, alarms=4, alarm=True)])
    assert found.old == Exposure(10_000 + 500, 1 + 3 + 4)
    assert found.new == Exposure(200, 0)
