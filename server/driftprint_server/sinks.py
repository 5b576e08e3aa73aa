"""Where messages go, beside the fleet in memory, before they are acknowledged."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from driftprint_server.records import FleetMessage


@dataclass(frozen=True, slots=True)
class Accepted:
    """A message that the fleet has taken in.

    Attributes:
        message: as it was sent, with its age and, in an alert, its thumbnails.
        at: when what it says was so: Unix time in seconds, as `driftprint_server.times` has it.
        retained: whether the broker had kept it from an unknown time; `at` then says little.
    """

    message: FleetMessage
    at: float
    retained: bool = False


class Sink(Protocol):
    """Takes messages in. One that comes again, with any `at`, must change nothing."""

    def write(self, batch: Sequence[Accepted]) -> None:
        """Take a batch in, so that it outlasts a crash.

        Raises:
            StoreError: where it cannot be; the batch is then not acknowledged, and its devices send it again.
        """
        ...
