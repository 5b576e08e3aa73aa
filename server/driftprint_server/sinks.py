"""Where messages go, beside the fleet in memory, before they are acknowledged."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from driftprint.errors import StoreError
from driftprint.messages import StateMessage
from driftprint_server.records import FleetMessage, HealthRecord

MOST_DEVICES = 10_000
"""Devices whose latest state, and whose latest health, are kept for when sinks can be written to again."""


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


_Unwritten: TypeAlias = "OrderedDict[tuple[str, str], Accepted]"
"""By site and device."""


class Sinks:
    """Several sinks as one, which writes later what devices will not say again.

    What streams say devices send until it is acknowledged. A state, such as a goodbye, and a report of health they say
    once: of a batch that could not be written, the latest of each device are written with the next one.

    Args:
        sinks: are given every batch, in this order.
        most_devices: whose latest state, and whose latest health, are kept; of more, those that came last.
    """

    def __init__(self, sinks: Sequence[Sink], most_devices: int = MOST_DEVICES) -> None:
        self._sinks = tuple(sinks)
        self._most_devices = most_devices
        self._states: _Unwritten = OrderedDict()
        self._healths: _Unwritten = OrderedDict()

    def write(self, batch: Sequence[Accepted]) -> None:
        """Write a batch, after what could not be written before; where there is nothing, do nothing.

        Raises:
            StoreError: where a sink cannot take it in.
        """
        if not (batch := [*self._states.values(), *self._healths.values(), *batch]):
            return
        self._states.clear()  # where a sink fails in a way nobody foresaw, lest it fail so for ever
        self._healths.clear()
        try:
            for sink in self._sinks:
                sink.write(batch)
        except StoreError:
            for accepted in batch:
                self._keep(accepted)
            raise

    def _keep(self, accepted: Accepted) -> None:
        message = accepted.message
        match message:
            case StateMessage():
                unwritten = self._states
            case HealthRecord():
                unwritten = self._healths
            case _:
                return
        unwritten[device := (message.site, message.device)] = accepted
        unwritten.move_to_end(device)
        if len(unwritten) > self._most_devices:
            unwritten.popitem(last=False)
