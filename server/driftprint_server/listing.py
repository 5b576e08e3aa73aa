"""An index of the fleet's streams, to be searched, sorted and counted: what makes the page fast with many devices."""

from __future__ import annotations

import heapq
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum

import msgspec

from driftprint.clock import Clock
from driftprint.messages import AlertMessage
from driftprint_server.device import Dated, Device, Liveness, Stream, raised_at
from driftprint_server.fleet import DeviceKey, Fleet
from driftprint_server.views import AlertView, Figures, Standing, alert_view, is_current, present_streams, standing

MOST_CURRENT = 50
"""Current alerts that are kept."""
MOST_RECENT = 20
"""Alerts that are over and are kept."""

_LOOK_SECONDS = 5.0  # where nothing is heard, devices still go stale
_SHARE = 10.0  # of the time at most a tenth is spent on making indexes


class Condition(str, Enum):
    """What a stream is in, the worst first."""

    ALARM = "alarm"
    FAULT = "fault"
    """Its camera is at fault, or the mix of its classes has changed."""
    STALE = "stale"
    OFFLINE = "offline"
    ONLINE = "online"


_Alert = tuple[Device, Stream, Dated[AlertMessage]]

_NOTHING = Standing(alarm=False, bundle=None, measured=None, outlier_ratio=None)
_RANKS = {condition: rank for rank, condition in enumerate(Condition)}


class Sort(str, Enum):
    """What streams are put in order by."""

    NAME = "name"
    CONDITION = "condition"
    FRAMES_PER_SECOND = "frames_per_second"
    OUTLIER_RATIO = "outlier_ratio"
    EVIDENCE = "evidence"
    BUNDLE = "bundle"
    LAST_SEEN = "last_seen"


# None of these can be part of a cycle, so the garbage collector need not look at them.
class Row(msgspec.Struct, frozen=True, gc=False):
    """A stream, or a device that has none.

    Attributes:
        device: its device.
        stream: None where the device has none.
        liveness: of the device.
        alarm: whether an alert of drift is raised.
        condition: the worst of all.
        bundle: as in ``digits-1``; None where nothing has been reported.
        frames_per_second: None, as the next two, where the device is not online or has not reported.
        outlier_ratio: of the window by count.
        evidence: 1 and more is an alarm.
        text: what is searched, in small letters.
    """

    device: Device
    stream: Stream | None
    liveness: Liveness
    alarm: bool
    condition: Condition
    bundle: str | None
    frames_per_second: float | None
    outlier_ratio: float | None
    evidence: float | None
    text: str


_KEYS: dict[Sort, Callable[[Row], float | str | None]] = {
    Sort.CONDITION: lambda row: _RANKS[row.condition],
    Sort.FRAMES_PER_SECOND: lambda row: row.frames_per_second,
    Sort.OUTLIER_RATIO: lambda row: row.outlier_ratio,
    Sort.EVIDENCE: lambda row: row.evidence,
    Sort.BUNDLE: lambda row: row.bundle,
    Sort.LAST_SEEN: lambda row: row.device.last_seen,
}


class _Entry(msgspec.Struct, frozen=True, gc=False):
    """A device, and what is made of it."""

    device: Device
    liveness: Liveness
    rows: tuple[Row, ...]
    alerts: tuple[_Alert, ...]


@dataclass(frozen=True, slots=True)
class Query:
    """Which streams, in which order.

    Attributes:
        search: words that all must occur in site, device, stream or bundle, in small or capital letters.
        site: only of this one.
        condition: only those in it; ``online``, ``stale`` and ``offline`` are then the device's, alarm or not.
        bundle: only those that run it, as in ``digits-1``; the empty string is for those that run none.
        sort: by what; among equals by site, device and stream.
        descending: the greatest first. What is not known comes last either way.
    """

    search: str = ""
    site: str | None = None
    condition: Condition | None = None
    bundle: str | None = None
    sort: Sort = Sort.NAME
    descending: bool = False


class Index:
    """All streams at one moment; never changes. Its length is how many rows there are.

    Args:
        devices: by site and name.
        now: the server's Unix time.
        stale_after_seconds: silence after which a device is stale.
        version: the fleet's.
        before: an earlier one. What it has of devices that have not changed since is taken over.
    """

    def __init__(
        self,
        devices: Sequence[Device],
        now: float,
        *,
        stale_after_seconds: float,
        version: int,
        before: Index | None = None,
    ) -> None:
        self.now = now
        self.version = version
        self._entries: dict[DeviceKey, _Entry] = {}
        self._rows: list[Row] = []
        alerts: list[_Alert] = []
        known = before._entries if before is not None else {}
        for device in devices:
            key = device.site, device.name
            liveness = device.liveness(now, stale_after_seconds=stale_after_seconds)
            entry = known.get(key)
            if entry is None or entry.device is not device or entry.liveness is not liveness:
                entry = _entry(device, liveness)
            self._entries[key] = entry
            self._rows += entry.rows
            alerts += entry.alerts
        self._orders: dict[tuple[Sort, bool], list[Row]] = {(Sort.NAME, False): self._rows}
        views = [alert_view(*alert) for alert in _latest(alerts, MOST_CURRENT, MOST_RECENT)]
        self.current_alerts: tuple[AlertView, ...] = tuple(view for view in views if view.current)
        self.recent_alerts: tuple[AlertView, ...] = tuple(view for view in views if not view.current)
        self.figures = self._figures(sum(is_current(*alert) for alert in alerts))

    def __len__(self) -> int:
        return len(self._rows)

    def device(self, site: str, name: str) -> tuple[Device, Liveness] | None:
        """A device; None where it is not known."""
        entry = self._entries.get((site, name))
        return (entry.device, entry.liveness) if entry is not None else None

    def select(self, query: Query) -> list[Row]:
        """The streams that are asked for."""
        words = query.search.lower().split()
        return [
            row
            for row in self._ordered(query.sort, query.descending)
            if (query.site is None or row.device.site == query.site)
            and (query.bundle is None or (row.bundle or "") == query.bundle)
            and (query.condition is None or _is_in(row, query.condition))
            and all(word in row.text for word in words)
        ]

    def bundles(self) -> dict[str, Counter[str]]:
        """How many streams run which bundle, by site; the empty string is for those that have not reported."""
        sites: dict[str, Counter[str]] = {}
        for row in self._rows:
            if row.stream is not None:
                sites.setdefault(row.device.site, Counter())[row.bundle or ""] += 1
        return sites

    def _ordered(self, sort: Sort, descending: bool) -> list[Row]:
        """All rows in an order, which is worked out once."""
        if (sort, descending) not in self._orders:
            rows = self._rows
            if sort is Sort.NAME:
                ordered = rows[::-1] if descending else rows
            else:
                key = _KEYS[sort]
                known = [row for row in rows if key(row) is not None]
                unknown = [row for row in rows if key(row) is None]
                ordered = sorted(known, key=lambda row: key(row) or 0, reverse=descending) + unknown
            self._orders[sort, descending] = ordered
        return self._orders[sort, descending]

    def _figures(self, current_alerts: int) -> Figures:
        streams = [row for row in self._rows if row.stream is not None]
        rates = [row.frames_per_second for row in streams if row.frames_per_second is not None]
        return Figures(
            devices=len(self._entries),
            devices_online=sum(entry.liveness is Liveness.ONLINE for entry in self._entries.values()),
            streams=len(streams),
            streams_reporting=len(rates),
            frames_per_second=sum(rates),
            alarms=sum(row.alarm for row in streams),
            current_alerts=current_alerts,
        )


class Listing:
    """Keeps the latest `Index` and makes another one where the fleet has changed, but not all the time.

    Args:
        fleet: what is listed.
        clock: dates the indexes.
        stale_after_seconds: silence after which a device is stale.
        least_age_seconds: an index is used at least this long, and ten times as long as it took to make.
        cpu_seconds: what the thread has used of a processor so far. By the clock, a busy machine would be one where
            indexes are costly.
    """

    def __init__(
        self,
        fleet: Fleet,
        *,
        clock: Clock,
        stale_after_seconds: float,
        least_age_seconds: float = 1.0,
        cpu_seconds: Callable[[], float] = time.thread_time,
    ) -> None:
        self._fleet = fleet
        self._clock = clock
        self._stale_after_seconds = stale_after_seconds
        self._least_age_seconds = least_age_seconds
        self._cpu_seconds = cpu_seconds
        self._lock = threading.Lock()
        self._index: Index | None = None
        self._made_at = 0.0
        self._keep_seconds = 0.0

    def index(self) -> Index:
        """The fleet's streams, as they are or were a moment ago."""
        with self._lock:
            now = self._clock.now()
            age = now.monotonic - self._made_at
            kept = self._index
            if kept is not None and age < self._keep_seconds:
                return kept
            begun, version = self._cpu_seconds(), self._fleet.version
            if kept is not None and kept.version == version and age < _LOOK_SECONDS:
                return kept
            self._index = Index(
                self._fleet.devices(),
                now.wall,
                stale_after_seconds=self._stale_after_seconds,
                version=version,
                before=kept,
            )
            self._made_at = self._clock.now().monotonic
            self._keep_seconds = max(self._least_age_seconds, _SHARE * (self._cpu_seconds() - begun))
            return self._index


def _entry(device: Device, liveness: Liveness) -> _Entry:
    rows = tuple([_row(device, stream, liveness) for stream in present_streams(device)])
    alerts = tuple([(device, stream, alert) for stream in device.streams.values() for alert in stream.alerts.values()])
    return _Entry(device, liveness, rows or (_row(device, None, liveness),), alerts)


def _row(device: Device, stream: Stream | None, liveness: Liveness) -> Row:
    stands = standing(device, stream, liveness) if stream is not None else _NOTHING
    measured = stands.measured
    if stands.alarm:
        condition = Condition.ALARM
    elif measured is not None and (measured.class_mix_alarm or measured.camera_faults):
        condition = Condition.FAULT
    else:
        condition = Condition(liveness.value)
    return Row(
        device=device,
        stream=stream,
        liveness=liveness,
        alarm=stands.alarm,
        condition=condition,
        bundle=stands.bundle,
        frames_per_second=measured.frames_per_second if measured else None,
        outlier_ratio=stands.outlier_ratio,
        evidence=measured.evidence if measured else None,
        text=f"{device.site}/{device.name}/{stream.name if stream else ''} {stands.bundle or ''}".lower(),
    )


def _is_in(row: Row, condition: Condition) -> bool:
    if condition in (Condition.ALARM, Condition.FAULT):
        return row.condition is condition
    return Condition(row.liveness.value) is condition


def _latest(alerts: Sequence[_Alert], most_current: int, most_recent: int) -> list[_Alert]:
    """The latest that are current, then the latest that are over."""

    def when(alert: _Alert) -> tuple[float, str]:
        return raised_at(alert[2]), alert[2].message.alert_id

    current = heapq.nlargest(most_current, (alert for alert in alerts if is_current(*alert)), key=when)
    over = heapq.nlargest(most_recent, (alert for alert in alerts if not is_current(*alert)), key=when)
    return current + over
