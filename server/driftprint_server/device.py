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
from driftprint_server.bounds import MOST_ALERT_BYTES, alert_bytes, bounded_window, shortened, standing
from driftprint_server.counts import Reason
from driftprint_server.records import STREAM_MESSAGES, FleetMessage, HealthRecord, WindowRecord
from driftprint_server.times import STEP_SECONDS

MOST_STREAMS = 64
"""Streams per device, as many as an agent may have."""
MOST_ALERTS = 50
"""Alerts kept per stream: the latest. One that stands is kept beyond that."""
MOST_AGE_SECONDS = 30 * 86_400.0
"""Messages that claim to be older are taken to be this old."""
_MOST_SUPERSEDED = 100

M_co = TypeVar("M_co", bound=FleetMessage, covariant=True)
D = TypeVar("D", bound="Dated[FleetMessage] | None")


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
        alerts: by alert id, the latest revision of each; `MOST_ALERTS` at most, from all instances, and those that
            stand.
        alert_bytes: about what the alerts take in memory.
    """

    name: str
    window: Dated[WindowRecord] | None = None
    alerts: Mapping[str, Dated[AlertMessage]] = {}
    alert_bytes: int = 0


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
        # What it said by a clock that has been set back since says nothing of today.
        if self.last_seen is None or not -STEP_SECONDS <= now - self.last_seen <= stale_after_seconds:
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
    if _heard_until(device) > received_at + STEP_SECONDS:  # our clock has been set back
        device = _heard_before(device, received_at)
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


def not_after(device: Device, now: float) -> Device:
    """The same device with no date after Unix time `now`: later ones are from a clock that was ahead."""
    if _dated_until(device) <= now:
        return device
    streams = {
        name: replace(
            stream,
            window=_before(stream.window, now),
            alerts={alert_id: _before(alert, now) for alert_id, alert in stream.alerts.items()},
        )
        for name, stream in device.streams.items()
    }
    return replace(_heard_before(device, now), streams=streams)


def _heard_until(device: Device) -> float:
    """When something was last heard of it, be it that it went."""
    gone = device.state.at if device.state is not None else device.heard_at
    return max(device.last_seen or device.heard_at, gone)


def _dated_until(device: Device) -> float:
    latest = _heard_until(device)
    for stream in device.streams.values():
        if stream.window is not None:
            latest = max(latest, stream.window.at)
        for alert in stream.alerts.values():
            latest = max(latest, alert.at)
    return latest


def _heard_before(device: Device, now: float) -> Device:
    """With nothing heard after `now`. What its streams said keeps its date: it may be now that the clock is wrong."""
    return replace(
        device,
        heard_at=min(device.heard_at, now),
        last_seen=None if device.last_seen is None else min(device.last_seen, now),
        state=_before(device.state, now),
        health=_before(device.health, now),
    )


def _before(dated: D, now: float) -> D:
    return replace(dated, at=now) if dated is not None and dated.at > now else dated


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
    known, at = stream.window, happened_at(message, received_at)
    if known is not None and not _is_later(known, at, message.seq - known.message.seq):
        return device
    others = (
        one.window.message for one in device.streams.values() if one.window is not None and one.name != message.stream
    )
    new = Dated(_ageless(bounded_window(message, others)), at)
    return _with_stream(device, Stream(stream.name, new, stream.alerts, stream.alert_bytes))


def _with_alert(device: Device, message: AlertMessage, received_at: float) -> Device:
    stream = _stream(device, message.stream)
    # Thumbnails are for those who subscribe: of a large fleet they would fill the server's memory.
    new = Dated(message.model_copy(update={"age_seconds": 0.0, "thumbnails": ()}), happened_at(message, received_at))
    known = stream.alerts.get(message.alert_id)
    if known is not None and not _is_later(known, new.at, message.revision - known.message.revision):
        return device
    alerts = {**stream.alerts, message.alert_id: new}
    if len(alerts) > MOST_ALERTS:
        stand = _standing(alerts, device.instance)
        by_age = sorted(alerts, key=lambda alert_id: (alerts[alert_id].at, alert_id))
        for alert_id in by_age[:-MOST_ALERTS]:
            if alert_id not in stand:
                del alerts[alert_id]
    return _within_bytes(_with_stream(device, with_alerts(stream, alerts)))


def with_alerts(stream: Stream, alerts: Mapping[str, Dated[AlertMessage]]) -> Stream:
    """The same stream with other alerts."""
    more = sum(alert_bytes(alert.message) for key, alert in alerts.items() if stream.alerts.get(key) is not alert)
    less = sum(alert_bytes(alert.message) for key, alert in stream.alerts.items() if alerts.get(key) is not alert)
    return Stream(stream.name, stream.window, alerts, stream.alert_bytes + more - less)


def _within_bytes(device: Device) -> Device:
    """With alerts of at most `MOST_ALERT_BYTES`: the oldest that are settled go, then details of those that stand."""
    over = sum(stream.alert_bytes for stream in device.streams.values()) - MOST_ALERT_BYTES
    if over <= 0:
        return device
    left = {name: dict(stream.alerts) for name, stream in device.streams.items()}
    stand = {name: _standing(alerts, device.instance) for name, alerts in left.items()}
    by_age = sorted(
        (alert_id in stand[name], alert.at, name, alert_id)
        for name, alerts in left.items()
        for alert_id, alert in alerts.items()
    )
    for stands, _, name, alert_id in by_age:
        alert = left[name][alert_id]
        shorter = shortened(alert.message) if stands else None
        if shorter is alert.message:
            continue
        over -= alert_bytes(alert.message)
        if shorter is None:
            del left[name][alert_id]
        else:
            left[name][alert_id] = replace(alert, message=shorter)
            over += alert_bytes(shorter)
        if over <= 0:
            break
    streams = {name: with_alerts(stream, left[name]) for name, stream in device.streams.items()}
    return replace(device, streams=streams)


def _standing(alerts: Mapping[str, Dated[AlertMessage]], instance: str) -> set[str]:
    return standing({alert_id: alert.message for alert_id, alert in alerts.items()}, instance)


def _ageless(message: WindowRecord) -> WindowRecord:
    """Sent again, a message is older, and the same."""
    return replace(message, age_seconds=0.0) if message.age_seconds else message


def _is_later(known: Dated[FleetMessage], at: float, ahead: int) -> bool:
    """Whether a new one is ahead. Of one message sent twice the earlier date is nearer the truth."""
    return ahead > 0 or (ahead == 0 and at < known.at)


def _stream(device: Device, name: str) -> Stream:
    known = device.streams.get(name)
    if known is None and len(device.streams) >= MOST_STREAMS:
        raise MessageError(f"a device may have {MOST_STREAMS} streams", reason=Reason.TOO_MANY_STREAMS)
    return known or Stream(name)


def _with_stream(device: Device, stream: Stream) -> Device:
    return replace(device, streams={**device.streams, stream.name: stream})
