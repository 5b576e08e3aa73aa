"""All that is known of all devices."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from msgspec.structs import replace

from driftprint.errors import MessageError
from driftprint.messages import DeviceMessage, DeviceStatus, StateMessage
from driftprint_server.caps import SeriesCaps
from driftprint_server.counts import Reason
from driftprint_server.device import Device, Liveness, apply, not_after
from driftprint_server.records import FleetMessage, kept

DeviceKey = tuple[str, str]
"""Site and device."""


@dataclass(frozen=True, slots=True)
class Change:
    """What the store does not know yet of one device.

    Attributes:
        before: as last saved; None for a device that the store does not have.
        after: as it is now; None for one that has been forgotten.
    """

    before: Device | None
    after: Device | None


class Fleet:
    """The devices, and which of them have changed since they were saved.

    One thread changes it; any may read.

    Args:
        devices: those known from before.
        max_devices: messages of further devices are refused.
        admit: raises MessageError for a device, at a Unix time, that is not to be taken in.
        caps: how many series there may be; None for any number.
        forget_after_seconds: how long a device or stream may be silent until it is forgotten.
    """

    def __init__(
        self,
        devices: Iterable[Device] = (),
        *,
        max_devices: int,
        forget_after_seconds: float,
        admit: Callable[[str, str, float], None] = lambda _site, _device, _at: None,
        caps: SeriesCaps | None = None,
    ) -> None:
        self._devices: dict[DeviceKey, Device] = {_key(device): device for device in devices}
        self._saved: dict[DeviceKey, Device | None] = {}
        """Of the devices that have changed: as last saved."""
        self._max_devices = max_devices
        self._admit = admit
        self._caps = caps
        self._forget_after_seconds = forget_after_seconds
        self._settled = False
        self._version = 0
        self._lock = threading.Lock()

    def knows(self, site: str, device: str) -> bool:
        """Whether a device is one of them."""
        return (site, device) in self._devices

    def device(self, site: str, name: str) -> Device | None:
        """A device as it is now; None where it is not known."""
        return self._devices.get((site, name))

    @property
    def version(self) -> int:
        """Another number whenever something has changed."""
        return self._version

    def devices(self) -> tuple[Device, ...]:
        """The devices as they are now, by site and name."""
        with self._lock:
            return tuple(self._devices[key] for key in sorted(self._devices))

    def by_state(self, now: float, *, stale_after_seconds: float) -> dict[Liveness, int]:
        """How many devices are online, stale and offline at Unix time `now`."""
        states = dict.fromkeys(Liveness, 0)
        for device in list(self._devices.values()):
            states[device.liveness(now, stale_after_seconds=stale_after_seconds)] += 1
        return states

    def apply(self, message: DeviceMessage | FleetMessage, received_at: float, *, retained: bool = False) -> bool:
        """Take a message in; see `driftprint_server.device.apply`.

        Returns:
            False where it says that a device is gone which is none of these: a broker keeps that for ever, and one that
            has been forgotten would be back whenever the broker is.

        Raises:
            MessageError: where the message is refused; nothing has then changed.
        """
        key = (message.site, message.device)
        self._admit(message.site, message.device, received_at)
        known = self._devices.get(key)
        if known is None and retained and _is_goodbye(message):
            return False
        if known is None and len(self._devices) >= self._max_devices:
            raise MessageError(f"{self._max_devices} devices are known already", reason=Reason.TOO_MANY_DEVICES)
        record = kept(message)
        device = apply(known, record, received_at, retained=retained)
        if self._caps is not None:
            self._caps.admit(known, device, record)
        self._put(key, device)
        return True

    def forget(self, site: str, device: str) -> None:
        """Forget a device now, as when its retained state is cleared at the broker."""
        if (known := self._devices.get((site, device))) is not None:
            self._shrink(known, None)

    def forget_silent(self, now: float, *, settled: bool = True) -> None:
        """Forget devices, and streams of devices, that have been silent for too long at Unix time `now`.

        Args:
            now: by a clock that may have been ahead before: later dates are taken to be this one.
            settled: whether that clock can be gone by; else nothing is forgotten.
        """
        if self._caps is not None:
            self._caps.tick(now)
        if settled and not self._settled:
            for device in list(self._devices.values()):
                self._put(_key(device), not_after(device, now))
        self._settled = settled
        if not settled:
            return
        end = now - self._forget_after_seconds
        for device in list(self._devices.values()):
            if (device.last_seen or device.heard_at) < end:
                self._shrink(device, None)
                continue
            kept = {
                name: stream
                for name, stream in device.streams.items()
                if any(dated.at >= end for dated in (stream.window, *stream.alerts.values()) if dated is not None)
            }
            if len(kept) < len(device.streams):
                self._shrink(device, replace(device, streams=kept))

    def unsaved(self) -> list[Change]:
        """What has changed since it was last saved."""
        return [Change(before, self._devices.get(key)) for key, before in self._saved.items()]

    def saved(self) -> None:
        """All of it has been saved."""
        self._saved.clear()

    def _shrink(self, known: Device, device: Device | None) -> None:
        if self._caps is not None:
            self._caps.forget(known, device)
        self._put(_key(known), device)

    def _put(self, key: DeviceKey, device: Device | None) -> None:
        known = self._devices.get(key)
        if device == known:
            return
        with self._lock:
            self._saved.setdefault(key, known)
            if device is None:
                del self._devices[key]
            else:
                self._devices[key] = device
            self._version += 1


def _is_goodbye(message: DeviceMessage | FleetMessage) -> bool:
    return isinstance(message, StateMessage) and message.status is DeviceStatus.OFFLINE


def _key(device: Device) -> DeviceKey:
    return (device.site, device.name)
