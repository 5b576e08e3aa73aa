"""What a rollout is, and what is known of each stream in it: plain values."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple

LEVEL = 0.01
"""The chance to stop a bundle that alarms no more than the old ones."""


class BundleId(NamedTuple):
    """Which bundle."""

    name: str
    version: int

    def __str__(self) -> str:
        return f"{self.name}-{self.version}"


class DeviceKey(NamedTuple):
    """Which device."""

    site: str
    device: str


class StreamKey(NamedTuple):
    """Which stream."""

    site: str
    device: str
    stream: str

    @property
    def of_device(self) -> DeviceKey:
        """Its device."""
        return DeviceKey(self.site, self.device)


@dataclass(frozen=True, slots=True)
class Sighting:
    """What is known of a stream at this moment.

    Attributes:
        key: which stream.
        online: whether its device is.
        online_since: when its device last said hello. Unix time by the server's clock, as all times here.
        instance: the id of the device's store; totals are of this one.
        bundle: what it runs.
        frames: scored in all.
        alarms: alerts of drift raised in all.
        alarm: whether one is raised now.
        promise: false alarms a frame that the device's budget allows; 0 where it has not said.
        error: why it does not run what was wanted; empty where it does not say.
        error_at: when the device last spoke of errors, of this or none.
        unfetched: whether the error says only that the bundle could not be fetched so far.
    """

    key: StreamKey
    online: bool
    online_since: float
    instance: str
    bundle: BundleId
    frames: int
    alarms: int
    alarm: bool
    promise: float = 0.0
    error: str = ""
    error_at: float = 0.0
    unfetched: bool = False


class Status(str, Enum):
    """Where a rollout is in its life."""

    RUNNING = "running"
    STOPPED = "stopped"
    """By an operator, or by itself; nobody else is given the bundle."""
    DONE = "done"
    """All stages are over. It holds on: a device that comes later gets the bundle, too."""
    SUPERSEDED = "superseded"
    """A later one has reached all that this one did."""


@dataclass(frozen=True, slots=True)
class Exposure:
    """Frames at which an alarm could have been raised, and how many were."""

    frames: int = 0
    alarms: int = 0

    def __add__(self, other: Exposure) -> Exposure:
        return Exposure(self.frames + other.frames, self.alarms + other.alarms)


@dataclass(frozen=True, slots=True)
class Evidence:
    """How much speaks against a bundle.

    Attributes:
        old: what devices did with other bundles.
        new: what they did with the new one.
        log_e: the log of the test's value.
    """

    old: Exposure
    new: Exposure
    log_e: float

    @property
    def stops(self) -> bool:
        """Whether it is enough."""
        return self.log_e >= math.log(1 / LEVEL)

    @property
    def share(self) -> float:
        """How far it is on the way there: from 0 to 1."""
        return min(1.0, max(0.0, self.log_e / math.log(1 / LEVEL)))


@dataclass(frozen=True, slots=True)
class Hold:
    """Why a rollout does not go on from its stage for now. A wait, not a stop: it goes on once that is over.

    Attributes:
        why: as in ``north/pi-3 is in alarm with it``.
        since: when it began to be held, for this or another reason. Unix time.
        told: whether it has lasted so long that people have been told of it.
    """

    why: str
    since: float
    told: bool = False


@dataclass(frozen=True, slots=True)
class Rollout:
    """A bundle's way to devices.

    Attributes:
        id: unguessed and unique.
        number: counts up; of two, the one with the higher number was started later.
        bundle: what is to run.
        stream: only streams of this name, whatever they run; None for all that run a bundle of the same name.
        site: only there; None for the whole fleet.
        device: only this one, at `site`.
        stages: per cent of the devices, ascending.
        soak_seconds: how long a stage must have run without a stop before the next one.
        created_at: Unix time, by the server's clock.
        created_by: the operator.
        percent: of the present stage.
        status: where it is.
        back: once stopped, whether devices that run it are to go back to what they ran before.
        reason: why it has stopped; empty where it has not.
        settled_at: since when all members that are online have been running it, without new alarms; None where some do
            not yet.
        evidence: what speaks against the bundle, as last looked at while it was running.
        revision: another number whenever something but the evidence has changed.
        digest: the sha256 of the bundle's contents; empty where it is not known, as of an older server's rollouts.
        stopped_by: who has stopped it, an operator or ``server``; empty where it has not stopped.
        hold: why it does not go on for now; None where nothing keeps it.
    """

    id: str
    number: int
    bundle: BundleId
    stream: str | None
    site: str | None
    device: str | None
    stages: tuple[int, ...]
    soak_seconds: float
    created_at: float
    created_by: str
    percent: int
    status: Status = Status.RUNNING
    back: bool = False
    reason: str = ""
    settled_at: float | None = None
    evidence: Evidence | None = None
    revision: int = 1
    digest: str = ""
    stopped_by: str = ""
    hold: Hold | None = None

    @property
    def holds(self) -> bool:
        """Whether devices are to run its bundle."""
        return self.status in (Status.RUNNING, Status.DONE)


@dataclass(frozen=True, slots=True)
class Facts:
    """What a rollout knows of one of its streams.

    Attributes:
        told_at: when it was to run the bundle, or was again, after a stop. Unix time.
        before: what it ran then; None where it ran the rollout's bundle already.
        instance: as last seen, like the next four.
        bundle: what it ran.
        frames: its total.
        alarms: its total.
        alarm: whether one was raised.
        old: what it did with other bundles.
        new: what it did with the rollout's.
        refused_since: since when it has said why it does not run it; None where it does not say so.
        alarm_is_old: whether the alarm that is raised, if one is, holds nothing: it was raised before the stream took
            the bundle, or an operator has gone on in spite of it.
        scored: whether it has scored frames with the rollout's bundle since it took it.
    """

    told_at: float
    before: BundleId | None
    instance: str
    bundle: BundleId
    frames: int
    alarms: int
    alarm: bool
    old: Exposure = Exposure()
    new: Exposure = Exposure()
    refused_since: float | None = None
    alarm_is_old: bool = False
    scored: bool = False


@dataclass(frozen=True, slots=True)
class Step:
    """Something that happened to a rollout.

    Attributes:
        rollout: its id.
        at: Unix time.
        who: the operator, or ``server``.
        action: one word, as in ``stop``.
        detail: a sentence; may be empty.
    """

    rollout: str
    at: float
    who: str
    action: str
    detail: str


SERVER = "server"
"""Who acts where nobody was asked."""
