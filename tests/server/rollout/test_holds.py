"""What keeps a rollout at its stage without stopping it: alarms, devices that are gone, frames that nobody scores."""

from __future__ import annotations

import pytest

from driftprint_server.rollout.model import Hold, Status
from driftprint_server.rollout.news import Standing
from tests.server.rollout.fleets import SOAK_SECONDS, TOY2, TOY3, Scene

OVERDUE_SECONDS = 1800.0


def hold(scene: Scene, rollout: str) -> str:
    """Why it is held; empty where it is not."""
    found = scene.rollouts.find(rollout).hold
    return "" if found is None else found.why


def test_a_stage_whose_only_device_is_in_alarm_is_given_to_nobody_else(ten: Scene) -> None:
    rollout = ten.start(stages=(10, 50, 100))
    (one,) = ten.broker.told()
    ten.follow()
    ten.fleet.report(one, alarms=1, alarm=True)
    ten.look()
    for _ in range(10):
        ten.fleet.report(one, alarm=True)
        ten.look(SOAK_SECONDS)
    found = ten.rollouts.find(rollout)
    assert (found.status, found.percent, found.settled_at) == (Status.RUNNING, 10, None)
    assert hold(ten, rollout) == f"north/{one} is in alarm with it"
    assert ten.broker.told() == {one}


def test_once_the_alarm_is_over_the_stage_must_run_well_anew_and_then_goes_on(ten: Scene) -> None:
    rollout = ten.start(stages=(10, 100))
    (one,) = ten.broker.told()
    ten.follow()
    ten.fleet.report(one, alarms=1, alarm=True)
    ten.look(SOAK_SECONDS)
    ten.fleet.report(one)
    ten.look()
    assert hold(ten, rollout) == ""
    ten.look(SOAK_SECONDS - 1)
    assert ten.rollouts.find(rollout).percent == 10
    ten.look(1)
    assert ten.rollouts.find(rollout).percent == 100


def test_a_rollout_over_one_device_that_is_in_alarm_all_the_time_is_not_done(ten: Scene) -> None:
    rollout = ten.start(stages=(100,), site="north", device="pi-1")
    ten.follow(alarms=1)
    for _ in range(5):
        ten.fleet.report("pi-1", alarm=True)
        ten.look(SOAK_SECONDS)
    assert ten.rollouts.find(rollout).status is Status.RUNNING
    assert hold(ten, rollout) == "north/pi-1 is in alarm with it"


def test_an_alarm_from_before_the_bundle_holds_nothing_until_it_is_over_and_raised_again(ten: Scene) -> None:
    for device in ten.fleet.known:
        ten.fleet.report(device[1], alarm=True)
    rollout = ten.start(stages=(10, 50, 100))
    (one,) = ten.broker.told()
    ten.fleet.report(one, bundle=TOY2, frames=0, alarm=True)
    ten.look()
    ten.fleet.report(one, alarm=True)
    ten.look()
    assert hold(ten, rollout) == ""
    ten.fleet.report(one)
    ten.look()
    ten.fleet.report(one, alarms=1, alarm=True)
    ten.look()
    assert hold(ten, rollout) == f"north/{one} is in alarm with it"


def test_in_a_large_fleet_where_some_device_is_always_in_alarm_a_few_hold_nothing(scene: Scene) -> None:
    devices = [f"pi-{number}" for number in range(40)]
    scene.fleet.add(*devices)
    rollout = scene.start(stages=(100,))
    scene.follow()
    scene.look()
    for few in (devices[:2], devices[:3]):
        for device in few:
            scene.fleet.report(device, alarm=True)
        scene.look()
        assert (hold(scene, rollout) == "") == (len(few) == 2)
    assert hold(scene, rollout) == "north/pi-0, north/pi-1, north/pi-2 are in alarm with it"


def test_an_operator_who_widens_has_seen_the_alarms_and_only_further_ones_hold_it_again(ten: Scene) -> None:
    rollout = ten.start(stages=(10, 50, 100))
    (one,) = ten.broker.told()
    ten.follow()
    ten.fleet.report(one, alarms=1, alarm=True)
    ten.look()
    ten.rollouts.widen(rollout, "ann", percent=50)
    ten.rollouts.tick()
    assert len(ten.broker.told()) == 5
    ten.follow()
    ten.fleet.report(one, alarm=True)
    ten.look()
    ten.look(SOAK_SECONDS)
    assert ten.rollouts.find(rollout).percent == 100
    other = next(iter(ten.broker.told() - {one}))
    ten.follow()
    ten.fleet.report(other, alarm=True)
    ten.look()
    assert hold(ten, rollout) == f"north/{other} is in alarm with it"


def test_one_that_is_stopped_and_resumed_is_not_held_by_the_alarms_of_before(ten: Scene) -> None:
    rollout = ten.start(stages=(100,), site="north", device="pi-1")
    ten.follow(alarms=1)
    ten.look()
    assert hold(ten, rollout)
    ten.rollouts.stop(rollout, "ann", back=False)
    assert hold(ten, rollout) == ""
    ten.rollouts.resume(rollout, "ann")
    for _ in range(3):
        ten.fleet.report("pi-1", alarm=True)
        ten.look(SOAK_SECONDS)
    assert ten.rollouts.find(rollout).status is Status.DONE


def test_where_all_go_dark_after_taking_it_nobody_else_gets_it(ten: Scene) -> None:
    rollout = ten.start()
    first = ten.broker.told()
    ten.follow()
    ten.look()
    for device in first:
        ten.fleet.leave(device)
    ten.look()
    ten.look(10 * SOAK_SECONDS)
    assert ten.broker.told() == first
    one, two, three = sorted(first)
    assert hold(ten, rollout) == f"north/{one}, north/{two}, north/{three} are not online since taking it"
    for device in first:
        ten.clock.wall += 1
        ten.fleet.report(device)
    ten.look()
    assert ten.rollouts.find(rollout).percent == 100, "a network that was away takes nothing from what has run well"


def test_one_of_many_that_goes_dark_is_no_reason_and_two_of_few_are(ten: Scene) -> None:
    rollout = ten.start()
    one, two, _ = sorted(ten.broker.told())
    ten.follow()
    ten.look()
    ten.fleet.leave(one)
    ten.look()
    assert hold(ten, rollout) == ""
    ten.fleet.leave(two)
    ten.look()
    assert hold(ten, rollout) == f"north/{one}, north/{two} are not online since taking it"


def test_a_stage_is_not_over_before_a_frame_has_been_scored_with_it(ten: Scene) -> None:
    rollout = ten.start()
    for _ in range(5):
        ten.follow(frames=0)
        ten.look(SOAK_SECONDS)
    assert ten.rollouts.find(rollout).settled_at is None
    assert ten.rollouts.find(rollout).percent == 30
    assert hold(ten, rollout) == "no device that is online has scored frames with it yet"
    ten.follow(frames=1)
    ten.look()
    ten.look(SOAK_SECONDS)
    assert ten.rollouts.find(rollout).percent == 100


def test_frames_that_were_scored_before_the_bundle_was_taken_and_told_with_it_are_not_scored_with_it(
    ten: Scene,
) -> None:
    rollout = ten.start()
    for device in ten.broker.told():
        ten.fleet.report(device, bundle=TOY2, frames=500)
    ten.look()
    ten.look(10 * SOAK_SECONDS)
    assert ten.rollouts.find(rollout).settled_at is None
    assert ten.rollouts.find(rollout).percent == 30


def test_a_hold_that_lasts_is_a_step_once_and_outlasts_a_restart(ten: Scene) -> None:
    rollout = ten.start(stages=(10, 100))
    (one,) = ten.broker.told()
    ten.follow()
    ten.look()
    ten.fleet.report(one, alarms=1, alarm=True)
    ten.look()
    begun = ten.clock.wall
    ten.look(OVERDUE_SECONDS - 1)
    assert [step.action for step in ten.rollouts.steps(rollout)] == ["start"]
    ten.restart()
    assert ten.rollouts.find(rollout).hold == Hold(f"north/{one} is in alarm with it", begun)
    ten.look(1)
    ten.look(OVERDUE_SECONDS)
    ten.restart()
    ten.look(OVERDUE_SECONDS)
    assert [(step.who, step.action, step.detail) for step in ten.rollouts.steps(rollout)][1:] == [
        ("server", "hold", f"for 1800 s now: north/{one} is in alarm with it")
    ]
    assert ten.rollouts.find(rollout).status is Status.RUNNING
    assert [line.action for line in ten.audit.lines(limit=5)] == ["rollout.hold", "rollout.start"]


def test_it_is_counted_until_somebody_has_seen_to_it(ten: Scene) -> None:
    def counted() -> dict[str, int]:
        return {standing.value: number for standing, number in ten.rollouts.standings().items() if number}

    assert set(ten.rollouts.standings()) == set(Standing)
    first = ten.start(stages=(10, 100))
    assert counted() == {"running": 1}
    (one,) = ten.broker.told()
    ten.follow()
    ten.fleet.report(one, alarms=1, alarm=True)
    ten.look()
    assert counted() == {"held": 1}
    ten.fleet.report(one, alarms=2, alarm=True)
    ten.look()
    assert ten.rollouts.find(first).status is Status.STOPPED
    assert counted() == {"stopped": 1}
    ten.restart()
    assert counted() == {"stopped": 1}
    ten.rollouts.stop(first, "ann", back=True)
    assert counted() == {}
    ten.rollouts.resume(first, "ann")
    assert counted() == {"running": 1}


@pytest.mark.parametrize("seen_to", ["resume", "start another"])
def test_what_an_operator_does_about_a_rollout_that_has_stopped_is_enough(ten: Scene, seen_to: str) -> None:
    first = ten.start()
    ten.follow(alarms=1)
    ten.look()
    assert ten.rollouts.standings()[Standing.STOPPED] == 1
    if seen_to == "resume":
        ten.rollouts.resume(first, "ann")
    else:
        ten.start(TOY3)
    assert ten.rollouts.standings()[Standing.STOPPED] == 0
