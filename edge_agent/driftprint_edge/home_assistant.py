"""Home Assistant: a retained message that makes the device appear there, with what it reports.

It is the device-based form of MQTT discovery, which Home Assistant has had since 2024.11. Home Assistant's pages on it,
and what is used of each:

- `MQTT <https://www.home-assistant.io/integrations/mqtt/#device-discovery-payload>`_: the topic
  ``<prefix>/device/<object_id>/config``; `device` (`identifiers`, `name`, `manufacturer`, `model`, `sw_version`,
  `suggested_area`), `origin` (`name`, `sw_version`), `availability` (`topic`, `value_template`) and `components`, each
  with a `platform` and a `unique_id`; the birth message; removal by an empty payload.
- `MQTT sensor <https://www.home-assistant.io/integrations/sensor.mqtt/>`_: `name`, `state_topic`, `value_template`,
  `unit_of_measurement`, `device_class`, `state_class`, `suggested_display_precision`, `entity_category`,
  `expire_after`. A template that gives ``None`` makes the state unknown.
- `MQTT binary sensor <https://www.home-assistant.io/integrations/binary_sensor.mqtt/>`_: the same, where a template
  gives ``ON`` or ``OFF``, and `json_attributes_topic` with `json_attributes_template`.
- `Templates <https://www.home-assistant.io/docs/configuration/templating/#using-value-templates-with-mqtt>`_:
  `value_json`, the message.

Templates take the values out of the messages that the agent sends anyway; of windows the latest is also sent by itself,
retained, since the outbox sends what is past as well.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from driftprint.messages import WindowKind
from driftprint.topics import DeviceTopic, StreamTopic, device_topic, object_id, stream_topic

BIRTH = b"online"
"""What Home Assistant says on `birth_topic` when it has started: it wants to hear of devices again."""

LEAST_EXPIRY_SECONDS = 30

_RATIO = (
    f"{{% set window = value_json.windows | selectattr('kind', 'eq', '{WindowKind.COUNT.value}')"
    " | selectattr('frames') | first %}"
    "{{ (window.outlier_ratio * 100) | round(2) if window is defined else None }}"
)

_BUNDLE = "{{ value_json.bundle.name ~ '-' ~ value_json.bundle.version }}"
_FAULTS = "{{ {'faults': value_json.camera_faults} | tojson }}"

_SENSOR = {"platform": "sensor"}
_MEASUREMENT = {**_SENSOR, "state_class": "measurement"}
_PROBLEM = {"platform": "binary_sensor", "device_class": "problem"}
_DIAGNOSTIC = {"entity_category": "diagnostic"}


class HomeAssistantSettings(BaseModel):
    """The table ``[home_assistant]``: MQTT discovery."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    enabled: bool = False
    """Have the device and its streams appear in the Home Assistant that listens to the same broker."""
    prefix: Annotated[str, Field(pattern=r"^[^/+#$\x00-\x1f\x7f-\x9f][^/+#\x00-\x1f\x7f-\x9f]*$", max_length=64)] = (
        "homeassistant"
    )
    """The discovery prefix that Home Assistant's MQTT integration is set to: one level of a topic."""


@dataclass(frozen=True, slots=True)
class Retained:
    """A message to be published with the retain flag.

    Attributes:
        topic: where.
        payload: what; an empty one takes back what was retained there.
    """

    topic: str
    payload: bytes


def birth_topic(prefix: str) -> str:
    """Where Home Assistant says `BIRTH`: its default, unless its settings name another topic.

    >>> birth_topic("homeassistant")
    'homeassistant/status'
    """
    return f"{prefix}/status"


def discovery(
    prefix: str, *, site: str, device: str, version: str, streams: Mapping[str, float], health_seconds: float
) -> Retained:
    """What makes a device appear, or brings it up to date.

    Args:
        prefix: Home Assistant's discovery prefix.
        site: the device's site.
        device: the device's id.
        version: the agent's.
        streams: by name, how often each sends a window message, in seconds.
        health_seconds: how often a health message is sent.
    """
    health = device_topic(site, device, DeviceTopic.HEALTH)
    path = f"driftprint/{site}/{device}"
    components = {
        kind: {"name": _words(kind), "unique_id": f"{path}/{kind}", "state_topic": health, **options}
        for kind, options in _of_device(health_seconds).items()
    }
    for stream, report_seconds in streams.items():
        window = stream_topic(site, device, stream, StreamTopic.WINDOW_CURRENT)
        components |= {
            f"{stream}/{kind}": {
                "name": f"{stream} {_words(kind).lower()}",
                "unique_id": f"{path}/{stream}/{kind}",
                "state_topic": window,
                **options,
            }
            for kind, options in _of_stream(window, report_seconds).items()
        }
    body = {
        "device": {
            "identifiers": [path],
            "name": device,
            "manufacturer": "driftprint",
            "model": "driftprint agent",
            "sw_version": version,
            # Where agent.toml names no site, the id says nothing of a place.
            **({} if site == "default" else {"suggested_area": site}),
        },
        "origin": {"name": "driftprint", "sw_version": version},
        "availability": [
            {"topic": device_topic(site, device, DeviceTopic.STATE), "value_template": "{{ value_json.status }}"}
        ],
        "components": components,
    }
    return Retained(_config_topic(prefix, site, device), json.dumps(body, separators=(",", ":")).encode())


def removal(prefix: str, *, site: str, device: str) -> Retained:
    """What makes a device disappear again, with all its entities."""
    return Retained(_config_topic(prefix, site, device), b"")


def _of_device(health_seconds: float) -> dict[str, dict[str, Any]]:
    """By its kind, what Home Assistant is to know of each entity that lives on the health message."""
    fresh = {"expire_after": _expiry(health_seconds)}
    return {
        "outbox_messages": {
            **_MEASUREMENT,
            **_DIAGNOSTIC,
            **fresh,
            "unit_of_measurement": "messages",
            "value_template": "{{ value_json.outbox_messages }}",
        },
        "uptime": {
            **_SENSOR,
            **_DIAGNOSTIC,
            **fresh,
            "device_class": "duration",
            "unit_of_measurement": "s",
            "value_template": "{{ value_json.uptime_seconds | int }}",
        },
    }


def _of_stream(window_topic: str, report_seconds: float) -> dict[str, dict[str, Any]]:
    """By its kind, what Home Assistant is to know of each entity that lives on a stream's window message."""
    fresh = {"expire_after": _expiry(report_seconds)}
    return {
        "outlier_ratio": {
            **_MEASUREMENT,
            **fresh,
            "unit_of_measurement": "%",
            "suggested_display_precision": 1,
            "value_template": _RATIO,
        },
        "drift": {**_PROBLEM, **fresh, "value_template": _on_where("value_json.alarm")},
        "camera_fault": {
            **_PROBLEM,
            **fresh,
            "value_template": _on_where("value_json.camera_faults"),
            "json_attributes_topic": window_topic,
            "json_attributes_template": _FAULTS,
        },
        "class_mix": {**_PROBLEM, **fresh, "value_template": _on_where("value_json.class_mix_alarm")},
        # What runs does not go stale with the last report of it.
        "bundle_version": {**_SENSOR, **_DIAGNOSTIC, "value_template": _BUNDLE},
        "frames_per_second": {
            **_MEASUREMENT,
            **_DIAGNOSTIC,
            **fresh,
            "unit_of_measurement": "fps",
            "suggested_display_precision": 1,
            "value_template": "{{ value_json.frames_per_second | round(2) }}",
        },
    }


def _on_where(condition: str) -> str:
    return f"{{{{ 'ON' if {condition} else 'OFF' }}}}"


def _expiry(seconds: float) -> int:
    """After how long without a message an entity is unavailable: a lost one or two are no matter."""
    return max(LEAST_EXPIRY_SECONDS, math.ceil(3 * seconds))


def _words(kind: str) -> str:
    return kind.replace("_", " ").capitalize()


def _config_topic(prefix: str, site: str, device: str) -> str:
    return f"{prefix}/device/{object_id(site, device)}/config"
