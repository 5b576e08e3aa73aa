"""How much one device, and all together, may ask of the server.

What goes beyond is rejected by a reason of its own, and its device sends it again: nothing is lost where it was in good
faith.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from driftprint.errors import MessageError
from driftprint.exposition import DEVICE, DEVICE_CATALOGUE, DEVICE_INFO, STREAM
from driftprint.messages import CAMERA_FAULTS, WindowKind
from driftprint.topics import PREFIX
from driftprint_server.counts import Reason
from driftprint_server.device import Device, Stream
from driftprint_server.records import CountStatsRecord

DEVICE_RESERVE = 100
"""So many messages on a device's own topics are let in beyond its streams' own: they are few, and not sent again."""

STRANGERS_BURST_SECONDS = 10.0

_SITE_AT = PREFIX.count("/") + 1
_LEAST_PRUNED = 1024

_SERIES_OF_DEVICE = sum(spec.labels in (DEVICE, DEVICE_INFO.labels) for spec in DEVICE_CATALOGUE)
_SERIES_OF_STREAM = sum(spec.labels == STREAM for spec in DEVICE_CATALOGUE)
_SERIES_OF_WINDOW = len(CAMERA_FAULTS) + len(WindowKind) + 1  # and its bundle


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
    """Series of one device in ``/metrics``. A message that would make more is rejected."""
    series: Annotated[int, Field(ge=50, le=100_000_000)] = 1_000_000
    """Series of all devices together."""


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
        """Whether to let in a message that came at monotonic time `now`. Its topic is that of a subscription."""
        parts = topic.split("/")
        site, device = parts[_SITE_AT : _SITE_AT + 2]
        if not self._known(site, device):
            return self._admits_stranger(now)
        key = (site, device)
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
    """How many series the fleet makes in ``/metrics``. For the thread that changes the fleet.

    Args:
        settings: the caps.
        max_classes: of a stream that are shown.
        devices: those known from before.
    """

    def __init__(self, settings: CapSettings, *, max_classes: int, devices: Iterable[Device] = ()) -> None:
        self._per_device = settings.series_per_device
        self._overall = settings.series
        self._max_classes = max_classes
        self._total = sum(map(self.series, devices))

    @property
    def total(self) -> int:
        """The series of all devices, at most: those of absent ones are not taken off."""
        return self._total

    def series(self, device: Device | None) -> int:
        """The series of a device while it is online, at most."""
        if device is None:
            return 0
        return _SERIES_OF_DEVICE + sum(map(self._of_stream, device.streams.values()))

    def more(self, before: Device | None, after: Device | None) -> int:
        """How many more series there are when a device has become another; None: it is new, or forgotten."""
        if before is None or after is None:
            return self.series(after) - self.series(before)
        if before.streams is after.streams:
            return 0
        return sum(
            self._of_stream(after.streams.get(name)) - self._of_stream(before.streams.get(name))
            for name in before.streams.keys() | after.streams.keys()
            if before.streams.get(name) is not after.streams.get(name)
        )

    def check(self, before: Device | None, after: Device) -> int:
        """See to it that a device may become what it would after a message. One that grows no further may always.

        Returns:
            How many more series that makes, for `add`.

        Raises:
            MessageError: with reason ``too_many_series``.
        """
        more = self.more(before, after)
        if more <= 0:
            return more
        if (series := self.series(after)) > self._per_device:
            raise MessageError(f"{series} series, a device may have {self._per_device}", reason=Reason.TOO_MANY_SERIES)
        if self._total + more > self._overall:
            raise MessageError(
                f"all devices together have {self._total} series of {self._overall}", reason=Reason.TOO_MANY_SERIES
            )
        return more

    def add(self, more: int) -> None:
        """There are so many more series now; less than none where a device has shrunk, or been forgotten."""
        self._total += more

    def _of_stream(self, stream: Stream | None) -> int:
        if stream is None:
            return 0
        if stream.window is None:
            return _SERIES_OF_STREAM
        window = stream.window.message
        in_window = 0
        for stats in window.windows:
            if isinstance(stats, CountStatsRecord):
                in_window = min(len(stats.classes), self._max_classes) + len(stats.score_quantiles)
                break
        return _SERIES_OF_STREAM + _SERIES_OF_WINDOW + len(window.faults_total) + in_window
