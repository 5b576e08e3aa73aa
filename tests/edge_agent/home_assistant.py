"""A subscriber that is to discovery what Home Assistant is: strict where it is, and its states come about as there.

Keys, platforms and classes are those that Home Assistant documents on its pages on the integrations "MQTT", "MQTT
sensor", "MQTT binary sensor", "Sensor" and "Binary sensor". Home Assistant ignores an unknown key; here it is an error,
because it is a mistake of ours.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

from jinja2 import StrictUndefined, TemplateError
from jinja2.sandbox import ImmutableSandboxedEnvironment

UNAVAILABLE = "unavailable"
UNKNOWN = "unknown"
LONGEST_STATE = 255

# Home Assistant logs what is undefined and goes on; here it is an error.
_TEMPLATES = ImmutableSandboxedEnvironment(undefined=StrictUndefined)
_CONFIG_TOPIC = r"/device/(?P<object_id>[a-zA-Z0-9_-]+)/config"

# Of the documented device classes those that may have to do with us; for sensors with their units.
_SENSOR_CLASSES = {
    "duration": {"d", "h", "min", "s", "ms"},
    "data_size": {"B", "kB", "MB", "GB"},
    "frequency": {"Hz", "kHz", "MHz", "GHz"},
    "temperature": {"°C", "°F", "K"},
}
_BINARY_CLASSES = {
    "battery",
    "connectivity",
    "heat",
    "motion",
    "power",
    "problem",
    "running",
    "safety",
    "tamper",
    "update",
}

Check = Callable[[Any], bool]


class DiscoveryError(Exception):
    """Home Assistant would not take this, or not as it is meant."""


def _text(value: Any) -> bool:
    return isinstance(value, str)


def _flag(value: Any) -> bool:
    return isinstance(value, bool)


def _natural(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _topic(value: Any) -> bool:
    """One without wildcards: we never mean more than one."""
    return (
        isinstance(value, str) and 0 < len(value.encode()) <= 65535 and not re.search(r"[+#\x00-\x1f\x7f-\x9f]", value)
    )


def _template(value: Any) -> bool:
    try:
        _TEMPLATES.parse(value)
    except TemplateError:
        return False
    return True


def _url(value: Any) -> bool:
    return isinstance(value, str) and value.startswith(("http://", "https://"))


def _one_of(*values: Any) -> Check:
    return lambda value: value in values


def _texts(value: Any) -> bool:
    return _text(value) or (isinstance(value, list) and all(map(_text, value)))


_DEVICE: Mapping[str, Check] = {
    **dict.fromkeys(("name", "manufacturer", "model", "model_id", "hw_version", "sw_version", "serial_number"), _text),
    "identifiers": _texts,
    "connections": lambda value: isinstance(value, list) and all(len(pair) == 2 for pair in value),
    "via_device": _text,
    "suggested_area": _text,
    "configuration_url": _url,
}
_ORIGIN: Mapping[str, Check] = {"name": _text, "sw_version": _text, "support_url": _url}
_AVAILABILITY: Mapping[str, Check] = {
    "topic": _topic,
    "value_template": _template,
    "payload_available": _text,
    "payload_not_available": _text,
}
_ROOT: Mapping[str, Check] = {
    **dict.fromkeys(("device", "origin", "components"), lambda value: isinstance(value, dict) and value != {}),
    "availability": lambda value: isinstance(value, list) and value != [],
    "availability_mode": _one_of("all", "any", "latest"),
    "state_topic": _topic,
    "command_topic": _topic,
    "qos": _one_of(0, 1, 2),
    "encoding": _text,
}
_ENTITY: Mapping[str, Check] = {
    **dict.fromkeys(("platform", "unique_id", "name", "default_entity_id", "icon", "entity_picture"), _text),
    "state_topic": _topic,
    "value_template": _template,
    "json_attributes_topic": _topic,
    "json_attributes_template": _template,
    "entity_category": _one_of("diagnostic"),  # "config" is for what can be set
    "enabled_by_default": _flag,
    "expire_after": _natural,
    "force_update": _flag,
    "qos": _one_of(0, 1, 2),
    "encoding": _text,
}
_PLATFORMS: Mapping[str, Mapping[str, Check]] = {
    "sensor": {
        **_ENTITY,
        "device_class": _one_of(*_SENSOR_CLASSES),
        "state_class": _one_of("measurement", "measurement_angle", "total", "total_increasing"),
        "unit_of_measurement": _text,
        "suggested_display_precision": _natural,
        "last_reset_value_template": _template,
        "options": _texts,
    },
    "binary_sensor": {
        **_ENTITY,
        "device_class": _one_of(*_BINARY_CLASSES),
        "off_delay": _natural,
        "payload_on": _text,
        "payload_off": _text,
    },
}


@dataclass
class Entity:
    """One entity of a discovered device.

    Attributes:
        config: its component, with what the device's components share.
        attributes: from the latest message on `json_attributes_topic`.
    """

    config: dict[str, Any]
    attributes: dict[str, Any] = field(default_factory=dict)
    _value: str = UNKNOWN
    _online: bool = False
    _heard_at: float | None = None

    @property
    def name(self) -> str:
        """As people see it: after its device's name."""
        return f"{self.config['device']['name']} {self.config['name']}"

    def state(self, now: float = 0.0) -> str:
        """What Home Assistant shows at time `now`."""
        expiry = self.config.get("expire_after", 0)
        expired = expiry and (self._heard_at is None or now > self._heard_at + expiry)
        return self._value if self._online and not expired else UNAVAILABLE

    def hear(self, topic: str, payload: str, now: float) -> None:
        """Take a message in."""
        for source in self.config["availability"]:
            if topic == source["topic"]:
                said = self._render(source.get("value_template"), payload)
                if said == source.get("payload_available", "online"):
                    self._online = True
                elif said == source.get("payload_not_available", "offline"):
                    self._online = False
        if topic == self.config.get("json_attributes_topic"):
            attributes = json.loads(self._render(self.config.get("json_attributes_template"), payload))
            assert isinstance(attributes, dict)
            self.attributes = attributes
        if topic == self.config["state_topic"]:
            self._heard_at = now
            self._update(self._render(self.config.get("value_template"), payload))

    def _update(self, rendered: str) -> None:
        if rendered == "None":
            self._value = UNKNOWN
        elif self.config["platform"] == "binary_sensor":
            on, off = self.config.get("payload_on", "ON"), self.config.get("payload_off", "OFF")
            if rendered:
                self._value = {on: "on", off: "off"}[rendered]
        elif self.config.keys() & {"state_class", "unit_of_measurement", "suggested_display_precision"}:
            if rendered:
                float(rendered)
                self._value = rendered
        else:
            assert len(rendered) <= LONGEST_STATE
            self._value = rendered

    def _render(self, template: str | None, payload: str) -> str:
        if template is None:
            return payload
        this = SimpleNamespace(state=self._value, attributes=self.attributes)
        return _TEMPLATES.from_string(template).render(value=payload, value_json=json.loads(payload), this=this).strip()


class HomeAssistant:
    """Knows what it has heard.

    Args:
        prefix: of the discovery topics it listens to.
    """

    def __init__(self, prefix: str = "homeassistant") -> None:
        self._config_topic = re.compile(re.escape(prefix) + _CONFIG_TOPIC)
        self._devices: dict[str, dict[str, Entity]] = {}

    @property
    def entities(self) -> dict[str, Entity]:
        """All entities, by their names."""
        return {entity.name: entity for device in self._devices.values() for entity in device.values()}

    @property
    def unique_ids(self) -> list[str]:
        """Of all entities."""
        return [unique_id for device in self._devices.values() for unique_id in device]

    def hear(self, topic: str, payload: bytes, *, now: float = 0.0) -> None:
        """Take a message in.

        Raises:
            DiscoveryError: where it should make a device appear, and is not as it must be.
        """
        if topic.endswith("/config"):
            match = self._config_topic.fullmatch(topic)
            if match is None:
                raise DiscoveryError(f"no discovery topic: {topic}")
            self._discover(match["object_id"], payload.decode())
        else:
            for device in self._devices.values():
                for entity in device.values():
                    entity.hear(topic, payload.decode(), now)

    def _discover(self, object_id: str, payload: str) -> None:
        known = self._devices.pop(object_id, {})
        if payload:
            device = {config["unique_id"]: Entity(config) for config in _read(json.loads(payload))}
            if twice := device.keys() & set(self.unique_ids):
                raise DiscoveryError(f"unique_id is another device's: {sorted(twice)[0]}")
            # What is known of an entity outlasts a new description of it.
            for unique_id in device.keys() & known.keys():
                known[unique_id].config = device[unique_id].config
                device[unique_id] = known[unique_id]
            self._devices[object_id] = device


def _read(body: dict[str, Any]) -> list[dict[str, Any]]:
    """The entities of a device-based payload, each with what all of them share."""
    _check("payload", body, _ROOT, required={"device", "origin", "components"})
    _check("device", body["device"], _DEVICE, required={"identifiers"})
    _check("origin", body["origin"], _ORIGIN, required={"name"})
    for source in body.get("availability", []):
        _check("availability", source, _AVAILABILITY, required={"topic"})
    entities = [_read_entity(key, config) for key, config in body["components"].items()]
    unique_ids = [config["unique_id"] for config in entities]
    if len(set(unique_ids)) < len(unique_ids):
        raise DiscoveryError("unique_id: given twice")
    shared = {"device": body["device"], "availability": body.get("availability", [])}
    return [{**shared, **config} for config in entities]


def _read_entity(key: str, config: dict[str, Any]) -> dict[str, Any]:
    if " " in key:
        raise DiscoveryError(f"component {key!r}: Home Assistant takes the space for the end of its device's id")
    if config.get("platform") not in _PLATFORMS:
        raise DiscoveryError(f"{key}: platform is {config.get('platform')!r}")
    _check(key, config, _PLATFORMS[config["platform"]], required={"unique_id", "state_topic", "name"})
    unit, device_class = config.get("unit_of_measurement"), config.get("device_class")
    if config["platform"] == "sensor" and device_class is not None and unit not in _SENSOR_CLASSES[device_class]:
        raise DiscoveryError(f"{key}: {unit!r} is no unit of the device class {device_class}")
    if "state_class" in config and unit is None:
        raise DiscoveryError(f"{key}: a state_class without unit_of_measurement")
    return config


def _check(what: str, table: dict[str, Any], known: Mapping[str, Check], *, required: set[str]) -> None:
    if missing := required - table.keys():
        raise DiscoveryError(f"{what}: {sorted(missing)[0]} is missing")
    for name, value in table.items():
        if name not in known:
            raise DiscoveryError(f"{what}: {name} is not documented")
        if not known[name](value):
            raise DiscoveryError(f"{what}: {name} is {value!r}")
