"""What is known of one device, and how a message changes it: plain values and pure functions.

Messages are states, so taking one in twice, late or out of order leaves the same knowledge. Times are the
server's: a device's wall clock is not trusted, only the age that it gives by its monotonic clock.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Generic, TypeVar

from msgspec import Struct
from msgspec.structs import replace

from driftprint.errors import MessageError
from driftprint.messages import (
    AlertMessage,
    AlertStatus,
    Cause,
    DeviceStatus,
    StateMessage,
)
from driftprint_server.counts import Reason
from driftprint_server.records import STREAM_MESSAGES, FleetMessage, HealthRecord, WindowRecord

MOST_STREAMS = 64
"""Streams per device, as many as an agent may have."""
MOST_ALERTS = 50
"""Alerts kept per stream: the latest."""
MOST_AGE_SECONDS = 30 * 86_400.0
"""Messages that claim to be older are taken to be this old."""
_MOST_SUPERSEDED = 100

M_co = TypeVar("M_co", bound=FleetMessage, covariant=True)


class Liveness(str, Enum):
    """Whether a device is there."""

    ONLINE = "online"
    STALE = "stale"
    """Nobody said that it went, but it is silent."""
    OFFLINE = "offline"
    """It said goodbye, or the broker did so for it."""


class Dated(Struct, Generic[M_co], frozen=True, gc=False):
    """A message and when what it says was so.

    Attributes:
        message: what it says, with its age taken off.
        at: Unix time in seconds, by the server's clock.
    """

    message: M_co
    at: float


class Stream(Struct, frozen=True, gc=False):
    """A device's stream.

    Attributes:
        name: its id.
        window: the latest, of the device's present instance.
        alerts: by alert id, the latest revision of each; `MOST_ALERTS` at most, from all instances.
    """

    name: str
    window: Dated[WindowRecord] | None = None
    alerts: Mapping[str, Dated[AlertMessage]] = {}


class Device(Struct, frozen=True, gc=False):
    """A device.

    Attributes:
        site: its site's id.
        name: its own id, unique within the site.
        instance: its store's id; all windows, health and state are of this one.
        heard_at: when it was first heard of, if only by a retained message. Unix time, as all times here.
        superseded: earlier instances. What still arrives from them is old.
        last_seen: the last sign of life; None where there has been none yet.
        state: the latest.
        health: the latest.
        streams: by name.
    """

    site: str
    name: str
    instance: str
    heard_at: float
    superseded: tuple[str, ...] = ()
    last_seen: float | None = None
    state: Dated[StateMessage] | None = None
    health: Dated[HealthRecord] | None = None
    streams: Mapping[str, Stream] = {}

    def liveness(self, now: float, *, stale_after_seconds: float) -> Liveness:
        """Whether it is there at Unix time `now`."""
        if self._said_goodbye():
            return Liveness.OFFLINE
        if self.last_seen is None or now - self.last_seen > stale_after_seconds:
            return Liveness.STALE
        return Liveness.ONLINE

    def runs(self, stream: str) -> bool:
        """Whether the agent, by its own word, still has this stream."""
        return self.state is None or stream in self.state.message.streams

    def alarm(self, stream: str) -> bool:
        """Whether an alert of drift is raised on a stream, by the latest word: an alert is ahead of its window."""
        known = self.streams[stream]
        words = [
            (alert.message.seq, alert.message.status is not AlertStatus.CLEARED)
            for alert in known.alerts.values()
            if alert.message.instance == self.instance and alert.message.cause is Cause.DRIFT
        ]
        if known.window is not None:
            words.append((known.window.message.seq, known.window.message.alarm))
        return max(words, default=(0, False))[1] and self.runs(stream)

    def _said_goodbye(self) -> bool:
        if self.state is None or self.state.message.status is not DeviceStatus.OFFLINE:
            return False
        return self.last_seen is None or self.state.at >= self.last_seen


def apply(device: Device | None, message: FleetMessage, received_at: float, *, retained: bool = False) -> Device:
    """What is known of a device after a message.

    Args:
        device: what was known before; None for a new device.
        message: what it says.
        received_at: when it arrived, Unix time in seconds by the server's clock.
        retained: whether the broker had kept it from an unknown time. It is then no sign of life.

    Raises:
        MessageError: with reason ``superseded_instance`` or ``too_many_streams``; what was known still holds.
    """
    if device is None:
        device = Device(message.site, message.device, message.instance, heard_at=received_at)
    if message.instance in device.superseded:
        if isinstance(message, AlertMessage):  # no alert is ever lost
            return _with_alert(device, message, received_at)
        raise MessageError(f"instance {message.instance} is no more", reason=Reason.SUPERSEDED_INSTANCE)
    if message.instance != device.instance:
        device = _superseded(device, message.instance)
    of_the_living = not retained  # what a broker says by itself may be of a device that is long gone
    match message:
        case WindowRecord():
            device = _with_window(device, message, received_at)
        case HealthRecord():
            if device.health is None or received_at >= device.health.at:
                device = replace(device, health=Dated(message, received_at))
        case AlertMessage():
            device = _with_alert(device, message, received_at)
        case StateMessage():
            device = _with_state(device, message, received_at)
            of_the_living = not retained and message.status is not DeviceStatus.OFFLINE
    if not of_the_living:
        return device
    return replace(device, last_seen=max(device.last_seen or 0.0, received_at))


def happened_at(message: FleetMessage, received_at: float) -> float:
    """When what a message says was so: Unix time in seconds, by the server's clock and a stream's message's age."""
    if isinstance(message, STREAM_MESSAGES):
        return received_at - min(message.age_seconds, MOST_AGE_SECONDS)
    return received_at


def raised_at(alert: Dated[AlertMessage]) -> float:
    """When an alert was raised: Unix time in seconds. Of the device's clock only a difference is used."""
    return alert.at - min(max(alert.message.recorded_at - alert.message.raised_at, 0.0), MOST_AGE_SECONDS)


def _superseded(device: Device, instance: str) -> Device:
    """The same device with a new store: its totals start again, its alerts stay on record."""
    return replace(
        device,
        instance=instance,
        superseded=(*device.superseded, device.instance)[-_MOST_SUPERSEDED:],
        state=None,
        health=None,
        streams={name: replace(stream, window=None) for name, stream in device.streams.items() if stream.alerts},
    )


def _with_state(device: Device, message: StateMessage, received_at: float) -> Device:
    if device.state is not None and received_at < device.state.at:
        return device
    return replace(device, state=Dated(message, received_at))


def _with_window(device: Device, message: WindowRecord, received_at: float) -> Device:
    stream = _stream(device, message.stream)
    known, new = stream.window, Dated(_ageless(message), happened_at(message, received_at))
    if known is not None and not _is_later(known, new, message.seq - known.message.seq):
        return device
    return _with_stream(device, Stream(stream.name, new, stream.alerts))


def _with_alert(device: Device, message: AlertMessage, received_at: float) -> Device:
    stream = _stream(device, message.stream)
    # Thumbnails are for those who subscribe: of a large fleet they would fill the server's memory.
    new = Dated(message.model_copy(update={"age_seconds": 0.0, "thumbnails": ()}), happened_at(message, received_at))
    known = stream.alerts.get(message.alert_id)
    if known is not None and not _is_later(known, new, message.revision - known.message.revision):
        return device
    alerts = {**stream.alerts, message.alert_id: new}
    if len(alerts) > MOST_ALERTS:
        del alerts[min(alerts, key=lambda alert_id: (alerts[alert_id].at, alert_id))]
    return _with_stream(device, Stream(stream.name, stream.window, alerts))


def _ageless(message: WindowRecord) -> WindowRecord:
    """Sent again, a message is older, and the same."""
    return replace(message, age_seconds=0.0) if message.age_seconds else message


def _is_later(known: Dated[FleetMessage], new: Dated[FleetMessage], ahead: int) -> bool:
    """Whether the new one is ahead. Of one message sent twice the earlier date is nearer the truth."""
    return ahead > 0 or (ahead == 0 and new.at < known.at)


def _stream(device: Device, name: str) -> Stream:
    known = device.streams.get(name)
    if known is None and len(device.streams) >= MOST_STREAMS:
        raise MessageError(f"a device may have {MOST_STREAMS} streams", reason=Reason.TOO_MANY_STREAMS)
    return known or Stream(name)


def _with_stream(device: Device, stream: Stream) -> Device:
    return replace(device, streams={**device.streams, stream.name: stream})
