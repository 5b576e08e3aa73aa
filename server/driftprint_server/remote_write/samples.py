"""From messages to samples, with the names and labels of ``/metrics``, each at its message's own time.

A gauge at a past time claims nothing of the present, so what a device has kept for later is written in full: the
outage's hours look like any others. Only its being up is told by what is fresh alone, and by its state.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

from driftprint.exposition import (
    ALARM,
    CAMERA_FAULT,
    CLASS_MIX,
    DEVICE_INFO,
    HEALTH,
    LAST_SEEN,
    UP,
    WINDOW_AT,
    Spec,
    window_readings,
)
from driftprint.messages import (
    AlertMessage,
    AlertStatus,
    Cause,
    DeviceStatus,
    StateMessage,
)
from driftprint_server.records import HealthRecord, WindowRecord
from driftprint_server.sinks import Accepted

LIVE_SECONDS = 10.0
"""A message of a stream that is older says nothing of whether its device is up."""

Sample: TypeAlias = tuple[Spec, tuple[str, ...], float, int]
"""Its family, the values of its labels, its value, and its time: Unix time in milliseconds."""


class Sampler:
    """Says in samples what messages say.

    Args:
        max_classes: at most this many predicted classes of a window, those with the most frames.
    """

    def __init__(self, max_classes: int) -> None:
        self._window = window_readings(max_classes)

    def samples(self, accepted: Accepted, milliseconds: int, now: float) -> list[Sample]:
        """What a message says.

        Of what the broker had kept from an unknown time only that a device is offline is still so.

        Args:
            accepted: the message.
            milliseconds: the time of the samples, Unix time.
            now: Unix time in seconds.
        """
        into, message, at = _Samples(milliseconds), accepted.message, milliseconds / 1000
        device = (message.site, message.device)
        offline = isinstance(message, StateMessage) and message.status is DeviceStatus.OFFLINE
        if offline:
            into.add(UP, device, 0)
        if offline or accepted.retained:
            return into.samples
        if not isinstance(message, (AlertMessage, WindowRecord)) or now - at <= LIVE_SECONDS:
            into.add(UP, device, 1)
            into.add(LAST_SEEN, device, at)
        match message:
            case StateMessage():
                into.add(DEVICE_INFO, (*device, message.agent_version), 1)
            case HealthRecord():
                HEALTH.add(into, device, message, present=True)
            case WindowRecord():
                stream = (*device, message.stream)
                into.add(ALARM, stream, message.alarm)
                into.add(WINDOW_AT, stream, at)
                self._window.add(into, stream, message, present=True)
            case AlertMessage():
                _add_alert(into, (*device, message.stream), message)
        return into.samples


class _Samples:
    """Samples of one time, being written down."""

    def __init__(self, milliseconds: int) -> None:
        self.samples: list[Sample] = []
        self._milliseconds = milliseconds

    def add(self, spec: Spec, labels: Sequence[str], value: float) -> None:
        self.samples.append((spec, tuple(labels), value, self._milliseconds))


def _add_alert(into: _Samples, stream: tuple[str, str, str], alert: AlertMessage) -> None:
    """Whether it is raised; a window tells the same, later."""
    raised = alert.status is not AlertStatus.CLEARED
    if alert.cause is Cause.DRIFT:
        into.add(ALARM, stream, raised)
    elif alert.cause is Cause.CLASS_MIX:
        into.add(CLASS_MIX, stream, raised)
    else:
        into.add(CAMERA_FAULT, (*stream, alert.cause.value), raised)
