"""What keeps a rollout from its next stage though nothing speaks for a stop. Each reason is a wait: it goes by itself,
or an operator widens or stops. Pure functions.

An alarm alone says little: it may be a false one, or right, which only people can see. So it stops nothing, but a
bundle is given to nobody else while its devices are in alarm.
"""

from __future__ import annotations

from collections.abc import Mapping

from driftprint_server.rollout.model import BundleId, Facts, Hold, Sighting, StreamKey
from driftprint_server.rollout.share import MOST_FEW, are_many, named


def in_alarm(bundle: BundleId, facts: Mapping[StreamKey, Facts], members: Mapping[StreamKey, Sighting]) -> str:
    """Which devices have gone into alarm with a bundle and still are; empty where it is nobody, or a few of many.

    Args:
        bundle: the rollout's.
        facts: of its streams.
        members: those of its streams that it still is for.
    """
    running = _running(bundle, members)
    devices = {key.of_device for key in running}
    alarmed = {key.of_device for key, sighting in running.items() if sighting.alarm and not facts[key].alarm_is_old}
    # In a large fleet some device is always in alarm.
    if len(alarmed) <= MOST_FEW * len(devices):
        return ""
    return f"{named(alarmed)} {_are(len(alarmed))} in alarm with it"


def out_of_sight(bundle: BundleId, members: Mapping[StreamKey, Sighting]) -> str:
    """Which devices went after they had taken a bundle; empty where it is nobody, or a few of many."""
    running = _running(bundle, members)
    devices = {key.of_device for key in running}
    gone = {key.of_device for key, sighting in running.items() if not sighting.online}
    if not are_many(gone, devices):
        return ""
    return f"{named(gone)} {_are(len(gone))} not online since taking it"


def is_tried(bundle: BundleId, facts: Mapping[StreamKey, Facts], members: Mapping[StreamKey, Sighting]) -> bool:
    """Whether some device that is online runs a bundle, and has scored frames with it."""
    return any(sighting.online and facts[key].scored for key, sighting in _running(bundle, members).items())


def untried(bundle: BundleId, facts: Mapping[StreamKey, Facts], members: Mapping[StreamKey, Sighting]) -> str:
    """That a bundle is run, and nobody scores frames with it; empty where somebody does, or nobody runs it yet."""
    if not _running(bundle, members) or is_tried(bundle, facts, members):
        return ""
    return "no device that is online has scored frames with it yet"


def held(before: Hold | None, why: str, now: float, *, tell_after: float) -> Hold | None:
    """A hold after another look.

    Args:
        before: the one so far.
        why: what keeps the rollout now; empty where nothing does.
        now: Unix time.
        tell_after: seconds after which people are told.
    """
    if not why:
        return None
    since = now if before is None else before.since
    return Hold(why, since, told=now - since >= tell_after or (before is not None and before.told))


def _running(bundle: BundleId, members: Mapping[StreamKey, Sighting]) -> dict[StreamKey, Sighting]:
    return {key: sighting for key, sighting in members.items() if sighting.bundle == bundle}


def _are(number: int) -> str:
    return "is" if number == 1 else "are"
