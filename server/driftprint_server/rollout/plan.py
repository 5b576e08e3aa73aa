"""Who is to run what: pure functions.

Of the rollouts that reach a stream, the one that was started last holds, whatever its scope: what an operator decided
last is what happens. A rollout reaches a share of the devices in its scope. Who has been reached stays so; further
ones are drawn by a hash of the rollout's id with theirs, those that are online first.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass

from driftprint_server.rollout.model import BundleId, DeviceKey, Facts, Rollout, Sighting, Status, StreamKey


@dataclass(frozen=True, slots=True)
class Wish:
    """What a stream is to run.

    Attributes:
        bundle: which.
        back: whether it is one step back.
    """

    bundle: BundleId
    back: bool = False


def in_scope(rollout: Rollout, device: DeviceKey) -> bool:
    """Whether a device lies in a rollout's scope."""
    return rollout.site in (None, device.site) and rollout.device in (None, device.device)


def fits(rollout: Rollout, sighting: Sighting) -> bool:
    """Whether a stream is one that a rollout is for. One that runs a later version is not: none is made older."""
    bundle = sighting.bundle
    if not in_scope(rollout, sighting.key.of_device):
        return False
    if rollout.stream not in (None, sighting.key.stream):
        return False
    if bundle.name != rollout.bundle.name:
        return rollout.stream is not None
    return bundle.version <= rollout.bundle.version


def covers(later: Rollout, earlier: Rollout) -> bool:
    """Whether a later rollout, once it is done, reaches all that an earlier one could."""
    return (
        later.number > earlier.number
        and later.percent == 100
        and later.bundle.name == earlier.bundle.name
        and later.bundle.version >= earlier.bundle.version
        and later.stream == earlier.stream
        and later.site in (None, earlier.site)
        and later.device in (None, earlier.device)
    )


def select(rollout: Rollout, candidates: Iterable[Sighting], told: Collection[DeviceKey]) -> set[DeviceKey]:
    """The devices that a rollout reaches at its present per cent.

    Args:
        rollout: which.
        candidates: the streams it is for, as `fits` says.
        told: devices that it has reached before. They stay, even where they are more than that.

    Returns:
        At least one, where there are any. A larger per cent only adds to them.
    """
    online: dict[DeviceKey, bool] = {}
    running: set[DeviceKey] = set()
    for sighting in candidates:
        device = sighting.key.of_device
        online[device] = sighting.online
        if sighting.bundle == rollout.bundle:
            running.add(device)
    reached = {device for device in online if device in told}
    count = max(1, -(-rollout.percent * len(online) // 100)) - len(reached)
    others = sorted(
        (device not in running, not online[device], _draw(rollout.id, device), device)
        for device in online
        if device not in reached
    )
    return reached | {device for *_, device in others[: max(0, count)]}


def wishes(
    rollout: Rollout, facts: Mapping[StreamKey, Facts], streams: Mapping[StreamKey, Sighting]
) -> Iterator[tuple[StreamKey, Wish]]:
    """What a rollout wants of the streams that it has reached.

    Args:
        rollout: which.
        facts: of its streams.
        streams: those that no later rollout has a say on.
    """
    for key, known in facts.items():
        sighting = streams.get(key)
        if sighting is None:
            continue
        if rollout.holds and fits(rollout, sighting):
            yield key, Wish(rollout.bundle)
        elif (
            rollout.status is Status.STOPPED
            and rollout.back
            and known.before is not None
            and sighting.bundle == rollout.bundle
        ):
            yield key, Wish(known.before, back=True)


def _draw(rollout_id: str, device: DeviceKey) -> bytes:
    return hashlib.sha256("/".join((rollout_id, *device)).encode()).digest()
