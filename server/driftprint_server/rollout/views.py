"""Rollouts and bundles as the page and other programs read them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from enum import Enum

from pydantic import BaseModel, ConfigDict

from driftprint_server.rollout.bundles import Listed
from driftprint_server.rollout.course import Patience, is_overdue, is_refused
from driftprint_server.rollout.model import BundleId, Evidence, Facts, Rollout, Sighting, Status, Step, StreamKey
from driftprint_server.rollout.plan import fits
from driftprint_server.rollout.sightings import Seen

MOST_STREAMS = 1000
"""Streams shown of a rollout: those in trouble first."""


class _View(BaseModel):
    model_config = ConfigDict(frozen=True)


class BundleView(_View):
    """A bundle in the server's folder."""

    id: str
    name: str
    version: int
    bytes: int
    description: str
    signed_by: str | None
    """Whose signature holds; None where none is asked for."""
    problem: str | None
    """Why it cannot be rolled out."""


class BundleFolderView(_View):
    """All bundles in the server's folder."""

    signatures: bool
    """Whether only bundles with a signature that holds are rolled out."""
    bundles: tuple[BundleView, ...]


class Progress(str, Enum):
    """How far a stream is."""

    REFUSED = "refused"
    """Its device says why it does not run it."""
    OVERDUE = "overdue"
    """It is online, has been told long ago, and does not run it."""
    ALARMED = "alarmed"
    """It runs it, and has raised alarms since."""
    RUNNING = "running"
    TOLD = "told"
    """It has been told, and does not run it yet."""
    WAITING = "waiting"
    """It has not been told: it is not its turn, or nobody is told any more."""
    RETURNING = "returning"
    """It runs it still, and has been told to go back."""
    BACK = "back"
    """It has run it, and no longer does."""
    LEFT = "left"
    """It runs another bundle, or a later version."""


class StreamProgress(_View):
    """A stream in a rollout."""

    site: str
    device: str
    stream: str
    progress: Progress
    online: bool
    bundle: str | None
    """What it runs; None where its device has been forgotten."""
    before: str | None
    """What it ran when it was told."""
    told_at: float | None
    frames: int
    """Scored with the rollout's bundle, at which an alarm could have been raised."""
    alarms: int
    """Raised with it."""
    error: str | None
    """What its device says of why it does not run what is wanted."""


class EvidenceView(_View):
    """What speaks against a rollout's bundle."""

    old_frames: int
    old_alarms: int
    new_frames: int
    new_alarms: int
    toward_stop: float
    """From 0 to 1, where it stops."""


class StepView(_View):
    """Something that happened to a rollout."""

    at: float
    who: str
    action: str
    detail: str


class RolloutView(_View):
    """A rollout."""

    id: str
    bundle: str
    stream: str | None
    site: str | None
    device: str | None
    stages: tuple[int, ...]
    percent: int
    """Of the present stage."""
    soak_seconds: float
    settled_at: float | None
    """Since when all that are online and have been told run it, without new alarms; the stage lasts ``soak_seconds``
    from then."""
    held: str | None
    """Why it does not go on from this stage for now, as in ``north/pi-3 is in alarm with it``; a wait, not a stop."""
    held_since: float | None
    status: Status
    back: bool
    reason: str | None
    """Why it has stopped."""
    stopped_by: str | None
    """Who has stopped it: an operator, or ``server`` for itself, until an operator has seen to it."""
    problem: str | None
    """Why nobody else can be given its bundle."""
    revision: int
    created_at: float
    created_by: str
    streams: int
    """That it is for."""
    progress: dict[Progress, int]
    """How many of them are how far."""
    evidence: EvidenceView | None
    no_way_back: tuple[str, ...]
    """Bundles that streams ran before, and that are not in the server's folder: a device that has not kept its own
    cannot go back to them."""


class RolloutsView(_View):
    """All rollouts, the latest first."""

    now: float
    rollouts: tuple[RolloutView, ...]


class RolloutDetail(RolloutView):
    """A rollout with its streams and its history."""

    now: float
    members: tuple[StreamProgress, ...]
    """Those in trouble first; 1000 at most."""
    history: tuple[StepView, ...]


def bundle_view(listed: Listed) -> BundleView:
    """A bundle as it is shown."""
    return BundleView(
        id=str(listed.bundle),
        name=listed.bundle.name,
        version=listed.bundle.version,
        bytes=listed.bytes,
        description=listed.description,
        signed_by=listed.signed_by,
        problem=listed.problem or None,
    )


def streams_of(
    rollout: Rollout, facts: Mapping[StreamKey, Facts], seen: Seen, now: float, patience: Patience
) -> list[StreamProgress]:
    """The streams that a rollout is for, those in trouble first."""
    keys = set(facts)
    if rollout.status is not Status.SUPERSEDED:
        keys |= {key for key, sighting in seen.streams.items() if fits(rollout, sighting)}
    found = [_stream(rollout, key, facts.get(key), seen.streams.get(key), now, patience) for key in keys]
    order = list(Progress)
    return sorted(found, key=lambda one: (order.index(one.progress), one.site, one.device, one.stream))


def rollout_view(rollout: Rollout, streams: Collection[StreamProgress], at_hand: Mapping[BundleId, str]) -> RolloutView:
    """A rollout as it is shown.

    Args:
        rollout: which.
        streams: those that it is for.
        at_hand: the bundles that could be given to devices, with the sha256 of their contents.
    """
    known = {str(bundle) for bundle in at_hand}
    before = {one.before for one in streams if one.before is not None}
    counts = Counter(one.progress for one in streams)
    return RolloutView(
        id=rollout.id,
        bundle=str(rollout.bundle),
        stream=rollout.stream,
        site=rollout.site,
        device=rollout.device,
        stages=rollout.stages,
        percent=rollout.percent,
        soak_seconds=rollout.soak_seconds,
        settled_at=rollout.settled_at,
        held=None if rollout.hold is None else rollout.hold.why,
        held_since=None if rollout.hold is None else rollout.hold.since,
        status=rollout.status,
        back=rollout.back,
        reason=rollout.reason or None,
        stopped_by=rollout.stopped_by or None,
        problem=_problem(rollout, at_hand),
        revision=rollout.revision,
        created_at=rollout.created_at,
        created_by=rollout.created_by,
        streams=len(streams),
        progress={progress: counts[progress] for progress in Progress if counts[progress]},
        evidence=None if rollout.evidence is None else _evidence(rollout.evidence),
        no_way_back=tuple(sorted(before - known)),
    )


def rollout_detail(
    view: RolloutView, streams: Collection[StreamProgress], steps: Collection[Step], now: float
) -> RolloutDetail:
    """A rollout with its streams and its history."""
    return RolloutDetail(
        **dict(view),
        now=now,
        members=tuple(streams)[:MOST_STREAMS],
        history=tuple(StepView(at=step.at, who=step.who, action=step.action, detail=step.detail) for step in steps),
    )


def _stream(
    rollout: Rollout, key: StreamKey, facts: Facts | None, sighting: Sighting | None, now: float, patience: Patience
) -> StreamProgress:
    bundle = sighting.bundle if sighting is not None else facts.bundle if facts is not None else None
    return StreamProgress(
        site=key.site,
        device=key.device,
        stream=key.stream,
        progress=Progress.WAITING if facts is None else _progress(rollout, facts, sighting, now, patience),
        online=sighting is not None and sighting.online,
        bundle=None if sighting is None else str(bundle),
        before=str(facts.before) if facts is not None and facts.before is not None else None,
        told_at=None if facts is None else facts.told_at,
        frames=0 if facts is None else facts.new.frames,
        alarms=0 if facts is None else facts.new.alarms,
        error=sighting.error or None if sighting is not None and facts is not None else None,
    )


def _progress(rollout: Rollout, facts: Facts, sighting: Sighting | None, now: float, patience: Patience) -> Progress:
    bundle = facts.bundle if sighting is None else sighting.bundle
    if bundle == rollout.bundle:
        if rollout.back and facts.before is not None:
            return Progress.RETURNING
        return Progress.ALARMED if facts.new.alarms else Progress.RUNNING
    if sighting is not None and not fits(rollout, sighting):
        return Progress.LEFT
    if is_refused(facts, now, patience):
        return Progress.REFUSED
    if not rollout.holds:
        return Progress.BACK if facts.new.frames else Progress.WAITING
    if sighting is not None and is_overdue(facts, sighting, rollout, now, patience):
        return Progress.OVERDUE
    return Progress.TOLD


def _problem(rollout: Rollout, at_hand: Mapping[BundleId, str]) -> str | None:
    if not rollout.holds:
        return None
    if rollout.bundle not in at_hand:
        return f"{rollout.bundle} is not in the server's folder, or cannot be rolled out; put it there again"
    if rollout.digest not in ("", at_hand[rollout.bundle]):
        return (
            f"{rollout.bundle} in the server's folder has other contents than this rollout began with; put those back, "
            "and export the others with a higher version"
        )
    return None


def _evidence(found: Evidence) -> EvidenceView:
    return EvidenceView(
        old_frames=found.old.frames,
        old_alarms=found.old.alarms,
        new_frames=found.new.frames,
        new_alarms=found.new.alarms,
        toward_stop=found.share,
    )
