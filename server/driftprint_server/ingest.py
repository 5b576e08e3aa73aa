"""From what the broker delivered to a message that can be believed to be its device's own."""

from __future__ import annotations

from driftprint.errors import MessageError
from driftprint.messages import AlertMessage, StateMessage, decode
from driftprint.topics import Address, DeviceTopic, StreamTopic, parse
from driftprint_server.counts import Kind, Reason
from driftprint_server.records import FleetMessage, read_health, read_window


def read(topic: str, payload: bytes) -> tuple[Kind, FleetMessage]:
    """A message's kind and body.

    The broker's access rules bind a device to its topics; so what the body says of its origin counts only
    where the topic says the same.

    Raises:
        MessageError: with one of the reasons in `Reason`.
    """
    address = parse(topic)
    kind, message = _read(address, payload, topic)
    said = (message.site, message.device, getattr(message, "stream", None))
    if said != (address.site, address.device, address.stream):
        origin = "/".join(part for part in said if part)
        raise MessageError(f"its body says it comes from {origin}", reason=Reason.IDENTITY, where=topic)
    return kind, message


def _read(address: Address, payload: bytes, topic: str) -> tuple[Kind, FleetMessage]:
    match address.kind:
        case StreamTopic.WINDOW:
            return Kind.WINDOW, read_window(payload, topic=topic)
        case StreamTopic.ALERT:
            return Kind.ALERT, decode(AlertMessage, payload, topic=topic)
        case DeviceTopic.HEALTH:
            return Kind.HEALTH, read_health(payload, topic=topic)
        case DeviceTopic.STATE:
            return Kind.STATE, decode(StateMessage, payload, topic=topic)
    raise MessageError(f"the server takes no {address.kind.value!r} messages", reason=Reason.TOPIC, where=topic)
