import pytest
from prometheus_client.parser import text_string_to_metric_families

from driftprint.exposition import ALARM, CAMERA_FAULT, CLASS_MIX, DEVICE_INFO, FRAMES, LAST_SEEN, OUTLIER_RATIO, UP
from driftprint.messages import AlertStatus, Cause, DeviceMessage, DeviceStatus
from driftprint_server.fleet import Fleet
from driftprint_server.metrics import DeviceMetrics
from driftprint_server.records import kept
from driftprint_server.remote_write.samples import Sample, Sampler
from tests.server.clocks import FakeClock
from tests.server.messages import alert, health, state, window
from tests.server.remote_write.writers import accept

NOW = 1_000_000.0
DEVICE = ("north", "pi-1")
STREAM = (*DEVICE, "belt")


def samples(message: DeviceMessage, *, age: float = 0.0, retained: bool = False) -> list[Sample]:
    accepted = accept(message, NOW - age, retained=retained)
    return Sampler(max_classes=20).samples(accepted, int((NOW - age) * 1000), NOW)


def values(found: list[Sample]) -> dict[tuple[str, tuple[str, ...]], float]:
    return {(spec.name, labels): value for spec, labels, value, _ in found}


def test_samples_are_those_of_the_metrics_endpoint() -> None:
    fleet = Fleet(max_devices=10, forget_after_seconds=3600)
    messages = [state(), health(), window(recorded_at=NOW, camera_faults=(Cause.FROZEN,))]
    for message in messages:
        fleet.apply(kept(message), NOW)
    metrics = DeviceMetrics(fleet, clock=FakeClock(NOW), stale_after_seconds=60, max_classes=20)

    exposed = {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families("".join(metrics.text()))
        for sample in family.samples
    }

    written = {
        (spec.name, tuple(sorted(zip(spec.labels, labels, strict=True)))): float(value)
        for message in messages
        for spec, labels, value, _ in samples(message)
    }
    assert written == exposed


def test_all_samples_of_a_message_are_at_its_time() -> None:
    assert {at for *_, at in samples(window(), age=3600)} == {996_400_000}


def test_what_was_kept_for_later_is_written_in_full_and_does_not_say_that_the_device_is_up() -> None:
    found = values(samples(window(frames_total=70, ratio=0.5, alarm=True), age=3600))

    assert found[FRAMES.name, STREAM] == 70
    assert found[OUTLIER_RATIO.name, (*STREAM, "count")] == 0.5
    assert found[ALARM.name, STREAM] == 1
    assert (UP.name, DEVICE) not in found
    assert (LAST_SEEN.name, DEVICE) not in found


@pytest.mark.parametrize("message", [window(), alert(), health(), state()])
def test_a_fresh_message_is_a_sign_of_life(message: DeviceMessage) -> None:
    found = values(samples(message))

    assert found[UP.name, DEVICE] == 1
    assert found[LAST_SEEN.name, DEVICE] == NOW


def test_a_goodbye_is_no_sign_of_life() -> None:
    assert values(samples(state(DeviceStatus.OFFLINE))) == {(UP.name, DEVICE): 0}


def test_a_state_tells_the_version() -> None:
    assert values(samples(state(agent_version="1.2.3")))[DEVICE_INFO.name, (*DEVICE, "1.2.3")] == 1


def test_of_retained_messages_only_a_goodbye_still_holds() -> None:
    assert values(samples(state(DeviceStatus.OFFLINE), retained=True)) == {(UP.name, DEVICE): 0}
    assert samples(state(), retained=True) == []
    assert samples(window(), retained=True) == []


@pytest.mark.parametrize(
    ("cause", "name", "labels"),
    [
        (Cause.DRIFT, ALARM.name, STREAM),
        (Cause.CLASS_MIX, CLASS_MIX.name, STREAM),
        (Cause.BLURRED, CAMERA_FAULT.name, (*STREAM, "blurred")),
    ],
)
def test_an_alert_raises_and_clears_the_alarm_of_its_cause(cause: Cause, name: str, labels: tuple[str, ...]) -> None:
    for status, value in ((AlertStatus.RAISED, 1), (AlertStatus.UPDATED, 1), (AlertStatus.CLEARED, 0)):
        assert values(samples(alert(cause=cause, status=status), age=60)) == {(name, labels): value}
