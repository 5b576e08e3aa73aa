"""Who is told of what rollouts do by themselves."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Collection, Mapping
from enum import Enum
from typing import Protocol

from driftprint_server.rollout.model import SERVER, Rollout, Status, Step


class News(Protocol):
    """Tells people."""

    def rollout(self, db: sqlite3.Connection, rollout: Rollout, step: Step) -> None:
        """Take in what has happened to a rollout, so that it is told exactly where it is kept.

        Args:
            db: of `OperatorStore.transaction`.
            rollout: as it is afterwards.
            step: what has happened.

        Raises:
            StoreError: where the disk refuses.
        """
        ...

    def wake(self) -> None:
        """What has been taken in is kept: tell it."""
        ...


class Untold:
    """Tells nobody."""

    def rollout(self, db: sqlite3.Connection, rollout: Rollout, step: Step) -> None:
        """Forget it."""

    def wake(self) -> None:
        """Do nothing."""


class Standing(str, Enum):
    """How a rollout stands that people may have to look after."""

    RUNNING = "running"
    HELD = "held"
    """It is running, and does not go on from its stage for now."""
    STOPPED = "stopped"
    """It has stopped by itself, and no operator has done anything about it since."""


def standings(rollouts: Collection[Rollout]) -> Mapping[Standing, int]:
    """How many rollouts stand how.

    Args:
        rollouts: all of them. One that has stopped is seen to where a later one of that bundle's name has been started.
    """
    latest: dict[str, int] = {}
    for each in rollouts:
        latest[each.bundle.name] = max(each.number, latest.get(each.bundle.name, 0))
    found = Counter(dict.fromkeys(Standing, 0))
    for each in rollouts:
        if each.status is Status.RUNNING:
            found[Standing.RUNNING if each.hold is None else Standing.HELD] += 1
        elif each.status is Status.STOPPED and each.stopped_by == SERVER and each.number == latest[each.bundle.name]:
            found[Standing.STOPPED] += 1
    return found
