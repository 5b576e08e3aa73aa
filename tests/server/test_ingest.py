import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from driftprint.errors import MessageError
from driftprint.messages import MAX_MESSAGE_BYTES, DeviceMessage, encode
from driftprint_server.counts import Kind, Reason
from driftprint_server.ingest import read
from driftprint_server.records import kept
from tests.server.messages import alert, health, state, topic_of, window


@pytest.mark.parametrize(
    ("message", "kind"),
    [(state(), Kind.STATE), (health(), Kind.HEALTH), (window(), Kind.WINDOW), (alert(), Kind.ALERT)],
)
def test_a_message_is_read_by_its_topic(message: DeviceMessage, kind: Kind) -> None:
    assert read(topic_of(message), encode(message)) == (kind, kept(message))


def test_fields_of_newer_devices_are_ignored() -> None:
    body = json.loads(encode(window())) | {"temperature": 40}
    assert read(topic_of(window()), json.dumps(body).encode()) == (Kind.WINDOW, kept(window()))


VALID = encode(window())
TOPIC = topic_of(window())


@pytest.mark.parametrize(
    ("topic", "payload", "reason"),
    [
        ("driftprint/v1/north/pi-1/belt/window", b"", Reason.INVALID),
        (TOPIC, b"not json", Reason.INVALID),
        (TOPIC, b'{"site": "\xff\xfe"}', Reason.INVALID),
        (TOPIC, b"[" * 100_000, Reason.INVALID),
        (TOPIC, VALID.replace(b'"seq":1', b'"seq":-1'), Reason.INVALID),
        (TOPIC, VALID.replace(b'"evidence":0.2', b'"evidence":NaN'), Reason.INVALID),
        (TOPIC, b" " * MAX_MESSAGE_BYTES + VALID, Reason.TOO_LARGE),
        (TOPIC, b'{"schema": 2, "whatever": true}', Reason.SCHEMA_VERSION),
        (TOPIC, VALID.replace(b'"schema":1', b'"schema":2'), Reason.SCHEMA_VERSION),
        ("driftprint/v1/south/pi-1/belt/window", VALID, Reason.IDENTITY),
        ("driftprint/v1/north/pi-2/belt/window", VALID, Reason.IDENTITY),
        ("driftprint/v1/north/pi-1/chute/window", VALID, Reason.IDENTITY),
        ("driftprint/v1/north/pi-1/ack", VALID, Reason.TOPIC),
        ("driftprint/v1/north/pi-1/belt/alert/current", encode(alert()), Reason.TOPIC),
        ("driftprint/v2/north/pi-1/belt/window", VALID, Reason.TOPIC),
        ("driftprint/v1/no rth/pi-1/belt/window", VALID, Reason.TOPIC),
    ],
)
def test_what_cannot_be_believed_is_rejected_with_its_reason(topic: str, payload: bytes, reason: Reason) -> None:
    with pytest.raises(MessageError) as raised:
        read(topic, payload)
    assert Reason(raised.value.reason) is reason


@given(payload=st.binary(max_size=200) | st.recursive(st.none() | st.text(), st.lists).map(lambda x: repr(x).encode()))
def test_no_payload_raises_anything_but_a_message_error(payload: bytes) -> None:
    with pytest.raises(MessageError):
        read(TOPIC, payload)
