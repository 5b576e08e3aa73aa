"""Which series devices make, and how many of them within an hour.

A series that is gone from ``/metrics`` is in the database all the same. So what counts is not how many there are, but
how many there have been: a device that gives its classes new names in each message makes more and more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TypeAlias

from driftprint.errors import MessageError
from driftprint.exposition import (
    BUNDLE_ERROR,
    DEVICE,
    DEVICE_CATALOGUE,
    DEVICE_INFO,
    STREAM,
    first_window,
    shown_classes,
    window_readings,
)
from driftprint.exposition import HEALTH as HEALTH_READINGS
from driftprint.messages import CAMERA_FAULTS, AlertMessage, StateMessage, WindowKind
from driftprint.topics import DeviceTopic
from driftprint_server.counts import Reason
from driftprint_server.records import FleetMessage, HealthRecord, WindowRecord

TURN_SECONDS = 3600.0
"""Counting begins anew this often, with what devices have then."""

SERIES_OF_DEVICE = sum(spec.labels == DEVICE for spec in DEVICE_CATALOGUE)
"""At most, of a device that names nothing."""
SERIES_OF_STREAM = (
    sum(spec.labels == STREAM and spec is not BUNDLE_ERROR for spec in DEVICE_CATALOGUE)
    + len(CAMERA_FAULTS)
    + len(WindowKind)
)
"""At most, of a stream that names nothing."""

DeviceKey: TypeAlias = tuple[str, str]
"""Site and device."""

Series: TypeAlias = Mapping[int, int]
"""How many there are under each name. Names are hashes: in full they would take many times as much memory."""

STATE, HEALTH = DeviceTopic.STATE.value, DeviceTopic.HEALTH.value
"""The parts of a device that are no streams; none of these is named like them."""

_BY_COUNT = WindowKind.COUNT  # looked up once, for an enumeration is slow to give its members


def part_of(message: FleetMessage) -> str:
    """Which part of its device speaks in a message: a stream, or else its state or its health."""
    if isinstance(message, (WindowRecord, AlertMessage)):
        return message.stream
    return HEALTH if isinstance(message, HealthRecord) else STATE


def is_stream(part: str) -> bool:
    """Whether a part of a device is a stream."""
    return part != STATE and part != HEALTH


def series_of_device(key: DeviceKey) -> Series:
    """What a device makes whatever it says."""
    return {hash(key): SERIES_OF_DEVICE}


def series_of_part(key: DeviceKey, part: str, names: Iterable[int]) -> Series:
    """What a part of a device makes.

    Args:
        key: the device.
        part: see `part_of`.
        names: what it names, see `Names`.
    """
    series = {hash((key, part, name)): 1 for name in names}
    return {hash((key, part)): SERIES_OF_STREAM, **series} if is_stream(part) else series


class Names:
    """What devices name in messages: classes, faults, quantiles, bundles, versions. Each makes one series.

    Args:
        max_classes: of a stream that are shown.
    """

    def __init__(self, max_classes: int) -> None:
        self._max_classes = max_classes
        self._window = window_readings(max_classes)

    def of(self, message: FleetMessage | None) -> set[int]:
        """The hashes of what a message names."""
        match message:
            case WindowRecord():
                return set(map(hash, self._window.names(message)))
            case HealthRecord():
                return set(map(hash, HEALTH_READINGS.names(message)))
            case StateMessage():
                return {hash((DEVICE_INFO.name, message.agent_version))}
        return set()

    def alike(self, known: FleetMessage | None, message: FleetMessage) -> bool:
        """Whether a message names the same as another of the same part. This is fast: almost all do."""
        if isinstance(message, WindowRecord):
            return isinstance(known, WindowRecord) and self._windows_alike(known, message)
        if isinstance(message, HealthRecord):
            return isinstance(known, HealthRecord) and known.bundle_errors.keys() == message.bundle_errors.keys()
        if isinstance(message, StateMessage):
            return isinstance(known, StateMessage) and known.agent_version == message.agent_version
        return False

    def _windows_alike(self, known: WindowRecord, window: WindowRecord) -> bool:
        if known.bundle != window.bundle or known.faults_total.keys() != window.faults_total.keys():
            return False
        before, after = first_window(known, _BY_COUNT), first_window(window, _BY_COUNT)
        if before is None or after is None:
            return before is after
        return before.score_quantiles.keys() == after.score_quantiles.keys() and (
            shown_classes(before, self._max_classes) == shown_classes(after, self._max_classes)
        )


class SeriesAccount:
    """How many series devices have made since an hour began: those that they had then and those that were new.

    Of a device that names the same things in all its messages nothing is kept, of another a number, and the hashes of
    what it no longer has: a name that comes and goes counts once. For one thread.

    Args:
        per_device: how many one device may make; a message that would make more is refused.
        overall: how many all together may make. Alerts are let in beyond it, for they must be heard; the other caps
            bound them.
        present: how many there are now.
    """

    def __init__(self, *, per_device: int, overall: int, present: int = 0) -> None:
        self._per_device = per_device
        self._overall = overall
        self._present = present
        self._total = present
        self._made: dict[DeviceKey, int] = {}
        """Of the devices that have changed since the hour began."""
        self._gone: set[int] = set()

    @property
    def total(self) -> int:
        """So many have been made by all devices together since the hour began."""
        return self._total

    def __len__(self) -> int:
        """Of how many devices and names something is remembered."""
        return len(self._made) + len(self._gone)

    def admit(
        self,
        key: DeviceKey,
        *,
        had: Callable[[], int],
        before: Series,
        said: Series,
        after: Series,
        alert: bool,
    ) -> None:
        """Admit a message of a device, or a part of it, whose series change.

        Args:
            key: the device.
            had: says how many it had as a whole before the message.
            before: what there was.
            said: what the message makes.
            after: what there is now: without what was said where the message came too late to be shown.
            alert: whether it is one.

        Raises:
            MessageError: with reason ``too_many_series``; nothing has then changed. What makes no new series is always
                admitted.
        """
        made = self._made[key] if key in self._made else had()
        more = sum(number for name, number in said.items() if name not in before and name not in self._gone)
        if more:
            self._check(made, more, alert=alert)
        self._made[key] = made + more
        self._total += more
        self._present += sum(after.values()) - sum(before.values())
        self._gone.update(name for name in (*before, *said) if name not in after)

    def forget(self, key: DeviceKey, *, had: int, has: int) -> None:
        """A device has fewer series, without having said so. If they come again they are new."""
        self._made.setdefault(key, had)
        self._present += has - had

    def turn(self, *, fewer: int = 0) -> None:
        """An hour is over; what devices have counts for the next one, but for so many of those that they had."""
        self._present -= fewer
        self._made.clear()
        self._gone.clear()
        self._total = self._present

    def _check(self, made: int, more: int, *, alert: bool) -> None:
        if made + more > self._per_device:
            raise MessageError(
                f"{made + more} series in an hour, a device may make {self._per_device}", reason=Reason.TOO_MANY_SERIES
            )
        if self._total + more > self._overall and not alert:
            raise MessageError(
                f"all devices together have made {self._total} series of {self._overall}",
                reason=Reason.TOO_MANY_SERIES,
            )
