"""How much one device, and all together, may ask of the server.

What goes beyond is rejected by a reason of its own, and its device sends it again: nothing is lost where it was in good
faith.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from driftprint.messages import AlertMessage
from driftprint.topics import PREFIX
from driftprint_server.device import Dated, Device
from driftprint_server.records import FleetMessage
from driftprint_server.series import (
    HEALTH,
    STATE,
    TURN_SECONDS,
    Names,
    Series,
    SeriesAccount,
    is_stream,
    part_of,
    series_of_device,
    series_of_part,
)

DEVICE_RESERVE = 100
"""So many messages on a device's own topics are let in beyond its streams' own: they are few, and not sent again."""

STRANGERS_BURST_SECONDS = 10.0

_SITE_AT = PREFIX.count("/") + 1
_LEAST_PRUNED = 1024


class CapSettings(BaseModel):
    """The table ``[caps]``: how much one device, and all together, may ask of the server."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    messages_per_second: Annotated[float, Field(gt=0, le=100_000)] = 50.0
    """Of one device, in the long run."""
    message_burst: Annotated[int, Field(ge=1, le=1_000_000)] = 3000
    """So many of one device come in at once, as when it has been offline; what is beyond it sends again."""
    strangers_per_second: Annotated[float, Field(gt=0, le=100_000)] = 2000.0
    """Messages of all devices together that are not known yet; ten seconds' worth at once."""
    series_per_device: Annotated[int, Field(ge=50, le=1_000_000)] = 4000
    """Series that one device makes within an hour. A message that would make more is rejected."""
    series: Annotated[int, Field(ge=50, le=100_000_000)] = 1_000_000
    """Series of all devices together. Alerts are let in beyond it."""


class RateLimiter:
    """Lets messages in at a steady rate, and bursts of them after a pause.

    For each device one number is kept: when it will have earned all that it has sent (the generic cell rate algorithm
    of ITU-T I.371). Devices that the fleet does not know share one, so whoever makes up ids cannot fill the memory, nor
    take anything from those that are known. For one thread.

    Args:
        settings: the rates.
        known: whether a site's device is one of the fleet's.
    """

    def __init__(self, settings: CapSettings, *, known: Callable[[str, str], bool]) -> None:
        self._known = known
        self._interval = 1 / settings.messages_per_second
        self._most_ahead = (settings.message_burst - 1) * self._interval
        self._strangers_interval = 1 / settings.strangers_per_second
        self._strangers_earned = float("-inf")
        self._earned: dict[tuple[str, str], float] = {}
        """Monotonic seconds. Where that is past, it says no more than its absence would."""
        self._prune_at = _LEAST_PRUNED

    def __len__(self) -> int:
        """Of how many devices something is remembered."""
        return len(self._earned)

    def admits(self, topic: str, now: float) -> bool:
        """Whether to let in a message that came at monotonic time `now`, on whatever topic."""
        parts = topic.split("/")
        if len(parts) < _SITE_AT + 2:
            return self._admits_stranger(now)
        key = site, device = parts[_SITE_AT], parts[_SITE_AT + 1]
        if not self._known(site, device):
            return self._admits_stranger(now)
        earned = max(self._earned.get(key, now), now)
        reserve = DEVICE_RESERVE * self._interval if len(parts) == _SITE_AT + 3 else 0.0
        if earned - now > self._most_ahead + reserve:
            return False
        self._earned[key] = earned + self._interval
        if len(self._earned) >= self._prune_at:
            self._prune(now)
        return True

    def _admits_stranger(self, now: float) -> bool:
        earned = max(self._strangers_earned, now)
        if earned - now > STRANGERS_BURST_SECONDS:
            return False
        self._strangers_earned = earned + self._strangers_interval
        return True

    def _prune(self, now: float) -> None:
        self._earned = {key: earned for key, earned in self._earned.items() if earned > now}
        self._prune_at = max(_LEAST_PRUNED, 2 * len(self._earned))


class SeriesCaps:
    """Holds the series that a fleet makes against their caps. For the thread that changes the fleet.

    Args:
        settings: the caps.
        max_classes: of a stream that are shown.
        devices: those known from before.
    """

    def __init__(self, settings: CapSettings, *, max_classes: int, devices: Iterable[Device] = ()) -> None:
        self._names = Names(max_classes)
        self._account = SeriesAccount(
            per_device=settings.series_per_device, overall=settings.series, present=sum(map(self.series, devices))
        )
        self._hour: float | None = None

    def __len__(self) -> int:
        """How much is remembered of what there was: so many devices and names."""
        return len(self._account)

    @property
    def total(self) -> int:
        """The series that all devices have made since the hour began, at most: absent ones are taken to be there."""
        return self._account.total

    def series(self, device: Device | None) -> int:
        """The series of a device while it is online, at most."""
        return sum(self._of_device(device).values())

    def admit(self, before: Device | None, after: Device, message: FleetMessage) -> None:
        """Admit a message.

        Args:
            before: its device; None for a new one.
            after: what it becomes by the message.
            message: as it came.

        Raises:
            MessageError: with reason ``too_many_series``.
        """
        key, part = (after.site, after.name), part_of(message)
        if before is None or before.instance != after.instance:
            had, has = self._of_device(before), self._of_device(after)
        elif self._names_nothing_new(before, part, message):
            return
        else:
            had, has = self._of_part(before, part), self._of_part(after, part)
        self._account.admit(
            key,
            had=lambda: self.series(before),
            before=had,
            said={**has, **series_of_part(key, part, self._names.of(message))},
            after=has,
            alert=isinstance(message, AlertMessage),
        )

    def forget(self, before: Device, after: Device | None) -> None:
        """Some streams of a device, or all of it, are no longer shown."""
        self._account.forget((before.site, before.name), had=self.series(before), has=self.series(after))

    def tick(self, now: float) -> None:
        """It is Unix time `now`: at each full hour counting begins anew."""
        hour = now // TURN_SECONDS
        if hour != self._hour:
            self._hour = hour
            self._account.turn()

    def _names_nothing_new(self, device: Device, part: str, message: FleetMessage) -> bool:
        if isinstance(message, AlertMessage):
            return part in device.streams
        return self._names.alike(_latest(device, part), message)

    def _of_device(self, device: Device | None) -> Series:
        if device is None:
            return {}
        series = dict(series_of_device((device.site, device.name)))
        for part in (STATE, HEALTH, *device.streams):
            series |= self._of_part(device, part)
        return series

    def _of_part(self, device: Device, part: str) -> Series:
        if is_stream(part) and part not in device.streams:
            return {}
        return series_of_part((device.site, device.name), part, self._names.of(_latest(device, part)))


def _latest(device: Device, part: str) -> FleetMessage | None:
    """The latest message of a part of a device that names anything."""
    if part in device.streams:
        dated: Dated[FleetMessage] | None = device.streams[part].window
    else:
        dated = {STATE: device.state, HEALTH: device.health}.get(part)
    return None if dated is None else dated.message
