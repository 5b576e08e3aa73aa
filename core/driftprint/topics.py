"""MQTT topics: one scheme, built and parsed here and nowhere else.

``driftprint/v1/<site>/<device>/<kind>`` for a device, and
``driftprint/v1/<site>/<device>/<stream>/<kind>`` for one of its streams.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum
from typing import Annotated

from pydantic import AfterValidator, StringConstraints

from driftprint.errors import MessageError

PREFIX = "driftprint/v1"
ID_PATTERN = r"^[A-Za-z0-9_.-]{1,64}$"
"""Of an id, but for ``.`` and ``..``, which no address of a page can hold. Without look-ahead, as in JSON Schema."""


class DeviceTopic(str, Enum):
    """What is said on a device's own topics."""

    STATE = "state"
    """Retained; the last will says offline."""
    HEALTH = "health"
    ACK = "ack"
    """Server to device: which messages are safely stored."""
    COMMAND = "command"
    """Server to device."""


class StreamTopic(str, Enum):
    """What is said on the topics of one stream of a device."""

    WINDOW = "window"
    WINDOW_CURRENT = "window/current"
    """Retained: the stream's latest window, where Home Assistant is told of it."""
    ALERT = "alert"
    ALERT_CURRENT = "alert/current"
    """Retained: the stream's latest alert, for whoever subscribes later."""


def _not_a_step(name: str) -> str:
    if name in (".", ".."):
        raise ValueError(f"an id may not be {name!r}: that is a step in a path")
    return name


def _not_a_device_topic(stream: str) -> str:
    if stream in {kind.value for kind in DeviceTopic}:
        raise ValueError(f"a stream may not be named {stream!r}: that is a topic of the device itself")
    return stream


Id = Annotated[str, StringConstraints(pattern=ID_PATTERN), AfterValidator(_not_a_step)]
"""A site's or device's id: 1 to 64 of letters, digits, ``_``, ``.`` and ``-``, and neither ``.`` nor ``..``."""

StreamName = Annotated[Id, AfterValidator(_not_a_device_topic)]
"""A stream's id: as `Id`, and none of the names in `DeviceTopic`."""


@dataclass(frozen=True, slots=True)
class Address:
    """A parsed topic.

    Attributes:
        site: the site's id.
        device: the device's id, unique within the site.
        stream: the stream's id, or None for a topic of the device itself.
        kind: what is said there.
    """

    site: str
    device: str
    stream: str | None
    kind: DeviceTopic | StreamTopic


def device_topic(site: str, device: str, kind: DeviceTopic) -> str:
    """The topic on which `kind` is said of a device.

    >>> device_topic("north", "pi-7", DeviceTopic.STATE)
    'driftprint/v1/north/pi-7/state'
    """
    return f"{PREFIX}/{site}/{device}/{kind.value}"


def stream_topic(site: str, device: str, stream: str, kind: StreamTopic) -> str:
    """The topic on which `kind` is said of a stream.

    >>> stream_topic("north", "pi-7", "belt", StreamTopic.ALERT)
    'driftprint/v1/north/pi-7/belt/alert'
    """
    return f"{PREFIX}/{site}/{device}/{stream}/{kind.value}"


def object_id(site: str, device: str) -> str:
    """What a device is called in Home Assistant's topics, where an id has no dots.

    Different devices stay different: an underscore is always followed by its hexadecimal code or the dot's, and so is
    never a part of the two between a site and a device.

    >>> object_id("north", "pi.7_a")
    'driftprint_north__pi_2E7_5Fa'
    """
    site, device = (name.replace("_", "_5F").replace(".", "_2E") for name in (site, device))
    return f"driftprint_{site}__{device}"


def parse(topic: str) -> Address:
    """Read a topic back into its parts.

    Raises:
        MessageError: with reason ``topic`` where it is none of ours.

    >>> parse("driftprint/v1/north/pi-7/belt/alert").stream
    'belt'
    """
    if found := _TOPIC.fullmatch(topic):
        site, device, of_device, stream, of_stream = found.groups()
        if of_device is not None:
            return Address(site, device, None, _DEVICE_KINDS[of_device])
        return Address(site, device, stream, _STREAM_KINDS[of_stream])
    raise MessageError(
        f"not a topic of the form {PREFIX}/<site>/<device>[/<stream>]/<kind>", reason="topic", where=topic
    )


_DEVICE_KINDS = {kind.value: kind for kind in DeviceTopic}
_STREAM_KINDS = {kind.value: kind for kind in StreamTopic}
_A_DEVICES, _A_STREAMS = ("|".join(map(re.escape, kinds)) for kinds in (_DEVICE_KINDS, _STREAM_KINDS))
AN_ID = r"(?!\.{1,2}(?:/|\Z))" + ID_PATTERN.strip("^$")
"""An `Id`, as a part of a regular expression: a slash or the end comes after it."""
A_STREAM = rf"(?!(?:{_A_DEVICES})(?:/|\Z)){AN_ID}"
"""A `StreamName` likewise."""
_TOPIC = re.compile(rf"{PREFIX}/({AN_ID})/({AN_ID})/(?:({_A_DEVICES})|({A_STREAM})/({_A_STREAMS}))")
