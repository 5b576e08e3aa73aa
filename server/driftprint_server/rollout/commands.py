"""What devices are told: retained messages, each changed only where what is wanted of its device has changed."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

from driftprint.messages import CommandMessage, Wanted, decode, encode
from driftprint_server.rollout.links import BundleLinks
from driftprint_server.rollout.model import DeviceKey, StreamKey
from driftprint_server.rollout.plan import Wish
from driftprint_server.rollout.sightings import Seen
from driftprint_server.rollout.store import Command

REPEAT_SECONDS = 60.0
"""A device that is online, has not followed and does not say why is told again after so long."""


def next_commands(
    known: Mapping[DeviceKey, Command],
    wishes: Mapping[StreamKey, Wish],
    seen: Seen,
    links: BundleLinks,
    now: float,
) -> dict[DeviceKey, Command | None]:
    """The commands that are to change; None where a device that has been told that nothing is wanted can be forgotten.

    Args:
        known: what devices are told now.
        wishes: what streams are to run.
        seen: the fleet.
        links: where bundles are.
        now: Unix time.
    """
    wanted: defaultdict[DeviceKey, dict[str, Wanted]] = defaultdict(dict)
    unheard: set[DeviceKey] = set()
    for key, wish in wishes.items():
        url = links.url(wish.bundle)
        wanted[key.of_device][key.stream] = Wanted(
            name=wish.bundle.name, version=wish.bundle.version, url=url, back=wish.back
        )
        sighting = seen.streams[key]
        if sighting.online and sighting.bundle != wish.bundle and not sighting.error:
            unheard.add(key.of_device)
    changes: dict[DeviceKey, Command | None] = {}
    for device in sorted(wanted.keys() | known.keys()):
        command = known.get(device)
        payload = _payload({**_kept(device, command, seen), **wanted.get(device, {})})
        if command is None or command.payload != payload:
            changes[device] = Command(payload)
        elif not payload and command.sent_at is not None:
            changes[device] = None
        elif device in unheard and command.sent_at is not None and now - command.sent_at >= REPEAT_SECONDS:
            changes[device] = Command(payload)
    return changes


def _kept(device: DeviceKey, command: Command | None, seen: Seen) -> dict[str, Wanted]:
    """What is wanted of streams that have not reported yet stays as it is."""
    if command is None or not command.payload:
        return {}
    before = decode(CommandMessage, command.payload, topic="rollout_commands").wanted
    return {stream: wanted for stream, wanted in before.items() if StreamKey(*device, stream) in seen.silent}


def _payload(wanted: Mapping[str, Wanted]) -> bytes:
    return encode(CommandMessage(wanted=dict(sorted(wanted.items())))) if wanted else b""
