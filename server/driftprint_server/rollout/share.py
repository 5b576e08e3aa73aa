"""How many devices are too many, and how they are named."""

from __future__ import annotations

from collections.abc import Collection

from driftprint_server.rollout.model import DeviceKey

LEAST_MANY = 2
"""So many devices are many at least, where it is not all."""
MOST_FEW = 0.05
"""And more than this share of them."""

_SHOWN = 3  # devices named


def are_many(devices: Collection[DeviceKey], members: Collection[DeviceKey]) -> bool:
    """Whether these are all members, or too many for it to be a coincidence."""
    few = len(devices) < LEAST_MANY or len(devices) <= MOST_FEW * len(members)
    return len(devices) > 0 and (len(devices) == len(members) or not few)


def named(devices: Collection[DeviceKey]) -> str:
    """The first few by name, and how many more there are."""
    names = ["/".join(device) for device in sorted(devices)]
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
