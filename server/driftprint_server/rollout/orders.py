"""What operators ask for, and why it may not be done."""

from __future__ import annotations

from dataclasses import dataclass

from driftprint.errors import DriftprintError
from driftprint_server.rollout.model import BundleId


class UnknownRolloutError(DriftprintError):
    """There is no such rollout."""


class UnknownBundleError(DriftprintError):
    """There is no such bundle."""


class UnusableError(DriftprintError):
    """What is asked for makes no sense."""


class ConflictError(DriftprintError):
    """It cannot be done as things stand."""


@dataclass(frozen=True, slots=True)
class Order:
    """A rollout that an operator asks for.

    Attributes:
        bundle: what is to run.
        stream: as in `Rollout`, like the next two.
        site: where.
        device: where.
        stages: per cent of the devices, ascending.
        soak_seconds: how long each stage must have run.
    """

    bundle: BundleId
    stream: str | None
    site: str | None
    device: str | None
    stages: tuple[int, ...]
    soak_seconds: float
