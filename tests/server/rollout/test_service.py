"""Rollouts over a fleet that is simulated by messages: who is told what, when it goes on, and when it stops."""

from __future__ import annotations

import pytest

from driftprint_server.rollout.model import Status
from driftprint_server.rollout.orders import (
    ConflictError,
    Order,
    UnknownBundleError,
    UnknownRolloutError,
    UnusableError,
)
from tests.bundles import make_bundle
from tests.server.rollout.fleets import SOAK_SECONDS, TOY1, TOY2, TOY3, Scene

ALL = {f"pi-{number}" for number in range(10)}


def test_a_stage_reaches_its_share_and_tells_each_device_once_where_to_fetch_what(ten: Scene) -> None:
    ten.start()
    told = ten.broker.told()
    assert len(told) == 3
    assert {ten.broker.wanted(device) for device in told} == {(TOY2, False)}
    urls = {command.wanted["belt"].url for command in ten.broker.retained.values()}
    assert urls == {ten.links.url(TOY2)}
    ten.look()
    assert sorted(ten.broker.published) == sorted(told)


def test_the_next_stage_begins_when_all_run_it_and_have_soaked_and_the_last_one_ends_it(ten: Scene) -> None:
    rollout = ten.start()
    first = ten.broker.told()
    ten.look(SOAK_SECONDS)
    assert ten.broker.told() == first
    ten.follow()
    ten.look()
    ten.look(SOAK_SECONDS - 1)
    assert ten.broker.told() == first
    ten.look(1)
    assert ten.broker.told() == ALL
    ten.follow()
    ten.look()
    ten.look(SOAK_SECONDS)
    assert ten.rollouts.find(rollout).status is Status.DONE
    assert [step.action for step in ten.rollouts.steps(rollout)] == ["start", "widen", "done"]


def test_one_device_that_does_not_follow_holds_the_stage(ten: Scene) -> None:
    ten.start()
    first = sorted(ten.broker.told())
    ten.follow(*first[1:])
    ten.look()
    ten.look(10 * SOAK_SECONDS)
    assert ten.broker.told() == set(first)


def test_devices_that_are_online_are_drawn_first_and_one_that_is_offline_does_not_hold_the_stage(ten: Scene) -> None:
    away = {f"pi-{number}" for number in range(7)}
    for device in away:
        ten.fleet.leave(device)
    ten.start(stages=(40,))
    assert ten.broker.told() >= ALL - away
    ten.follow(*ALL - away)
    ten.look()
    ten.look(SOAK_SECONDS)
    (rollout,) = ten.rollouts.all()
    assert rollout.status is Status.DONE


def test_a_bad_bundle_stops_by_itself_and_its_devices_go_back_and_nobody_else_has_got_it(ten: Scene) -> None:
    rollout = ten.start()
    first = ten.broker.told()
    ten.follow(alarms=1)
    ten.look()
    found = ten.rollouts.find(rollout)
    assert found.status is Status.STOPPED
    assert found.back
    assert "3 alarms" in found.reason
    assert ten.broker.told() == first
    assert {ten.broker.wanted(device) for device in first} == {(TOY1, True)}
    ten.follow()
    ten.look()
    ten.look(10 * SOAK_SECONDS)
    assert ten.broker.told() == set()
    assert {totals.bundle for totals in ten.fleet.totals.values()} == {TOY1}
    assert [(step.who, step.action) for step in ten.rollouts.steps(rollout)] == [("ann", "start"), ("server", "stop")]


def test_one_alarm_alone_stops_nothing(ten: Scene) -> None:
    rollout = ten.start(stages=(10, 100))
    ten.follow(alarms=1, frames=1)
    ten.look()
    assert ten.rollouts.find(rollout).status is Status.RUNNING


def test_alarms_that_come_as_often_as_with_the_old_version_stop_nothing(ten: Scene) -> None:
    for device in ALL:
        ten.fleet.report(device, alarms=100)  # one in 10,000 frames
    rollout = ten.start(stages=(100,))
    for _ in range(50):
        ten.follow(alarms=1, frames=10_000)
        ten.look()
    assert ten.rollouts.find(rollout).status is Status.RUNNING
    ten.follow()
    ten.look()
    ten.look(SOAK_SECONDS)
    assert ten.rollouts.find(rollout).status is Status.DONE


def test_one_devices_loose_budget_does_not_keep_a_bad_bundle_from_being_stopped(ten: Scene) -> None:
    for device in sorted(ALL):
        ten.fleet.report_budget(device, frames_per_false_alarm=100 if device == "pi-0" else 1e7)
    rollout = ten.start(stages=(100,))
    ten.follow(alarms=3)  # 30 in 10,000 frames, of which pi-0 alone may have 10
    ten.look()
    assert ten.rollouts.find(rollout).status is Status.STOPPED


def test_what_the_devices_budgets_allow_is_not_held_against_a_bundle(ten: Scene) -> None:
    for device in sorted(ALL):
        ten.fleet.report_budget(device, frames_per_false_alarm=400)
    rollout = ten.start(stages=(100,))
    ten.follow(alarms=3)
    ten.look()
    assert ten.rollouts.find(rollout).status is Status.RUNNING


def test_two_devices_that_refuse_it_stop_it_once_they_have_said_so_for_a_while(ten: Scene) -> None:
    rollout = ten.start()
    one, two, three = sorted(ten.broker.told())
    ten.follow(three)
    for _ in range(2):
        ten.look(31)
        assert ten.rollouts.find(rollout).status is Status.RUNNING
        ten.fleet.report(one, error="toy-2: is not signed")
    ten.fleet.report(two, error="toy-2: is not signed")
    ten.look()
    assert ten.rollouts.find(rollout).status is Status.RUNNING
    ten.look(31)
    found = ten.rollouts.find(rollout)
    assert found.status is Status.STOPPED
    assert found.reason == f"2 of 3 devices do not run it: north/{one}, north/{two}"
    assert ten.broker.wanted(one) is None
    assert ten.broker.wanted(three) == (TOY1, True)


def test_an_attempt_to_fetch_it_that_failed_once_is_no_refusal(ten: Scene) -> None:
    rollout = ten.start()
    for device in ten.broker.told():
        ten.fleet.report(device, error="cannot be fetched")
    ten.look(20)
    ten.follow()
    ten.look(20)
    assert ten.rollouts.find(rollout).status is Status.RUNNING


def test_devices_that_cannot_fetch_it_have_not_refused_it_and_stop_it_only_once_they_are_overdue(ten: Scene) -> None:
    rollout = ten.start()
    for _ in range(4):
        for device in ten.broker.told():
            ten.fleet.report(device, error="toy-2: cannot be fetched", unfetched=True)
        ten.look(100)
    assert ten.rollouts.find(rollout).status is Status.RUNNING
    assert {facts.refused_since for facts in ten.rollouts.facts(rollout).values()} == {None}
    ten.look(1400)
    assert ten.rollouts.find(rollout).status is Status.STOPPED


def test_devices_that_are_online_and_never_follow_stop_it(ten: Scene) -> None:
    rollout = ten.start()
    ten.look(1799)
    assert ten.rollouts.find(rollout).status is Status.RUNNING
    ten.look(1)
    assert ten.rollouts.find(rollout).status is Status.STOPPED
    assert ten.broker.told() == set()


def test_a_device_that_has_not_followed_is_told_again_after_a_while_but_not_one_that_says_why(ten: Scene) -> None:
    ten.start()
    one, two, _ = sorted(ten.broker.told())
    ten.fleet.report(one, error="toy-2: cannot be fetched")
    ten.fleet.report(two, bundle=TOY2)
    ten.broker.published.clear()
    ten.look(61)
    assert ten.broker.published == [sorted(ten.broker.told())[2]]


def test_a_restart_forgets_nothing_and_repeats_nothing(ten: Scene) -> None:
    rollout = ten.start()
    first = ten.broker.told()
    ten.follow()
    ten.look()
    url = ten.links.url(TOY2)
    ten.broker.published.clear()
    ten.restart()
    ten.look(1)
    assert ten.links.url(TOY2) == url
    assert ten.broker.published == []
    ten.follow(alarms=1)
    ten.look()
    assert ten.rollouts.find(rollout).status is Status.STOPPED
    assert {ten.broker.wanted(device) for device in first} == {(TOY1, True)}


def test_what_may_have_been_cut_off_as_the_server_died_is_sent_again_at_once(ten: Scene) -> None:
    rollout = ten.start()
    one, *others = sorted(ten.broker.told())
    ten.follow(one)
    ten.look()
    ten.broker.published.clear()
    ten.restart()
    ten.look()
    assert sorted(ten.broker.published) == others
    ten.look()
    assert sorted(ten.broker.published) == others, "and once"

    ten.rollouts.stop(rollout, "ann", back=False)
    ten.rollouts.tick()
    ten.broker.published.clear()
    ten.restart()
    ten.look()
    ten.look()
    assert sorted(ten.broker.published) == [one, *others]
    assert ten.broker.told() == set()


def test_frames_before_a_restart_count_though_they_were_not_written(ten: Scene) -> None:
    rollout = ten.start()
    ten.follow(frames=10)
    ten.look()
    ten.follow(frames=1000)
    ten.look()
    before = ten.rollouts.find(rollout).evidence
    ten.restart()
    ten.look()
    assert ten.rollouts.find(rollout).evidence == before


def test_what_could_not_be_sent_is_sent_when_the_broker_is_back(ten: Scene) -> None:
    ten.broker.up = False
    ten.start()
    assert ten.broker.told() == set()
    ten.restart()
    ten.broker.up = True
    ten.look()
    assert len(ten.broker.told()) == 3


def test_a_device_that_was_reset_is_told_what_it_was_told_and_its_frames_count_from_nought(ten: Scene) -> None:
    rollout = ten.start(stages=(100,))
    ten.follow()
    ten.look()
    ten.fleet.reset("pi-1")
    ten.look()
    assert ten.broker.wanted("pi-1") == (TOY2, False)
    before = ten.rollouts.find(rollout).evidence
    ten.fleet.report("pi-1", frames=500)
    ten.look()
    ten.fleet.report("pi-1", bundle=TOY2, frames=7)
    ten.look()
    after = ten.rollouts.find(rollout).evidence
    assert before is not None
    assert after is not None
    # What lay between the last look at one bundle and the first at the other counts as the new one's.
    assert after.new.frames == before.new.frames + 500 + 7


def test_a_device_that_comes_when_all_is_done_gets_it_too(ten: Scene) -> None:
    ten.start(stages=(100,))
    ten.follow()
    ten.look()
    ten.look(SOAK_SECONDS)
    ten.fleet.add("late")
    ten.look()
    assert ten.broker.wanted("late") == (TOY2, False)


def test_a_site_and_a_device_are_left_alone_by_what_is_meant_for_others(ten: Scene) -> None:
    ten.fleet.add("pi-0", "pi-1", site="south")
    ten.start(stages=(100,), site="south", device="pi-1")
    assert {command.split("/")[2] for command in ten.broker.retained} == {"south"}
    assert ten.broker.told() == {"pi-1"}


def test_an_older_version_is_given_to_nobody(ten: Scene) -> None:
    ten.fleet.add("ahead", bundle=TOY3)
    ten.start(TOY2, stages=(100,))
    assert ten.broker.told() == ALL


def test_streams_by_name_get_it_whatever_they_ran(ten: Scene) -> None:
    make_bundle(ten.bundles / "other-1.driftprint", name="other", zipped=True)
    ten.start(TOY2._replace(name="other", version=1), stages=(100,), stream="belt")
    assert ten.broker.told() == ALL


def test_the_later_rollout_holds_and_a_stopped_one_gives_the_earlier_one_its_say_again(ten: Scene) -> None:
    ten.start(TOY2, stages=(100,))
    ten.follow()
    ten.look()
    ten.look(SOAK_SECONDS)
    later = ten.start(TOY3, stages=(100,), device="pi-1", site="north")
    assert ten.broker.wanted("pi-1") == (TOY3, False)
    assert ten.broker.wanted("pi-2") == (TOY2, False)
    ten.follow()
    ten.look()
    ten.rollouts.stop(later, "ann", back=True)
    ten.look()
    assert ten.broker.wanted("pi-1") == (TOY2, True)
    ten.follow()
    ten.look()
    assert ten.broker.wanted("pi-1") == (TOY2, False)


def test_one_that_is_done_everywhere_supersedes_those_before(ten: Scene) -> None:
    first = ten.start(TOY2, stages=(100,))
    ten.follow()
    ten.look()
    ten.look(SOAK_SECONDS)
    ten.start(TOY3, stages=(50, 100))
    ten.look()
    assert ten.rollouts.find(first).status is Status.DONE
    for _ in range(2):
        ten.follow()
        ten.look()
        ten.look(SOAK_SECONDS)
    assert ten.rollouts.find(first).status is Status.SUPERSEDED


@pytest.mark.parametrize("back", [True, False])
def test_an_operator_stops_it_with_or_without_a_way_back(ten: Scene, back: bool) -> None:
    rollout = ten.start()
    one, *others = sorted(ten.broker.told())
    ten.follow(one)
    ten.look()
    ten.rollouts.stop(rollout, "ann", back=back)
    ten.look()
    assert ten.broker.wanted(one) == ((TOY1, True) if back else None)
    assert [ten.broker.wanted(device) for device in others] == [None, None]


def test_a_resumed_one_starts_its_evidence_anew_and_widening_only_adds(ten: Scene) -> None:
    rollout = ten.start()
    first = ten.broker.told()
    ten.follow(alarms=1)
    ten.look()
    ten.follow()
    ten.look()
    ten.rollouts.resume(rollout, "ann")
    ten.look()
    assert ten.rollouts.find(rollout).status is Status.RUNNING
    assert ten.broker.told() == first
    ten.rollouts.widen(rollout, "ann", percent=60)
    ten.look()
    assert ten.broker.told() > first
    assert len(ten.broker.told()) == 6


def test_a_stage_that_an_operator_has_widened_to_waits_for_its_devices_as_any_other(ten: Scene) -> None:
    rollout = ten.start()
    ten.follow()
    ten.look()
    before = ten.broker.told()
    ten.rollouts.widen(rollout, "ann", percent=60)
    ten.look()
    one, *others = sorted(ten.broker.told() - before)
    ten.follow(*others)
    ten.look()
    ten.look(10 * SOAK_SECONDS)
    assert ten.rollouts.find(rollout).percent == 60
    ten.follow(one)
    ten.look()
    ten.look(SOAK_SECONDS)
    assert ten.rollouts.find(rollout).percent == 100


def test_two_at_once_are_told_so(ten: Scene) -> None:
    rollout = ten.start()
    with pytest.raises(ConflictError, match=rf"rollout {rollout} of toy-2 is running; stop it first"):
        ten.start(TOY3)
    revision = ten.rollouts.find(rollout).revision
    ten.rollouts.widen(rollout, "ann", percent=40, revision=revision)
    with pytest.raises(ConflictError, match=f"it is at revision {revision + 1}"):
        ten.rollouts.stop(rollout, "bob", back=True, revision=revision)


def test_what_cannot_be_done_changes_nothing(ten: Scene) -> None:
    rollout = ten.start()
    with pytest.raises(UnknownRolloutError, match="there is no rollout f00"):
        ten.rollouts.stop("f00", "ann", back=True)
    with pytest.raises(ConflictError, match="not stopped"):
        ten.rollouts.resume(rollout, "ann")
    with pytest.raises(ConflictError, match="reaches 30 % already"):
        ten.rollouts.widen(rollout, "ann", percent=30)
    ten.rollouts.stop(rollout, "ann", back=True)
    with pytest.raises(ConflictError, match="is stopped already"):
        ten.rollouts.stop(rollout, "ann", back=True)
    with pytest.raises(ConflictError, match="resume it"):
        ten.rollouts.widen(rollout, "ann", percent=50)
    with pytest.raises(UnknownBundleError):
        ten.start(TOY3._replace(version=9))
    with pytest.raises(ConflictError, match="no stream that runs toy there"):
        ten.start(TOY3, site="nowhere")
    (ten.bundles / "toy-3.driftprint").write_bytes(b"PK\x03\x04 and no more")
    with pytest.raises(UnusableError, match="neither a folder nor a whole zip file"):
        ten.start(TOY3)
    assert [step.action for step in ten.rollouts.steps(rollout)] == ["start", "stop"]


def test_every_change_leaves_a_line_of_who_did_it(ten: Scene) -> None:
    rollout = ten.start()
    ten.follow(alarms=1)
    ten.look()
    ten.rollouts.resume(rollout, "bob")
    lines = [(line.who, line.action, line.target) for line in ten.audit.lines(limit=10)]
    assert lines == [
        ("bob", "rollout.resume", rollout),
        ("server", "rollout.stop", rollout),
        ("ann", "rollout.start", rollout),
    ]


def test_a_disk_that_refuses_tells_nobody_anything(ten: Scene) -> None:
    ten.rollouts.start(Order(TOY2, None, None, None, (100,), SOAK_SECONDS), "ann")
    with ten.store.transaction() as db:
        db.execute("ALTER TABLE rollout_commands RENAME TO away")
    with pytest.raises(Exception, match="cannot be kept"):
        ten.rollouts.tick()
    assert ten.broker.told() == set()
    with ten.store.transaction() as db:
        db.execute("ALTER TABLE away RENAME TO rollout_commands")
    ten.look()
    assert ten.broker.told() == ALL
