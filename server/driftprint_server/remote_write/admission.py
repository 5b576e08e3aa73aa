"""What a replica takes in: it knows no fleet, and yet nobody may make a database grow without end."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from driftprint.clock import Clock
from driftprint.errors import MessageError
from driftprint.messages import AlertMessage
from driftprint_server.caps import CapSettings
from driftprint_server.counts import Reason
from driftprint_server.device import MOST_STREAMS
from driftprint_server.enrolment.gate import matcher
from driftprint_server.enrolment.settings import EnrolmentSettings, Mode
from driftprint_server.records import FleetMessage
from driftprint_server.series import (
    SERIES_OF_DEVICE,
    SERIES_OF_STREAM,
    TURN_SECONDS,
    DeviceKey,
    Names,
    SeriesAccount,
    is_stream,
    part_of,
    series_of_device,
    series_of_part,
)

_HASHES = "q"
"""Names are kept as the bytes of an array of this type, for they are those of a million devices."""
_HASH_BYTES = array(_HASHES).itemsize


@dataclass(slots=True)
class _Heard:
    """What a device has lately named, by the part of it that spoke."""

    parts: dict[str, bytes] = field(default_factory=dict)
    """Since the last turn."""
    silent: dict[str, bytes] = field(default_factory=dict)
    """In the hour before, and not since."""

    def names(self, part: str) -> bytes | None:
        """None where it was not heard lately."""
        return self.parts.get(part, self.silent.get(part))

    def streams(self) -> int:
        """How many have lately spoken."""
        return _streams(self.parts) + _streams(self.silent)

    def hear(self, part: str, names: bytes) -> None:
        """A part has named this."""
        self.silent.pop(part, None)
        self.parts[part] = names

    def series(self) -> int:
        """How many series it has lately made, at most."""
        if not self.parts and not self.silent:
            return 0
        return SERIES_OF_DEVICE + _series(self.parts) + _series(self.silent)

    def turn(self) -> int:
        """An hour is over; returns how many series are no longer counted."""
        fewer = _series(self.silent) + (0 if self.parts else SERIES_OF_DEVICE)
        self.parts, self.silent = {}, self.parts
        return fewer


class Admission:
    """Admits messages of devices that are enrolled, and that do not make too much of the databases.

    What a device has not written for an hour or two is no longer counted, as in databases of time series.

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
        self._max_devices = max_devices
        self._clock = clock
        self._names = Names(max_classes)
        self._account = SeriesAccount(per_device=caps.series_per_device, overall=caps.series)
        self._devices: dict[DeviceKey, _Heard] = {}
        self._turn_at = clock.now().monotonic + TURN_SECONDS

    @property
    def devices(self) -> int:
        """So many have lately written something."""
        return len(self._devices)

    @property
    def series(self) -> int:
        """So many have lately been written, at most."""
        return self._account.total

    def knows(self, site: str, device: str) -> bool:
        """Whether a device has lately written something. From any thread."""
        return (site, device) in self._devices

    def check(self, message: FleetMessage) -> None:
        """Admit a message; what it says is then counted as written.

        Raises:
            MessageError: with reason ``not_enrolled``, ``too_many_devices``, ``too_many_streams`` or
                ``too_many_series``; it has then cost nothing.
        """
        if (now := self._clock.now().monotonic) >= self._turn_at:
            self._turn(now)
        key, part = (message.site, message.device), part_of(message)
        known = self._devices.get(key)
        heard = known or self._new(key)
        former = heard.names(part)
        if former is None and is_stream(part) and heard.streams() >= MOST_STREAMS:
            raise MessageError(f"a device may have {MOST_STREAMS} streams", reason=Reason.TOO_MANY_STREAMS)
        alert = isinstance(message, AlertMessage)
        names = former if alert and former is not None else _packed(self._names.of(message))
        if names != former:
            before = {} if former is None else series_of_part(key, part, array(_HASHES, former))
            after = series_of_part(key, part, array(_HASHES, names))
            if known is None:
                after = {**series_of_device(key), **after}
            self._account.admit(key, had=heard.series, before=before, said=after, after=after, alert=alert)
        heard.hear(part, names)
        self._devices[key] = heard

    def _new(self, key: DeviceKey) -> _Heard:
        name = "/".join(key)
        if not self._listed(name):
            raise MessageError(f"{name} is not enrolled", reason=Reason.NOT_ENROLLED)
        if len(self._devices) >= self._max_devices:
            raise MessageError(f"{self._max_devices} devices are known already", reason=Reason.TOO_MANY_DEVICES)
        return _Heard()

    def _turn(self, now: float) -> None:
        self._account.turn(fewer=sum(heard.turn() for heard in self._devices.values()))
        self._devices = {key: heard for key, heard in self._devices.items() if heard.silent}
        self._turn_at = now + TURN_SECONDS


def _streams(parts: Iterable[str]) -> int:
    return sum(map(is_stream, parts))


def _series(parts: Mapping[str, bytes]) -> int:
    return SERIES_OF_STREAM * _streams(parts) + sum(map(len, parts.values())) // _HASH_BYTES


def _packed(names: set[int]) -> bytes:
    return array(_HASHES, sorted(names)).tobytes()
