from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from driftprint.errors import MessageError
from driftprint.messages import AlertMessage, AlertStatus, Cause, ClassStats, DeviceMessage, DeviceStatus, Thumbnail
from driftprint_server.bounds import FEW_CLASSES, MOST_ALERT_BYTES, MOST_CLASSES, alert_bytes
from driftprint_server.counts import Reason
from driftprint_server.device import (
    MOST_AGE_SECONDS,
    MOST_ALERTS,
    MOST_STREAMS,
    Device,
    Liveness,
    apply,
    not_after,
    raised_at,
)
from driftprint_server.fleet import Fleet
from driftprint_server.records import kept
from driftprint_server.times import STEP_SECONDS
from tests.server.history.messages import of_classes
from tests.server.messages import NEW, OLD, alert, health, state, window

NOW = 1_000_000.0


def after(messages: Sequence[tuple[DeviceMessage, float]], device: Device | None = None) -> Device:
    for message, at in messages:
        device = apply(device, kept(message), at)
    assert device is not None
    return device


def liveness(device: Device, now: float) -> Liveness:
    return device.liveness(now, stale_after_seconds=60)


@st.composite
def histories(draw: st.DrawFn, instance: str = OLD) -> list[tuple[DeviceMessage, float]]:
    """What a device says, each with its arrival."""
    made: list[DeviceMessage] = []
    for seq in range(1, draw(st.integers(2, 12))):
        stream = draw(st.sampled_from(["belt", "chute"]))
        number = 1 + seq // 4
        made.append(
            draw(
                st.sampled_from(
                    [
                        window(seq, stream=stream, instance=instance, alarm=seq % 2 == 0),
                        alert(seq, number=number, revision=seq, stream=stream, instance=instance),
                        alert(seq, number=number, revision=seq, instance=instance, status=AlertStatus.CLEARED),
                        health(uptime_seconds=float(seq), instance=instance),
                        state(instance=instance),
                        state(DeviceStatus.OFFLINE, instance=instance),
                    ]
                )
            )
        )
    return [(message, NOW + 10 * i) for i, message in enumerate(made)]


@given(data=st.data(), history=histories())
def test_duplicates_and_reordering_leave_the_same_state(
    data: st.DataObject, history: list[tuple[DeviceMessage, float]]
) -> None:
    extra = data.draw(st.lists(st.sampled_from(history), max_size=10))
    shuffled = data.draw(st.permutations([*history, *extra]))
    # Who is first decides only when the device was first heard of.
    assert replace(after(shuffled), heard_at=NOW) == replace(after(history), heard_at=NOW)


@given(data=st.data(), first=histories(OLD), second=histories(NEW))
def test_a_replay_changes_nothing_once_a_device_has_a_new_instance(
    data: st.DataObject, first: list[tuple[DeviceMessage, float]], second: list[tuple[DeviceMessage, float]]
) -> None:
    device = after([*first, *second])
    streams = [entry for entry in first + second if hasattr(entry[0], "seq")]
    replayed = device
    for message, at in data.draw(st.lists(st.sampled_from(streams or first), max_size=10)):
        try:
            replayed = apply(replayed, kept(message), at)
        except MessageError as error:
            assert error.reason == Reason.SUPERSEDED_INSTANCE  # noqa: PT017
            assert message.instance == OLD
    assert replayed == device


def test_a_later_window_replaces_an_earlier_one_and_not_the_other_way() -> None:
    for order in ([1, 2], [2, 1]):
        device = after([(window(seq), NOW + seq) for seq in order])
        latest = device.streams["belt"].window
        assert latest is not None
        assert latest.message.seq == 2


def test_an_event_is_dated_by_its_age_and_not_by_the_devices_clock() -> None:
    device = after([(window(1, recorded_at=4e9, age_seconds=100.0), NOW)])
    assert device.streams["belt"].window is not None
    assert device.streams["belt"].window.at == NOW - 100
    assert device.last_seen == NOW


def test_an_absurd_age_is_clamped() -> None:
    device = after([(window(1, age_seconds=1e300), NOW)])
    assert device.streams["belt"].window is not None
    assert device.streams["belt"].window.at == NOW - MOST_AGE_SECONDS


def test_a_message_sent_again_keeps_its_date() -> None:
    first = (window(1, age_seconds=0.0), NOW)
    again = (window(1, age_seconds=30.0), NOW + 30.5)
    for order in ([first, again], [again, first]):
        stream = after(order).streams["belt"]
        assert stream.window is not None
        assert stream.window.at == NOW


def test_the_raising_of_an_alert_is_dated_by_a_difference_of_the_devices_clock() -> None:
    device = after([(alert(1, recorded_at=500.0, raised_at=440.0, age_seconds=5.0), NOW)])
    (known,) = device.streams["belt"].alerts.values()
    assert raised_at(known) == NOW - 65


def test_an_alert_is_its_highest_revision() -> None:
    raised = (alert(1, revision=0), NOW)
    cleared = (alert(5, revision=1, status=AlertStatus.CLEARED), NOW + 9)
    for order in ([raised, cleared], [cleared, raised]):
        device = after(order)
        (known,) = device.streams["belt"].alerts.values()
        assert known.message.status is AlertStatus.CLEARED
        assert not device.alarm("belt")


def test_an_alert_sets_the_alarm_before_its_window_does() -> None:
    device = after([(window(1, alarm=False), NOW), (alert(2), NOW)])
    assert device.alarm("belt")
    assert not after([(window(3, alarm=False), NOW)], device).alarm("belt")


def test_the_oldest_alerts_go_where_there_are_too_many() -> None:
    device = after([(alert(n, number=n), NOW + n) for n in range(1, MOST_ALERTS + 4)])
    numbers = sorted(int(alert_id, 16) for alert_id in device.streams["belt"].alerts)
    assert numbers == list(range(4, MOST_ALERTS + 4))


def test_an_alert_that_stands_is_not_one_of_those_that_go() -> None:
    faults = [
        alert(10 + n, number=10 + n, cause=Cause.FROZEN, status=AlertStatus.CLEARED) for n in range(MOST_ALERTS + 20)
    ]
    device = after([(alert(1, number=1), NOW), *[(fault, NOW + fault.seq) for fault in faults]])
    assert f"{1:032x}" in device.streams["belt"].alerts
    assert len(device.streams["belt"].alerts) == MOST_ALERTS + 1

    cleared = alert(100, number=1, revision=1, status=AlertStatus.CLEARED, age_seconds=500.0)
    device = after([(cleared, NOW + 100)], device)
    assert f"{1:032x}" not in device.streams["belt"].alerts


def test_an_alert_that_a_later_one_of_its_cause_follows_does_not_stand() -> None:
    said = [(alert(n, number=n), NOW + n) for n in range(1, MOST_ALERTS + 4)]
    for order in (said, said[::-1]):
        assert f"{1:032x}" not in after(order).streams["belt"].alerts


def large_alert(number: int, **fields: Any) -> AlertMessage:
    details = {f"{i} {'x' * 120}": 0.5 for i in range(64)}
    return alert(number, number=number, layers=details, classes=details, summary="x" * 1024, **fields)


def known_alerts(device: Device) -> dict[int, AlertMessage]:
    alerts = [alert for stream in device.streams.values() for alert in stream.alerts.values()]
    return {int(alert.message.alert_id, 16): alert.message for alert in alerts}


def test_the_alerts_of_a_device_take_so_much_memory_at_most_and_the_oldest_that_are_settled_go() -> None:
    said = [
        (large_alert(n, stream=f"s{n % 60}", status=AlertStatus.CLEARED if n % 60 else AlertStatus.RAISED), NOW + n)
        for n in range(1, 600)
    ]
    device = after(said)
    known = known_alerts(device)
    taken = sum(map(alert_bytes, known.values()))
    assert 0.9 * MOST_ALERT_BYTES < taken <= MOST_ALERT_BYTES
    assert taken == sum(stream.alert_bytes for stream in device.streams.values())
    assert 540 in known  # raised, and not cleared
    settled = [n for n in sorted(known) if n % 60]
    assert settled == [n for n in range(settled[0], 600) if n % 60]


def test_alerts_that_stand_are_never_lost_and_where_they_are_too_many_the_oldest_lose_their_details() -> None:
    causes = list(Cause)
    said = [
        (large_alert(1 + 8 * n + i, stream=f"s{n}", cause=cause), NOW + 8 * n + i)
        for n in range(MOST_STREAMS)
        for i, cause in enumerate(causes)
    ]
    device = after(said)
    known = known_alerts(device)
    assert len(known) == MOST_STREAMS * len(causes)
    assert sum(map(alert_bytes, known.values())) <= MOST_ALERT_BYTES
    assert (known[1].layers, known[1].classes) == ({}, {})
    assert known[1].summary.startswith("xxx")
    latest = max(known)
    assert len(known[latest].layers) == 64


def test_of_a_window_with_many_classes_the_most_frequent_are_kept_where_the_others_have_many_too() -> None:
    classes = {f"class-{i}": ClassStats(frames=i, outlier_ratio=0.5) for i in range(1000)}
    said = [(window(1 + n, stream=f"s{n}", windows=of_classes(classes)), NOW) for n in range(MOST_STREAMS)]
    device = after(said)
    found = []
    for n in range(MOST_STREAMS):
        latest = device.streams[f"s{n}"].window
        assert latest is not None
        found.append(set(latest.message.windows[0].classes))
    whole = MOST_CLASSES // 1000
    assert found[:whole] == [set(classes)] * whole
    frequent = {f"class-{i}" for i in range(1000 - FEW_CLASSES, 1000)}
    assert found[whole:] == [frequent] * (MOST_STREAMS - whole)


def test_of_several_windows_of_a_kind_the_one_that_is_shown_is_kept() -> None:
    first, other = of_classes({"cat": ClassStats(frames=1, outlier_ratio=0.5)}), of_classes({})
    device = after([(window(1, windows=(*first, *other, *other)), NOW)])
    latest = device.streams["belt"].window
    assert latest is not None
    assert latest.message == kept(window(1, windows=first))


def test_a_new_instance_supersedes_the_old_one() -> None:
    device = after([(window(900), NOW), (health(), NOW), (window(1, instance=NEW), NOW + 1)])
    assert device.instance == NEW
    assert device.superseded == (OLD,)
    assert device.health is None
    assert device.streams["belt"].window is not None
    assert device.streams["belt"].window.message.seq == 1
    for late in (window(901), health(), state(DeviceStatus.OFFLINE)):
        with pytest.raises(MessageError) as raised:
            apply(device, kept(late), NOW + 2)
        assert raised.value.reason == Reason.SUPERSEDED_INSTANCE


def test_an_alert_about_the_camera_is_no_alarm_of_drift() -> None:
    device = after([(window(1, alarm=False), NOW), (alert(2, cause=Cause.COVERED, outlier_ratio=None), NOW)])
    assert not device.alarm("belt")


def test_thumbnails_are_left_to_those_who_subscribe() -> None:
    small = Thumbnail(frame="7.png", recorded_at=NOW, p_value=0.01, jpeg=b"not looked at")
    device = after([(alert(1, thumbnails=(small,)), NOW)])
    [kept] = device.streams["belt"].alerts.values()
    assert kept.message.thumbnails == ()


def test_a_late_alert_of_a_superseded_instance_is_kept_but_no_alarm() -> None:
    device = after([(window(9), NOW), (window(1, instance=NEW), NOW + 1), (alert(10), NOW + 2)])
    assert list(device.streams["belt"].alerts) == [f"{1:032x}"]
    assert not device.alarm("belt")
    assert device.last_seen == NOW + 1


def test_a_device_is_online_then_stale_then_back() -> None:
    device = after([(state(), NOW), (health(), NOW)])
    assert liveness(device, NOW + 60) is Liveness.ONLINE
    assert liveness(device, NOW + 61) is Liveness.STALE
    assert liveness(after([(health(), NOW + 99)], device), NOW + 100) is Liveness.ONLINE


def test_a_last_will_takes_a_device_offline_until_it_speaks_again() -> None:
    device = after([(health(), NOW), (state(DeviceStatus.OFFLINE), NOW + 1)])
    assert liveness(device, NOW + 1) is Liveness.OFFLINE
    assert device.last_seen == NOW
    assert liveness(after([(window(1), NOW + 2)], device), NOW + 2) is Liveness.ONLINE


def test_a_retained_state_is_no_sign_of_life() -> None:
    device = apply(None, state(), NOW, retained=True)
    assert device.last_seen is None
    assert liveness(device, NOW) is Liveness.STALE
    gone = apply(None, state(DeviceStatus.OFFLINE), NOW, retained=True)
    assert liveness(gone, NOW) is Liveness.OFFLINE


AHEAD = NOW + 20 * 365 * 86_400.0


def test_once_our_clock_has_been_set_back_a_device_is_what_it_says_from_then_on() -> None:
    device = after([(state(), AHEAD), (health(), AHEAD), (window(1), AHEAD)])
    spoken = after([(health(outbox_messages=9), NOW)], device)
    assert spoken.health is not None
    assert spoken.health.message.outbox_messages == 9
    assert spoken.last_seen == NOW
    assert liveness(spoken, NOW + 60) is Liveness.ONLINE
    assert liveness(spoken, NOW + 61) is Liveness.STALE
    gone = after([(state(DeviceStatus.OFFLINE), NOW)], device)
    assert liveness(gone, NOW) is Liveness.OFFLINE
    back = after([(state(DeviceStatus.OFFLINE), AHEAD), (state(), NOW), (window(2), NOW + 1)], device)
    assert liveness(back, NOW + 1) is Liveness.ONLINE


def test_a_device_that_has_only_been_heard_by_a_clock_that_was_ahead_is_not_online() -> None:
    device = after([(state(), AHEAD)])
    assert liveness(device, NOW) is Liveness.STALE
    assert liveness(after([(state(), NOW + STEP_SECONDS)]), NOW) is Liveness.ONLINE


def test_no_date_is_after_now() -> None:
    device = after(
        [(state(), AHEAD), (health(), AHEAD), (window(1), AHEAD), (alert(2), AHEAD), (alert(3, number=2), NOW)]
    )
    dated = not_after(device, NOW + 5)
    stream = dated.streams["belt"]
    assert dated.state is not None
    assert dated.health is not None
    assert stream.window is not None
    first, second = stream.alerts.values()
    assert [dated.state.at, dated.health.at, stream.window.at, first.at, second.at] == [NOW, NOW, *[NOW + 5] * 2, NOW]
    assert (dated.heard_at, dated.last_seen) == (NOW, NOW)
    assert not_after(dated, NOW + 5) is dated


def test_a_device_has_a_limited_number_of_streams() -> None:
    device = after([(window(1, stream=f"s{n}"), NOW) for n in range(MOST_STREAMS)])
    with pytest.raises(MessageError) as raised:
        apply(device, kept(window(1, stream="one-more")), NOW)
    assert raised.value.reason == Reason.TOO_MANY_STREAMS
    after([(window(2, stream="s1"), NOW)], device)


def test_a_fleet_has_a_limited_number_of_devices() -> None:
    fleet = Fleet(max_devices=1, forget_after_seconds=100)
    fleet.apply(window(), NOW)
    with pytest.raises(MessageError) as raised:
        fleet.apply(window(device="pi-2"), NOW)
    assert raised.value.reason == Reason.TOO_MANY_DEVICES
    fleet.apply(window(2), NOW)
    assert [device.name for device in fleet.devices()] == ["pi-1"]


def test_silent_devices_and_streams_are_forgotten() -> None:
    fleet = Fleet(max_devices=10, forget_after_seconds=100)
    fleet.apply(window(device="gone"), NOW)
    fleet.apply(window(stream="gone"), NOW)
    fleet.apply(window(stream="belt"), NOW + 50)
    fleet.apply(state(device="never-seen"), NOW, retained=True)
    fleet.forget_silent(NOW + 100)
    assert len(fleet.devices()) == 3
    fleet.forget_silent(NOW + 101)
    (device,) = fleet.devices()
    assert list(device.streams) == ["belt"]


def test_a_device_that_was_forgotten_is_not_made_anew_of_the_goodbye_that_the_broker_keeps() -> None:
    fleet = Fleet(max_devices=10, forget_after_seconds=100)
    fleet.apply(state(), NOW)
    assert fleet.apply(state(DeviceStatus.OFFLINE), NOW + 1, retained=True)  # as long as it is known
    fleet.forget_silent(NOW + 101)
    assert not fleet.apply(state(DeviceStatus.OFFLINE), NOW + 102, retained=True)
    assert fleet.devices() == ()
    assert fleet.apply(state(DeviceStatus.OFFLINE), NOW + 103)  # said now
    assert len(fleet.devices()) == 1


def test_a_first_start_takes_in_the_devices_that_the_broker_holds_to_be_online() -> None:
    fleet = Fleet(max_devices=2, forget_after_seconds=100)
    for name in ("gone-1", "gone-2", "gone-3"):
        fleet.apply(state(DeviceStatus.OFFLINE, device=name), NOW, retained=True)
    fleet.apply(state(device="here"), NOW, retained=True)
    assert [device.name for device in fleet.devices()] == ["here"]


def test_nothing_is_forgotten_by_a_clock_that_is_not_settled() -> None:
    fleet = Fleet(max_devices=10, forget_after_seconds=100)
    fleet.apply(window(), NOW)
    fleet.forget_silent(AHEAD, settled=False)
    assert len(fleet.devices()) == 1


def test_the_silence_of_a_device_that_a_clock_ahead_has_dated_begins_when_the_clock_is_settled() -> None:
    fleet = Fleet(max_devices=10, forget_after_seconds=100)
    fleet.apply(window(), AHEAD)
    for now in (NOW, NOW + 100):
        fleet.forget_silent(now)
        assert len(fleet.devices()) == 1
    fleet.forget_silent(NOW + 101)
    assert fleet.devices() == ()


def test_the_version_changes_only_with_the_fleet() -> None:
    fleet = Fleet(max_devices=10, forget_after_seconds=100)
    fleet.apply(window(), NOW)
    before = fleet.version
    fleet.apply(window(), NOW)
    assert fleet.version == before
    fleet.apply(window(2), NOW)
    assert fleet.version != before


def test_a_device_that_is_not_admitted_is_refused_and_leaves_nothing() -> None:
    def admit(site: str, _device: str, _at: float) -> None:
        if site != "north":
            raise MessageError("not one of ours", reason=Reason.NOT_ENROLLED)

    fleet = Fleet(max_devices=10, forget_after_seconds=1000, admit=admit)
    fleet.apply(window(1), NOW)
    with pytest.raises(MessageError, match="not one of ours"):
        fleet.apply(window(1, site="south"), NOW)
    assert [device.site for device in fleet.devices()] == ["north"]
