"""From what the broker delivered to a message that can be believed to be its device's own."""

from __future__ import annotations

from driftprint.errors import MessageError
from driftprint.messages import (
    AlertMessage,
    DeviceMessage,
    HealthMessage,
    StateMessage,
    StreamMessage,
    WindowMessage,
    decode,
)
from driftprint.topics import Address, DeviceTopic, StreamTopic, parse
from driftprint_server.counts import Kind, Reason

_MODELS: dict[DeviceTopic | StreamTopic, tuple[Kind, type[DeviceMessage]]] = {
    DeviceTopic.STATE: (Kind.STATE, StateMessage),
    DeviceTopic.HEALTH: (Kind.HEALTH, HealthMessage),
    StreamTopic.WINDOW: (Kind.WINDOW, WindowMessage),
    StreamTopic.ALERT: (Kind.ALERT, AlertMessage),
}


def read(topic: str, payload: bytes) -> tuple[Kind, DeviceMessage]:
    """A message's kind and body.

    The broker's access rules bind a device to its topics; so what the body says of its origin counts only
    where the topic says the same.

    Raises:
        MessageError: with one of the reasons in `Reason`.
    """
    address = parse(topic)
    if address.kind not in _MODELS:
        raise MessageError(f"the server takes no {address.kind.value!r} messages", reason=Reason.TOPIC, where=topic)
    kind, model = _MODELS[address.kind]
    message = decode(model, payload, topic=topic)
    _check_identity(address, message, topic)
    return kind, message


def _check_identity(address: Address, message: DeviceMessage, topic: str) -> None:
    stream = message.stream if isinstance(message, StreamMessage) else None
    if (message.site, message.device, stream) != (address.site, address.device, address.stream):
        origin = "/".join(part for part in (message.site, message.device, stream) if part)
        raise MessageError(f"its body says it comes from {origin}", reason=Reason.IDENTITY, where=topic)
