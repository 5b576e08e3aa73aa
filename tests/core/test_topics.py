import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from driftprint.errors import MessageError
from driftprint.topics import (
    ID_PATTERN,
    PREFIX,
    Address,
    DeviceTopic,
    Id,
    StreamName,
    StreamTopic,
    device_topic,
    parse,
    stream_topic,
)

ids = st.from_regex(ID_PATTERN.replace("$", r"\Z"), fullmatch=True).filter(lambda name: name not in (".", ".."))
stream_names = ids.filter(lambda name: name not in {kind.value for kind in DeviceTopic})


@given(site=ids, device=ids, kind=st.sampled_from(DeviceTopic))
def test_a_devices_topic_is_read_back(site: str, device: str, kind: DeviceTopic) -> None:
    assert parse(device_topic(site, device, kind)) == Address(site, device, None, kind)


@given(site=ids, device=ids, stream=stream_names, kind=st.sampled_from(StreamTopic))
def test_a_streams_topic_is_read_back(site: str, device: str, stream: str, kind: StreamTopic) -> None:
    assert parse(stream_topic(site, device, stream, kind)) == Address(site, device, stream, kind)


@pytest.mark.parametrize(
    "topic",
    [
        "",
        "driftprint",
        "driftprint/v1",
        "driftprint/v1/north/pi-7",
        "driftprint/v2/north/pi-7/state",
        "other/v1/north/pi-7/state",
        "driftprint/v1/north/pi-7/weather",
        "driftprint/v1/north/pi-7/belt/state",
        "driftprint/v1/north/pi-7/belt/alert/former",
        "driftprint/v1/north/pi-7/state/window",
        "driftprint/v1/north//state",
        "driftprint/v1/no rth/pi-7/state",
        "driftprint/v1/+/pi-7/state",
        "driftprint/v1/north/pi-7/state/",
        "/driftprint/v1/north/pi-7/state",
        f"driftprint/v1/north/{'d' * 65}/state",
        "driftprint/v1/north\n/pi-7/state",
        "driftprint/v1/north/pi-7\n/state",
        "driftprint/v1/norð/pi-7/state",
    ],
)
def test_other_topics_are_refused(topic: str) -> None:
    with pytest.raises(MessageError) as error:
        parse(topic)
    assert error.value.reason == "topic"


@given(topic=st.text(max_size=80))
def test_no_topic_breaks_the_parser(topic: str) -> None:
    with pytest.raises(MessageError):
        parse(topic)


@pytest.mark.parametrize("kind", list(DeviceTopic))
def test_a_stream_may_not_be_named_like_a_topic_of_the_device(kind: DeviceTopic) -> None:
    assert TypeAdapter(Id).validate_python(kind.value) == kind.value
    with pytest.raises(ValidationError, match="topic of the device itself"):
        TypeAdapter(StreamName).validate_python(kind.value)


@pytest.mark.parametrize("step", [".", ".."])
def test_a_step_in_a_path_is_no_id(step: str) -> None:
    for topic in (f"{PREFIX}/{step}/pi/state", f"{PREFIX}/north/{step}/state", f"{PREFIX}/north/pi/{step}/window"):
        with pytest.raises(MessageError):
            parse(topic)
    with pytest.raises(ValidationError, match="a step in a path"):
        TypeAdapter(Id).validate_python(step)
    assert parse(f"{PREFIX}/{step}x/.pi/state").site == f"{step}x"


@given(name=st.text(max_size=70))
def test_ids_are_safe_in_topics(name: str) -> None:
    try:
        accepted = TypeAdapter(Id).validate_python(name)
    except ValidationError:
        assert not re.fullmatch(r"[A-Za-z0-9_.-]{1,64}", name) or name in (".", "..")
    else:
        assert re.fullmatch(r"[A-Za-z0-9_.-]{1,64}", accepted)
        assert parse(device_topic(name, name, DeviceTopic.STATE)).site == name
