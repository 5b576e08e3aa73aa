"""A rollout's course: what it makes of a look at the fleet. Pure, and the same look twice changes nothing.

Each look follows the streams, stops the rollout where too much speaks against it, else goes on to the next stage where
the present one has run well for long enough and nothing holds it, and tells those who are reached.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from driftprint_server.rollout.evidence import allowed, follow, told, weigh
from driftprint_server.rollout.holding import held, in_alarm, is_tried, out_of_sight, untried
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
from driftprint_server.rollout.share import are_many, named


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
        promise=allowed((known.new.frames, streams[key].promise) for key, known in facts.items() if key in streams),
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
            rollout,
            status=Status.STOPPED,
            back=True,
            reason=reason,
            stopped_by=SERVER,
            settled_at=None,
            hold=None,
            revision=rollout.revision + 1,
        )
        return stopped, [Step(rollout.id, now, SERVER, "stop", reason)]
    awaited = not all_told or any(
        sighting.online and sighting.bundle != rollout.bundle
        for key, sighting in members.items()
        if key.of_device not in failed
    )
    rollout, steps = _settled(rollout, facts, members, now, patience, awaited=awaited)
    if rollout.hold is not None or rollout.settled_at is None or now - rollout.settled_at < rollout.soak_seconds:
        return rollout, steps
    return _next_stage(rollout, now)


def _settled(
    rollout: Rollout,
    facts: Mapping[StreamKey, Facts],
    members: Mapping[StreamKey, Sighting],
    now: float,
    patience: Patience,
    *,
    awaited: bool,
) -> tuple[Rollout, list[Step]]:
    """Since when the present stage runs well, and what keeps it from the next one.

    An alarm ends what has run well so far. That devices are out of sight does not: most often the network is, or this
    server was.
    """
    alarmed = in_alarm(rollout.bundle, facts, members)
    settled_at = rollout.settled_at
    if alarmed:
        settled_at = None
    elif settled_at is None and not awaited and is_tried(rollout.bundle, facts, members):
        settled_at = now
    why = alarmed or out_of_sight(rollout.bundle, members)
    if not why and not awaited:
        why = untried(rollout.bundle, facts, members)
    hold = held(rollout.hold, why, now, tell_after=patience.overdue_after)
    changed = settled_at != rollout.settled_at or (hold is None) != (rollout.hold is None)
    after = replace(rollout, settled_at=settled_at, hold=hold, revision=rollout.revision + changed)
    if hold is None or not hold.told or (rollout.hold is not None and rollout.hold.told):
        return after, []
    return after, [Step(rollout.id, now, SERVER, "hold", f"for {now - hold.since:.0f} s now: {hold.why}")]


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
    if not are_many(failed, members):
        return ""
    return f"{len(failed)} of {len(members)} devices do not run it: {named(failed)}"


def _too_many_alarms(found: Evidence) -> str:
    if not found.stops:
        return ""
    return (
        f"{found.new.alarms} alarms in {found.new.frames:,} frames, where other bundles gave {found.old.alarms} in "
        f"{found.old.frames:,}"
    )
