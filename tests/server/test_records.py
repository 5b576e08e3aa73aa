"""Records and the models of messages agree on what is valid, and on what it says."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from driftprint.errors import MessageError
from driftprint.messages import (
    BundleRef,
    ClassStats,
    HealthMessage,
    Vitals,
    WindowKind,
    WindowMessage,
    WindowStats,
    decode,
    encode,
)
from driftprint_server.records import (
    BundleRecord,
    ClassRecord,
    CountStatsRecord,
    HealthRecord,
    VitalsRecord,
    WindowRecord,
    encode_record,
    of_health,
    of_window,
    read_health,
    read_window,
)
from tests.server.messages import health, window

MODELS: dict[type[msgspec.Struct], type[BaseModel]] = {
    WindowRecord: WindowMessage,
    CountStatsRecord: WindowStats,
    ClassRecord: ClassStats,
    BundleRecord: BundleRef,
    HealthRecord: HealthMessage,
    VitalsRecord: Vitals,
}
UNSHOWN = (("score_quantiles",), ("classes",))
VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**65), 2**65),
    st.floats(),
    st.text(max_size=140),
    st.sampled_from(["count", "time", "black", "drift", "1", "0.5", "state", "a" * 16, "north\n", "5e3"]),
    st.lists(st.integers(0, 3), max_size=20),
    st.dictionaries(st.text(max_size=3), st.integers(0, 3), max_size=40),
)


def paths(value: Any, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    """The places in a JSON document."""
    if isinstance(value, dict | list):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        return [place for key, inner in items for place in [(*path, key), *paths(inner, (*path, key))]]
    return []


def changed(message: BaseModel, draw: st.DataObject) -> bytes:
    """A message, valid but for what was put in at one place, or left out there."""
    body = json.loads(encode(message))  # type: ignore[arg-type]
    # Of a window by time the quantiles and classes are never shown, and not looked at.
    looked_at = [place for place in paths(body) if place[:2] != ("windows", 1) or place[2:3] not in UNSHOWN]
    *way, last = draw.draw(st.sampled_from(looked_at))
    inner = body
    for step in way:
        inner = inner[step]
    if draw.draw(st.booleans()):
        inner[last] = draw.draw(VALUES)
    else:
        del inner[last]
    return json.dumps(body).encode()


@pytest.mark.parametrize("record", MODELS)
def test_a_record_has_the_fields_of_its_model(record: type[msgspec.Struct]) -> None:
    fields = {field.encode_name for field in msgspec.structs.fields(record)}
    if record is CountStatsRecord:
        fields.add("kind")
    assert fields == {field.alias or name for name, field in MODELS[record].model_fields.items()}


def outcome(read: Callable[[], object]) -> object:
    """What is read, or why not."""
    try:
        return read()
    except MessageError as error:
        return (error.reason, str(error))


@given(data=st.data())
def test_what_a_windows_model_takes_its_record_takes_and_nothing_else(data: st.DataObject) -> None:
    payload = changed(window(3), data)
    by_model = outcome(lambda: of_window(decode(WindowMessage, payload, topic="topic")))
    assert outcome(lambda: read_window(payload, topic="topic")) == by_model


@given(data=st.data())
def test_what_a_health_messages_model_takes_its_record_takes_and_nothing_else(data: st.DataObject) -> None:
    payload = changed(health(providers={"belt": ("CPUExecutionProvider",)}), data)
    by_model = outcome(lambda: of_health(decode(HealthMessage, payload, topic="topic")))
    assert outcome(lambda: read_health(payload, topic="topic")) == by_model


def test_a_record_says_what_its_message_says() -> None:
    message = window(3, camera_faults=("black",))
    record = of_window(message)
    said = json.loads(encode(message))
    by_time = next(stats for stats in said["windows"] if stats["kind"] == WindowKind.TIME.value)
    del by_time["score_quantiles"], by_time["classes"]  # never shown
    assert json.loads(encode_record(record)) == said
    assert [stats.kind for stats in record.windows] == [stats.kind for stats in message.windows]


def test_a_record_that_was_kept_is_read_again_as_it_was() -> None:
    record, report = of_window(window(3)), of_health(health())
    assert read_window(encode_record(record), topic="topic") == record
    assert read_health(encode_record(report), topic="topic") == report
