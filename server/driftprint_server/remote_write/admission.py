"""What a replica takes in: it knows no fleet, and yet nobody may make a database grow without end."""

from __future__ import annotations

from dataclasses import dataclass, field

from driftprint.clock import Clock
from driftprint.errors import MessageError
from driftprint_server.caps import CapSettings
from driftprint_server.counts import Reason
from driftprint_server.device import MOST_STREAMS
from driftprint_server.enrolment.gate import matcher
from driftprint_server.enrolment.settings import EnrolmentSettings, Mode
from driftprint_server.records import FleetMessage
from driftprint_server.remote_write.samples import Sampler
from driftprint_server.sinks import Accepted

ACTIVE_SECONDS = 3600.0
"""A series that was not written for this long, or for up to twice as long, is no longer counted."""

_DeviceKey = tuple[str, str]


@dataclass(slots=True)
class _Active:
    """What a device has lately written: hashes, for the names would take many times as much memory."""

    series: set[int] = field(default_factory=set)
    """Of this hour."""
    former: set[int] = field(default_factory=set)
    """Of the hour before, and not of this one."""
    streams: dict[str, bool] = field(default_factory=dict)
    """Whether they are of this hour."""

    def __len__(self) -> int:
        return len(self.series) + len(self.former)

    def turn(self) -> None:
        """An hour is over."""
        self.series, self.former = set(), self.series
        self.streams = {name: False for name, of_this_hour in self.streams.items() if of_this_hour}


class Admission:
    """Admits messages of devices that are enrolled, and that do not make too much of the databases.

    What is counted are the series written in the last hour, as databases of time series do. So a device that has made
    too many, with a class or a bundle of another name in each message, is let in again once they have gone cold.

    Args:
        enrolment: which devices are taken in; a replica knows of no operator's decisions.
        caps: how many series there may be.
        max_devices: how many devices there may be.
        max_classes: of a stream that are written.
        clock: tells the hours.
    """

    def __init__(
        self, enrolment: EnrolmentSettings, caps: CapSettings, *, max_devices: int, max_classes: int, clock: Clock
    ) -> None:
        self._listed = matcher(enrolment.devices) if enrolment.mode is not Mode.OPEN else lambda _name: True
        self._caps = caps
        self._max_devices = max_devices
        self._clock = clock
        self._sampler = Sampler(max_classes)
        self._devices: dict[_DeviceKey, _Active] = {}
        self._series = 0
        self._turn_at = clock.now().monotonic + ACTIVE_SECONDS

    @property
    def devices(self) -> int:
        """So many have lately written something."""
        return len(self._devices)

    @property
    def series(self) -> int:
        """So many have lately been written."""
        return self._series

    def knows(self, site: str, device: str) -> bool:
        """Whether a device has lately written something. From any thread."""
        return (site, device) in self._devices

    def check(self, message: FleetMessage) -> None:
        """Admit a message; what it says is then counted as written.

        Raises:
            MessageError: with reason ``not_enrolled``, ``too_many_devices``, ``too_many_streams`` or
                ``too_many_series``; it has then cost nothing.
        """
        if (now := self._clock.now()).monotonic >= self._turn_at:
            self._turn(now.monotonic)
        key = (message.site, message.device)
        active = self._devices[key] if key in self._devices else self._new(key)
        stream: str | None = getattr(message, "stream", None)
        if stream is not None and stream not in active.streams and len(active.streams) >= MOST_STREAMS:
            raise MessageError(f"a device may have {MOST_STREAMS} streams", reason=Reason.TOO_MANY_STREAMS)
        samples = self._sampler.samples(Accepted(message, now.wall), 0, 0.0)
        series = {hash((spec.name, labels)) for spec, labels, _, _ in samples}
        if not series <= active.series:
            self._count(active, series)
        if stream is not None:
            active.streams[stream] = True
        self._devices[key] = active

    def _new(self, key: _DeviceKey) -> _Active:
        name = "/".join(key)
        if not self._listed(name):
            raise MessageError(f"{name} is not enrolled", reason=Reason.NOT_ENROLLED)
        if len(self._devices) >= self._max_devices:
            raise MessageError(f"{self._max_devices} devices are known already", reason=Reason.TOO_MANY_DEVICES)
        return _Active()

    def _count(self, active: _Active, series: set[int]) -> None:
        more = len(series - active.series - active.former)
        if more and len(active) + more > self._caps.series_per_device:
            raise MessageError(
                f"{len(active) + more} series in an hour, a device may have {self._caps.series_per_device}",
                reason=Reason.TOO_MANY_SERIES,
            )
        if more and self._series + more > self._caps.series:
            raise MessageError(
                f"all devices together have {self._series} series of {self._caps.series}",
                reason=Reason.TOO_MANY_SERIES,
            )
        active.series |= series
        active.former -= series
        self._series += more

    def _turn(self, now: float) -> None:
        for active in self._devices.values():
            active.turn()
        self._devices = {key: active for key, active in self._devices.items() if active}
        self._series = sum(map(len, self._devices.values()))
        self._turn_at = now + ACTIVE_SECONDS
