"""A rollout's course: what it makes of a look at the fleet. Pure, and the same look twice changes nothing.

Each look follows the streams, stops the rollout where too much speaks against it, else goes on to the next stage where
the present one has been quiet for long enough, and tells those who are reached.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from driftprint_server.rollout.evidence import follow, told, weigh
from driftprint_server.rollout.model import (
    SERVER,
    DeviceKey,
    Evidence,
    Facts,
    Rollout,
    Sighting,
    Status,
    Step,
    StreamKey,
)
from driftprint_server.rollout.plan import fits, select

LEAST_FAILURES = 2
"""So many devices must fail for a rollout to stop, or all that have been told."""
MOST_FAILING = 0.05
"""And more than this share of those that have been told."""

_SHOWN = 3  # devices named in a reason


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a device may take.

    Attributes:
        refused_after: seconds after which an error that it reports counts.
        overdue_after: seconds after which one that is online and has not followed counts.
    """

    refused_after: float
    overdue_after: float


@dataclass(frozen=True, slots=True)
class Course:
    """A rollout after a look.

    Attributes:
        rollout: itself.
        facts: of its streams.
        steps: what has happened.
    """

    rollout: Rollout
    facts: Mapping[StreamKey, Facts]
    steps: tuple[Step, ...] = ()


def proceed(
    rollout: Rollout,
    facts: Mapping[StreamKey, Facts],
    streams: Mapping[StreamKey, Sighting],
    now: float,
    patience: Patience,
) -> Course:
    """Take a look.

    Args:
        rollout: neither superseded nor unknown.
        facts: of its streams.
        streams: those that no later rollout has a say on.
        now: Unix time.
        patience: with devices.
    """
    facts = {
        key: follow(known, streams[key], rollout.bundle, now) if key in streams else known
        for key, known in facts.items()
    }
    steps: list[Step] = []
    if rollout.status is Status.RUNNING:
        # A stage that has just been widened to by an operator has devices that have not been told yet.
        all_told = not _newly_told(rollout, facts, streams, now)
        rollout, reached = _onward(rollout, facts, streams, now, patience, all_told=all_told)
        steps += reached
    if rollout.holds:
        facts |= _newly_told(rollout, facts, streams, now)
    return Course(rollout, facts, tuple(steps))


def evidence(rollout: Rollout, facts: Mapping[StreamKey, Facts], streams: Mapping[StreamKey, Sighting]) -> Evidence:
    """What speaks against a rollout's bundle now."""
    fitting = [sighting for sighting in streams.values() if fits(rollout, sighting)]
    return weigh(
        facts.values(),
        (each for each in fitting if each.key not in facts and each.bundle != rollout.bundle),
        promise=max((each.promise for each in fitting), default=0.0),
    )


def is_refused(facts: Facts, now: float, patience: Patience) -> bool:
    """Whether a stream's device has refused the bundle."""
    return facts.refused_since is not None and now - facts.refused_since >= patience.refused_after


def is_overdue(facts: Facts, sighting: Sighting, rollout: Rollout, now: float, patience: Patience) -> bool:
    """Whether a stream that could have followed by now has not."""
    waiting_since = max(facts.told_at, sighting.online_since)
    return sighting.online and sighting.bundle != rollout.bundle and now - waiting_since >= patience.overdue_after


def _onward(
    rollout: Rollout,
    facts: Mapping[StreamKey, Facts],
    streams: Mapping[StreamKey, Sighting],
    now: float,
    patience: Patience,
    *,
    all_told: bool,
) -> tuple[Rollout, list[Step]]:
    """Stop, go to the next stage, or stay."""
    members = {key: streams[key] for key in facts if key in streams and fits(rollout, streams[key])}
    failed = {
        key.of_device
        for key, sighting in members.items()
        if is_refused(facts[key], now, patience) or is_overdue(facts[key], sighting, rollout, now, patience)
    }
    found = evidence(rollout, facts, streams)
    rollout = replace(rollout, evidence=found)
    reason = _too_many_failed(failed, {key.of_device for key in facts}) or _too_many_alarms(found)
    if reason:
        stopped = replace(
            rollout, status=Status.STOPPED, back=True, reason=reason, settled_at=None, revision=rollout.revision + 1
        )
        return stopped, [Step(rollout.id, now, SERVER, "stop", reason)]
    running = any(sighting.bundle == rollout.bundle for sighting in members.values())
    waiting = any(
        sighting.online and sighting.bundle != rollout.bundle
        for key, sighting in members.items()
        if key.of_device not in failed
    )
    if rollout.settled_at is None:
        if waiting or not running or not all_told:
            return rollout, []
        rollout = replace(rollout, settled_at=now, revision=rollout.revision + 1)
    if now - (rollout.settled_at or now) < rollout.soak_seconds:
        return rollout, []
    return _next_stage(rollout, now)


def _next_stage(rollout: Rollout, now: float) -> tuple[Rollout, list[Step]]:
    further = [percent for percent in rollout.stages if percent > rollout.percent]
    if not further:
        done = replace(rollout, status=Status.DONE, settled_at=None, revision=rollout.revision + 1)
        return done, [Step(rollout.id, now, SERVER, "done", f"at {rollout.percent} %")]
    widened = replace(rollout, percent=further[0], settled_at=None, revision=rollout.revision + 1)
    return widened, [Step(rollout.id, now, SERVER, "widen", f"from {rollout.percent} % to {further[0]} %")]


def _newly_told(
    rollout: Rollout, facts: Mapping[StreamKey, Facts], streams: Mapping[StreamKey, Sighting], now: float
) -> dict[StreamKey, Facts]:
    fitting = [sighting for sighting in streams.values() if fits(rollout, sighting)]
    reached = select(rollout, fitting, {key.of_device for key in facts})
    return {
        sighting.key: told(sighting, rollout.bundle, now)
        for sighting in fitting
        if sighting.key not in facts and sighting.key.of_device in reached
    }


def _too_many_failed(failed: set[DeviceKey], members: set[DeviceKey]) -> str:
    """Why that is too many; empty where it is not."""
    if not failed or (
        failed != members and (len(failed) < LEAST_FAILURES or len(failed) <= MOST_FAILING * len(members))
    ):
        return ""
    return f"{len(failed)} of {len(members)} devices do not run it: {_named(failed)}"


def _too_many_alarms(found: Evidence) -> str:
    if not found.stops:
        return ""
    return (
        f"{found.new.alarms} alarms in {found.new.frames:,} frames, where other bundles gave {found.old.alarms} in "
        f"{found.old.frames:,}"
    )


def _named(devices: Iterable[DeviceKey]) -> str:
    names = ["/".join(device) for device in sorted(devices)]
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
