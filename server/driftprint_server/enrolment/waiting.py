"""The devices that wait for an operator: few, whoever makes up ids."""

from __future__ import annotations

import threading
from collections import OrderedDict

from pydantic import BaseModel, ConfigDict

from driftprint_server.enrolment.decisions import DeviceKey

MOST_WAITING = 1000
SILENT_SECONDS = 600.0
"""Where there is no room, a device that has been silent for this long makes some. Agents speak every minute."""


class WaitingDevice(BaseModel):
    """A device that nobody has decided about."""

    model_config = ConfigDict(frozen=True)

    site: str
    device: str
    first_seen: float
    """Unix time in seconds by the server's clock, as the next."""
    last_seen: float
    messages: int
    """That were rejected, since the server started."""


class WaitingList:
    """The list, in memory alone: a device that still waits after a restart speaks again. Safe to use from several
    threads.

    Args:
        most: at most so many devices.
    """

    def __init__(self, most: int = MOST_WAITING) -> None:
        self._most = most
        self._lock = threading.Lock()
        self._devices: OrderedDict[DeviceKey, WaitingDevice] = OrderedDict()
        """Who has been silent for longest comes first."""
        self._without_room = 0

    @property
    def without_room(self) -> int:
        """Messages of devices that there was no room for, since the server started."""
        return self._without_room

    def heard(self, site: str, device: str, at: float) -> None:
        """A device has spoken at Unix time `at`."""
        key = (site, device)
        with self._lock:
            known = self._devices.pop(key, None)
            if known is None and not self._make_room(at):
                self._without_room += 1
                return
            first_seen, messages = (at, 0) if known is None else (known.first_seen, known.messages)
            self._devices[key] = WaitingDevice(
                site=site, device=device, first_seen=first_seen, last_seen=at, messages=messages + 1
            )

    def remove(self, site: str, device: str) -> None:
        """It waits no longer."""
        with self._lock:
            self._devices.pop((site, device), None)

    def all(self) -> list[WaitingDevice]:
        """All of them, by site and device."""
        with self._lock:
            return [self._devices[key] for key in sorted(self._devices)]

    def _make_room(self, now: float) -> bool:
        if len(self._devices) < self._most:
            return True
        key, silent = next(iter(self._devices.items()))
        if now - silent.last_seen < SILENT_SECONDS:
            return False
        del self._devices[key]
        return True
