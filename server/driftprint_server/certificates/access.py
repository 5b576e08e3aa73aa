"""Who may read and write which topics: mosquitto's file of access rules.

Each holder is named with topics of their own, and whoever is not named may do nothing. Patterns with ``%u`` would need
no new file for a new device, but no pattern says "this device of this site": see docs/decisions, 6.
"""

from __future__ import annotations

from collections.abc import Iterable

from driftprint.topics import PREFIX, DeviceTopic, StreamTopic, device_topic, object_id, stream_topic
from driftprint_server.certificates.holder import Holder, Kind
from driftprint_server.certificates.register import Issued

SAID_BY_DEVICES = (DeviceTopic.STATE, DeviceTopic.HEALTH)
SAID_BY_THE_SERVER = (DeviceTopic.ACK, DeviceTopic.COMMAND)

_HEADER = """\
# Who may read and write what, by the name in the certificate. Made by `driftprint certificates`, and made anew whenever
# it issues or revokes one. Whoever is not named may do nothing.
"""


def access_file(issued: Iterable[Issued]) -> str:
    """The contents of mosquitto's acl_file for the holders of these certificates."""
    entries = (
        "\n".join((f"user {one.name}", *(f"topic {rule}" for rule in _rules(one.holder, one.home_assistant))))
        for one in issued
        if one.kind is not Kind.BROKER
    )
    return "\n\n".join((_HEADER.rstrip(), *entries)) + "\n"


def _rules(holder: Holder, home_assistant: str | None) -> list[str]:
    if holder.kind is Kind.DEVICE:
        return _of_device(holder.site, holder.device, home_assistant)
    reads = [f"read {PREFIX}/#"]
    if holder.kind is Kind.SERVER:
        return reads + [f"write {device_topic('+', '+', kind)}" for kind in SAID_BY_THE_SERVER]
    if home_assistant is not None:
        reads += [f"read {home_assistant}/#", f"write {home_assistant}/status"]
    return reads


def _of_device(site: str, device: str, home_assistant: str | None) -> list[str]:
    rules = [f"write {device_topic(site, device, kind)}" for kind in SAID_BY_DEVICES]
    rules += [f"write {stream_topic(site, device, '+', kind)}" for kind in StreamTopic]
    rules += [f"read {device_topic(site, device, kind)}" for kind in SAID_BY_THE_SERVER]
    if home_assistant is not None:
        found_as = object_id(site, device)
        rules += [f"write {home_assistant}/device/{found_as}/config", f"read {home_assistant}/status"]
    return rules
