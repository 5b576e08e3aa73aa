import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from driftprint.errors import MessageError
from driftprint.messages import (
    MAX_MESSAGE_BYTES,
    AckMessage,
    AlertMessage,
    AlertStatus,
    BundleRef,
    Cause,
    ClassStats,
    DeviceMessage,
    DeviceStatus,
    HealthMessage,
    StateMessage,
    WindowKind,
    WindowMessage,
    WindowStats,
    decode,
    encode,
    with_age,
)

TOPIC = "driftprint/v1/north/pi-7/belt/window"
INSTANCE = "0123456789abcdef"
WHO: dict[str, Any] = {"site": "north", "device": "pi-7", "instance": INSTANCE}
STREAM: dict[str, Any] = {
    **WHO,
    "stream": "belt",
    "seq": 3,
    "recorded_at": 1.5e9,
    "bundle": BundleRef(name="toy", version=1),
}
WINDOW = WindowMessage(
    **STREAM,
    frames_total=2**40,
    outliers_total=7,
    faults_total={"undecodable": 2},
    alerts_total=1,
    frames_per_second=9.5,
    windows=(
        WindowStats(
            kind=WindowKind.TIME,
            limit=300.0,
            frames=20,
            outlier_ratio=0.25,
            score_quantiles={"0.5": -1.25},
            classes={"größer": ClassStats(frames=20, outlier_ratio=0.25)},
        ),
    ),
    alarm=True,
    evidence=1.5,
)
ALERT = AlertMessage(
    **STREAM,
    alert_id="0" * 32,
    revision=2,
    status=AlertStatus.CLEARED,
    cause=Cause.DRIFT,
    raised_at=1.4e9,
    cleared_at=1.5e9,
    frames_total=10,
    outlier_ratio=0.5,
    p0=0.06,
    frames_per_false_alarm=1e5,
    summary="Back to normal.",
)
STATE = StateMessage(**WHO, status=DeviceStatus.ONLINE, agent_version="0.1", started_at=1.0, streams=("belt", "lid"))
HEALTH = HealthMessage(**WHO, uptime_seconds=1.0, outbox_messages=2, outbox_dropped_total=3)
ACK = AckMessage(instance=INSTANCE, seqs=(1, 2, 3))
MESSAGES = [WINDOW, ALERT, STATE, HEALTH, ACK]


def changed(message: DeviceMessage | AckMessage, **changes: Any) -> bytes:
    return json.dumps(json.loads(encode(message)) | changes).encode()


def refusal(payload: bytes, model: type[DeviceMessage] = WindowMessage) -> MessageError:
    with pytest.raises(MessageError) as error:
        decode(model, payload, topic=TOPIC)
    assert error.value.where == TOPIC
    assert "\n" not in str(error.value)
    return error.value


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: type(message).__name__)
def test_a_message_is_read_back(message: DeviceMessage | AckMessage) -> None:
    payload = encode(message)

    assert decode(type(message), payload, topic=TOPIC) == message
    assert json.loads(payload)["schema"] == 1


@given(
    seq=st.integers(0, 2**63 - 1),
    ratio=st.floats(0, 1),
    score=st.floats(allow_nan=False, allow_infinity=False),
    label=st.text(max_size=128),
)
def test_numbers_and_text_survive_the_wire(seq: int, ratio: float, score: float, label: str) -> None:
    window = WindowStats(
        kind=WindowKind.COUNT, limit=100, frames=1, outlier_ratio=ratio, score_quantiles={label: score}
    )
    message = WINDOW.model_copy(update={"seq": seq, "windows": (window,)})

    assert decode(WindowMessage, encode(message), topic=TOPIC) == message


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: type(message).__name__)
def test_fields_of_a_newer_minor_version_are_ignored(message: DeviceMessage | AckMessage) -> None:
    payload = changed(message, mood="fine", windows_of_tomorrow=[{"x": 1}])

    assert decode(type(message), payload, topic=TOPIC) == message


@pytest.mark.parametrize("version", [0, 2, 999, -1])
def test_another_major_version_is_told_from_a_broken_message(version: int) -> None:
    assert refusal(changed(WINDOW, schema=version)).reason == "schema_version"
    # The other version's fields may be nothing like ours.
    assert refusal(json.dumps({"schema": version, "x": [1]}).encode()).reason == "schema_version"


@pytest.mark.parametrize(
    "payload",
    [b"", b"{", b"[]", b"null", b"3", b'"text"', b"\xff\xfe", b"{}", b'{"schema": "new"}', b"[" * 100_000],
    ids=lambda payload: repr(payload[:14]),
)
def test_a_broken_payload_is_invalid(payload: bytes) -> None:
    assert refusal(payload).reason == "invalid"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("evidence", math.nan),
        ("evidence", math.inf),
        ("evidence", -1),
        ("frames_per_second", math.nan),
        ("frames_total", -1),
        ("frames_total", 2**63),
        ("frames_total", 1.5),
        ("recorded_at", math.nan),
        ("age_seconds", -1),
        ("site", "no rth"),
        ("device", ""),
        ("stream", "state"),
        ("stream", "a/b"),
        ("instance", "0123456789ABCDEF"),
        ("bundle", {"name": "toy", "version": -1}),
        ("faults_total", {f"reason {i}": 1 for i in range(33)}),
        ("windows", [json.loads(WINDOW.windows[0].model_dump_json())] * 9),
        ("windows", [{"kind": "moon", "limit": 1, "frames": 0, "outlier_ratio": 0}]),
        ("windows", [{"kind": "time", "limit": 1, "frames": 0, "outlier_ratio": 1.5}]),
        (
            "windows",
            [{"kind": "time", "limit": 1, "frames": 0, "outlier_ratio": 0, "score_quantiles": {"1": math.nan}}],
        ),
    ],
)
def test_a_senseless_value_is_refused_and_its_field_named(field: str, value: Any) -> None:
    error = refusal(changed(WINDOW, **{field: value}))

    assert error.reason == "invalid"
    assert error.what.startswith(field)


def test_a_missing_field_is_named() -> None:
    body = json.loads(encode(WINDOW))
    del body["frames_total"]

    assert refusal(json.dumps(body).encode()).what.startswith("frames_total")


def test_a_payload_of_the_largest_size_is_read_and_no_larger_one() -> None:
    payload = encode(STATE)
    largest = payload + b" " * (MAX_MESSAGE_BYTES - len(payload))

    assert decode(StateMessage, largest, topic=TOPIC) == STATE
    assert refusal(largest + b" ", StateMessage).reason == "too_large"


@given(payload=st.binary(max_size=200))
def test_no_payload_breaks_the_reader(payload: bytes) -> None:
    assert refusal(payload).reason in ("invalid", "schema_version")


@given(place=st.floats(0, 1, exclude_max=True), put=st.binary(max_size=4), cut=st.integers(0, 8))
def test_no_damage_breaks_the_reader(place: float, put: bytes, cut: int) -> None:
    payload = encode(WINDOW)
    at = int(place * len(payload))

    reason = "invalid"
    try:
        decode(WindowMessage, payload[:at] + put + payload[at + cut :], topic=TOPIC)
    except MessageError as error:
        reason = error.reason

    assert reason in ("invalid", "schema_version")


@pytest.mark.parametrize(("age", "expected"), [(0.0, 0.0), (12.5, 12.5), (-3.0, 0.0)])
def test_a_stored_message_gets_its_age_when_it_is_sent(age: float, expected: float) -> None:
    sent = decode(WindowMessage, with_age(encode(WINDOW), age), topic=TOPIC)

    assert sent == WINDOW.model_copy(update={"age_seconds": expected})
