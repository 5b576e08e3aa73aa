"""The fleet as a rollout looks at it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from driftprint.messages import Cause
from driftprint_server.device import Device, Liveness, Stream
from driftprint_server.rollout.model import BundleId, Sighting, StreamKey


@dataclass(frozen=True, slots=True)
class Seen:
    """The streams at one moment.

    Attributes:
        streams: those that have reported.
        silent: those that their devices have, and that have not reported yet, as after a reset.
    """

    streams: dict[StreamKey, Sighting]
    silent: frozenset[StreamKey]


def look(devices: Iterable[Device], now: float, *, stale_after_seconds: float) -> Seen:
    """What is known of all streams at Unix time `now`."""
    streams: dict[StreamKey, Sighting] = {}
    silent: set[StreamKey] = set()
    for device in devices:
        online = device.liveness(now, stale_after_seconds=stale_after_seconds) is Liveness.ONLINE
        for name, stream in device.streams.items():
            if stream.window is not None and device.runs(name):
                sighting = _sighting(device, stream, online=online)
                streams[sighting.key] = sighting
        announced = () if device.state is None else device.state.message.streams
        silent |= {StreamKey(device.site, device.name, name) for name in announced} - streams.keys()
    return Seen(streams, frozenset(silent))


def _sighting(device: Device, stream: Stream, *, online: bool) -> Sighting:
    assert stream.window is not None
    window, health = stream.window.message, device.health
    return Sighting(
        key=StreamKey(device.site, device.name, stream.name),
        online=online,
        online_since=device.state.at if device.state is not None else device.heard_at,
        instance=device.instance,
        bundle=BundleId(window.bundle.name, window.bundle.version),
        frames=window.frames_total,
        alarms=window.alerts_total,
        alarm=window.alarm,
        promise=_promise(stream),
        error="" if health is None else health.message.bundle_errors.get(stream.name, ""),
        error_at=0.0 if health is None else health.at,
        unfetched=health is not None and stream.name in health.message.bundle_unfetched,
    )


def _promise(stream: Stream) -> float:
    """False alarms a frame that the budget allows, as its alerts of drift tell."""
    budgets = [
        alert.message.frames_per_false_alarm
        for alert in stream.alerts.values()
        if alert.message.cause is Cause.DRIFT and alert.message.frames_per_false_alarm
    ]
    return 1 / min(budgets) if budgets else 0.0
