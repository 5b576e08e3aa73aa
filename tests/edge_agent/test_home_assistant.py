"""Home Assistant: what appears there, and what it then shows, by a subscriber that is as strict and does the same."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import paho.mqtt.client as paho
import pytest
from hypothesis import given
from hypothesis import strategies as st
from paho.mqtt.enums import CallbackAPIVersion
from pydantic import ValidationError

from driftprint.messages import (
    CAMERA_FAULTS,
    BundleRef,
    Cause,
    DeviceMessage,
    DeviceStatus,
    WindowKind,
    WindowMessage,
    WindowStats,
    encode,
)
from driftprint.topics import ID_PATTERN, DeviceTopic
from driftprint_edge.home_assistant import (
    BIRTH,
    HomeAssistantSettings,
    Retained,
    birth_topic,
    discovery,
    removal,
)
from tests.brokers import Mosquitto, wait_for
from tests.edge_agent.home_assistant import DiscoveryError, HomeAssistant
from tests.server import messages

BELT = {"belt": 10.0}
BELT_AND_CHUTE = {"belt": 10.0, "chute": 10.0}
LONGEST = {f"{number:a>64}": 10.0 for number in range(64)}

ids = st.from_regex(ID_PATTERN, fullmatch=True).filter(lambda name: name not in (".", ".."))
stream_names = ids.filter(lambda name: name not in {kind.value for kind in DeviceTopic})


def discovery_of(
    site: str = "north",
    device: str = "pi-1",
    *,
    streams: Mapping[str, float] = BELT,
    prefix: str = "homeassistant",
) -> Retained:
    return discovery(prefix, site=site, device=device, version="1.2.3", streams=streams, health_seconds=10.0)


class Home:
    """A Home Assistant that has discovered a device, which is online."""

    def __init__(self, streams: Mapping[str, float] = BELT) -> None:
        self.assistant = HomeAssistant()
        self.discover(streams)
        self.say(messages.state())

    def discover(self, streams: Mapping[str, float] = BELT) -> None:
        found = discovery_of(streams=streams)
        self.assistant.hear(found.topic, found.payload)

    def say(self, message: DeviceMessage, *, now: float = 0.0) -> None:
        """The device says something, as its link does of what is so now."""
        current = "/current" if isinstance(message, WindowMessage) else ""
        self.assistant.hear(messages.topic_of(message) + current, encode(message), now=now)

    def shows(self, name: str, *, now: float = 0.0) -> str:
        return self.assistant.entities[f"pi-1 {name}"].state(now)

    def faults(self) -> Any:
        return self.assistant.entities["pi-1 belt camera fault"].attributes.get("faults")


def test_a_device_appears_with_all_its_entities() -> None:
    home = Home(BELT_AND_CHUTE)
    of_a_stream = {"outlier ratio", "drift", "camera fault", "class mix", "bundle version", "frames per second"}
    assert home.assistant.entities.keys() == {
        "pi-1 Outbox messages",
        "pi-1 Uptime",
        *(f"pi-1 {stream} {kind}" for stream in ("belt", "chute") for kind in of_a_stream),
    }


def test_it_says_what_the_device_is_and_who_tells_of_it() -> None:
    body = json.loads(discovery_of().payload)
    assert body["device"] == {
        "identifiers": ["driftprint/north/pi-1"],
        "name": "pi-1",
        "manufacturer": "driftprint",
        "model": "driftprint agent",
        "sw_version": "1.2.3",
        "suggested_area": "north",
    }
    assert body["origin"] == {"name": "driftprint", "sw_version": "1.2.3"}


def test_a_site_that_nobody_named_is_no_area() -> None:
    assert "suggested_area" not in json.loads(discovery_of(site="default").payload)["device"]


def test_all_is_unknown_until_the_first_messages() -> None:
    home = Home()
    assert home.shows("belt bundle version") == "unknown"
    assert home.shows("belt drift") == "unavailable", "what expires has not been heard of"


def test_numbers_are_those_of_the_window() -> None:
    home = Home()
    home.say(messages.window(ratio=0.29, frames_per_second=9.87654, bundle=BundleRef(name="parts", version=7)))
    assert home.shows("belt outlier ratio") == "29.0"
    assert home.shows("belt frames per second") == "9.88"
    assert home.shows("belt bundle version") == "parts-7"


def test_the_outlier_ratio_is_that_of_the_window_by_count_wherever_it_stands() -> None:
    home = Home()
    by_count, by_time = messages.window(ratio=0.5).windows
    home.say(messages.window(windows=(by_time, by_count)))
    assert home.shows("belt outlier ratio") == "50.0"


@pytest.mark.parametrize(
    "windows",
    [(), (WindowStats(kind=WindowKind.COUNT, limit=100, frames=0, outlier_ratio=0.0),)],
    ids=["none", "empty"],
)
def test_without_a_frame_the_outlier_ratio_is_unknown(windows: tuple[WindowStats, ...]) -> None:
    home = Home()
    home.say(messages.window(ratio=0.5))
    home.say(messages.window(2, windows=windows))
    assert home.shows("belt outlier ratio") == "unknown"


@pytest.mark.parametrize(("name", "field"), [("drift", "alarm"), ("class mix", "class_mix_alarm")])
def test_a_problem_is_on_while_its_alarm_lasts(name: str, field: str) -> None:
    home = Home()
    for seq, alarm in enumerate((False, True, False)):
        home.say(messages.window(seq, **{field: alarm}))
        assert home.shows(f"belt {name}") == ("on" if alarm else "off")


@pytest.mark.parametrize("fault", CAMERA_FAULTS)
def test_a_fault_of_the_camera_is_a_problem_and_named(fault: Cause) -> None:
    home = Home()
    home.say(messages.window(camera_faults=(fault,)))
    assert (home.shows("belt camera fault"), home.faults()) == ("on", [fault.value])
    assert home.shows("belt drift") == "off"
    home.say(messages.window(2))
    assert (home.shows("belt camera fault"), home.faults()) == ("off", [])


def test_what_the_outbox_sends_of_the_past_changes_nothing() -> None:
    home = Home()
    home.say(messages.window(2, ratio=0.9, alarm=True, camera_faults=(Cause.COVERED,)))

    def shown() -> list[object]:
        return [*((name, entity.state()) for name, entity in home.assistant.entities.items()), home.faults()]

    before = shown()
    past = messages.window(1, ratio=0.1, bundle=BundleRef(name="old", version=1))
    home.assistant.hear(messages.topic_of(past), encode(past))
    assert shown() == before


def test_the_agents_own_health_is_shown() -> None:
    home = Home()
    home.say(messages.health(uptime_seconds=86_400.7, outbox_messages=12))
    assert home.shows("Uptime") == "86400"
    assert home.shows("Outbox messages") == "12"


def test_all_is_unavailable_while_the_device_is_offline() -> None:
    home = Home()
    home.say(messages.window())
    home.say(messages.health())
    home.say(messages.state(DeviceStatus.OFFLINE))
    assert {entity.state() for entity in home.assistant.entities.values()} == {"unavailable"}
    home.say(messages.state(DeviceStatus.ONLINE))
    assert "unavailable" not in {entity.state() for entity in home.assistant.entities.values()}


@pytest.mark.parametrize(("every", "expiry"), [(20.0, 60), (0.1, 30), (33.4, 101)])
def test_what_is_not_heard_of_for_three_reports_is_unavailable(every: float, expiry: int) -> None:
    home = Home({"belt": every})
    home.say(messages.window(), now=1000.0)
    for name in ("outlier ratio", "drift", "camera fault", "class mix", "frames per second"):
        assert home.shows(f"belt {name}", now=1000.0 + expiry) != "unavailable"
        assert home.shows(f"belt {name}", now=1000.1 + expiry) == "unavailable"
    assert home.shows("belt bundle version", now=10_000.0) == "digits-1"


def test_health_that_is_not_heard_of_is_unavailable_too() -> None:
    home = Home()
    home.say(messages.health(), now=1000.0)
    assert home.shows("Uptime", now=1030.0) == "5"
    assert home.shows("Uptime", now=1030.1) == home.shows("Outbox messages", now=1030.1) == "unavailable"


def test_each_stream_shows_its_own() -> None:
    home = Home(BELT_AND_CHUTE)
    home.say(messages.window(ratio=0.2))
    home.say(messages.window(ratio=0.8, stream="chute", alarm=True))
    assert [home.shows(f"{stream} outlier ratio") for stream in ("belt", "chute")] == ["20.0", "80.0"]
    assert [home.shows(f"{stream} drift") for stream in ("belt", "chute")] == ["off", "on"]


def test_saying_it_again_changes_nothing_and_a_new_stream_is_added() -> None:
    home = Home()
    home.say(messages.window(ratio=0.2))
    before = home.assistant.unique_ids
    home.discover()
    assert home.assistant.unique_ids == before
    home.discover(BELT_AND_CHUTE)
    assert home.shows("belt outlier ratio") == "20.0"
    assert set(before) < set(home.assistant.unique_ids)


def test_unique_ids_stay_what_they_are_over_versions() -> None:
    """Home Assistant keeps names, areas and histories by them."""
    assert Home().assistant.unique_ids == [
        "driftprint/north/pi-1/outbox_messages",
        "driftprint/north/pi-1/uptime",
        "driftprint/north/pi-1/belt/outlier_ratio",
        "driftprint/north/pi-1/belt/drift",
        "driftprint/north/pi-1/belt/camera_fault",
        "driftprint/north/pi-1/belt/class_mix",
        "driftprint/north/pi-1/belt/bundle_version",
        "driftprint/north/pi-1/belt/frames_per_second",
    ]
    assert discovery_of().topic == "homeassistant/device/driftprint_north__pi-1/config"


def test_a_removed_device_is_gone_and_others_stay() -> None:
    assistant = HomeAssistant()
    for device in ("pi-1", "pi-2"):
        assistant.hear(discovery_of(device=device).topic, discovery_of(device=device).payload)
    gone = removal("homeassistant", site="north", device="pi-1")
    assert gone.payload == b""
    assistant.hear(gone.topic, gone.payload)
    assert {name.split()[0] for name in assistant.entities} == {"pi-2"}


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (("a", "b.c"), ("a", "b_c")),
        (("a", "b.c"), ("a", "b_2Ec")),
        (("a.b", "c"), ("a", "b.c")),
        (("a_b", "c"), ("a", "b_c")),
        (("a_", "b"), ("a", "_b")),
        (("a__b", "c"), ("a", "b__c")),
        (("a", "5Fb_c"), ("a_b", "5Fc")),
        (("a", "B"), ("a", "b")),
    ],
)
def test_ids_that_look_alike_are_different_devices(one: tuple[str, str], other: tuple[str, str]) -> None:
    assistant = HomeAssistant()
    for site, device in (one, other):
        found = discovery_of(site, device)
        assistant.hear(found.topic, found.payload)
    assert len(assistant.unique_ids) == 2 * 8


@given(st.lists(st.tuples(ids, ids, stream_names), min_size=2, max_size=2, unique_by=lambda names: names[:2]))
def test_whatever_the_ids_two_devices_are_two(devices: list[tuple[str, str, str]]) -> None:
    assistant = HomeAssistant()
    for site, device, stream in devices:
        found = discovery_of(site, device, streams={stream: 10.0})
        assistant.hear(found.topic, found.payload)
    assert len(assistant.unique_ids) == 2 * 8


@given(st.lists(stream_names, min_size=1, max_size=5, unique=True))
def test_whatever_the_streams_are_called_each_has_its_own_entities(names: list[str]) -> None:
    assistant = HomeAssistant()
    found = discovery_of(streams=dict.fromkeys(names, 10.0))
    assistant.hear(found.topic, found.payload)
    assert len(assistant.unique_ids) == 2 + 6 * len(names)


def test_the_most_streams_that_an_agent_may_have_take_less_than_400_kilobytes() -> None:
    usual = {f"camera-{number}": 10.0 for number in range(64)}
    assert len(discovery_of("default", "line-3", streams=usual).payload) < 180_000
    assert len(discovery_of("s" * 64, "d" * 64, streams=LONGEST).payload) < 400_000


def test_a_broker_keeps_the_largest_for_a_home_assistant_that_starts_later(
    mosquitto: Mosquitto, request: pytest.FixtureRequest
) -> None:
    largest = discovery_of("s" * 64, "d" * 64, streams=LONGEST)

    def connect() -> paho.Client:
        client = paho.Client(CallbackAPIVersion.VERSION2)
        client.connect(mosquitto.host, mosquitto.port)
        request.addfinalizer(client.loop_stop)
        request.addfinalizer(client.disconnect)
        client.loop_start()
        return client

    connect().publish(largest.topic, largest.payload, qos=1, retain=True).wait_for_publish(10)
    assistant, later = HomeAssistant(), connect()
    later.on_message = lambda _client, _data, message: assistant.hear(message.topic, bytes(message.payload))
    later.subscribe("homeassistant/device/+/config", qos=0)
    wait_for(lambda: assistant.entities, what="the device")
    assert len(assistant.entities) == 2 + 6 * 64


def test_another_prefix_is_another_home_assistants() -> None:
    found = discovery_of(prefix="upstairs")
    HomeAssistant("upstairs").hear(found.topic, found.payload)
    with pytest.raises(DiscoveryError, match="no discovery topic"):
        HomeAssistant().hear(found.topic, found.payload)
    assert (birth_topic("upstairs"), BIRTH) == ("upstairs/status", b"online")


def test_it_is_off_unless_asked_for() -> None:
    settings = HomeAssistantSettings()
    assert not settings.enabled
    assert birth_topic(settings.prefix) == "homeassistant/status"


@pytest.mark.parametrize("prefix", ["", "a/b", "+", "#", "a+", "$SYS", "a\n", "a\x00", "a" * 65])
def test_a_prefix_that_is_no_level_of_a_topic_is_refused(prefix: str) -> None:
    with pytest.raises(ValidationError, match="prefix"):
        HomeAssistantSettings(prefix=prefix)


def _component(**changes: object) -> Callable[[dict[str, Any]], None]:
    return lambda body: body["components"]["belt/drift"].update(changes)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda body: body.pop("origin"), "origin is missing"),
        (lambda body: body["device"].pop("identifiers"), "identifiers is missing"),
        (lambda body: body.update(icon="mdi:eye"), "icon is not documented"),
        (lambda body: body["components"]["belt/drift"].pop("unique_id"), "unique_id is missing"),
        (lambda body: body["components"].update({"a b": {}}), "takes the space"),
        (lambda body: body["components"]["uptime"].update(unit_of_measurement="frames"), "is no unit"),
        (lambda body: body["components"]["outbox_messages"].pop("unit_of_measurement"), "without unit_of_measurement"),
        (_component(platform="drift"), "platform is 'drift'"),
        (_component(state_class="measurement"), "state_class is not documented"),
        (_component(device_class="drift"), "device_class is 'drift'"),
        (_component(state_topic="driftprint/#"), "state_topic is"),
        (_component(value_template="{{ value_json.alarm"), "value_template is"),
        (_component(expire_after=1.5), "expire_after is 1.5"),
        (_component(unique_id="driftprint/north/pi-1/uptime"), "unique_id: given twice"),
    ],
)
def test_what_home_assistant_would_not_take_is_noticed_here(
    change: Callable[[dict[str, Any]], object], complaint: str
) -> None:
    """Else the tests above would say nothing."""
    body = json.loads(discovery_of().payload)
    change(body)
    with pytest.raises(DiscoveryError, match=complaint):
        HomeAssistant().hear(discovery_of().topic, json.dumps(body).encode())
