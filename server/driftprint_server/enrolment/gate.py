"""Whether a device is taken in."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from fnmatch import translate

from driftprint.errors import MessageError
from driftprint_server.counts import Reason
from driftprint_server.enrolment.decisions import Decision, DeviceKey, EnrolmentDecisions
from driftprint_server.enrolment.settings import EnrolmentSettings, Mode
from driftprint_server.enrolment.waiting import WaitingDevice, WaitingList


class Enrolment:
    """Asked of every message, by one thread; operators decide from others.

    What is refused is not acknowledged, so a device that is approved sends all that its outbox holds.

    Args:
        settings: the table ``[enrolment]``.
        decisions: of the operators.
        waiting: who waits for one.
        on_rejected: told of a device that an operator has rejected: what is known of it is to be forgotten.
    """

    def __init__(
        self,
        settings: EnrolmentSettings,
        *,
        decisions: EnrolmentDecisions,
        waiting: WaitingList,
        on_rejected: Callable[[str, str], None] = lambda _site, _device: None,
    ) -> None:
        self._mode = settings.mode
        self._listed = matcher(settings.devices)
        self._decisions = decisions
        self._waiting = waiting
        self._on_rejected = on_rejected

    @property
    def mode(self) -> Mode:
        """What becomes of those that nobody has decided about."""
        return self._mode

    @property
    def waiting(self) -> list[WaitingDevice]:
        """Who waits for a decision, by site and device."""
        return self._waiting.all()

    @property
    def without_room(self) -> int:
        """Messages of devices that the list of those who wait had no room for."""
        return self._waiting.without_room

    @property
    def decided(self) -> list[Decision]:
        """The operators' decisions, by site and device."""
        return self._decisions.all()

    @property
    def rejected(self) -> list[DeviceKey]:
        """Whom operators have rejected: to be forgotten at a start, too, lest a crash came in between."""
        return [(known.site, known.device) for known in self._decisions.all() if not known.approved]

    def check(self, site: str, device: str, at: float) -> None:
        """Let a message of a device pass that arrived at Unix time `at`.

        Raises:
            MessageError: with reason ``not_enrolled``.
        """
        decision = self._decisions.find(site, device)
        if decision is not None:
            if not decision.approved:
                raise MessageError(f"{site}/{device} has been rejected", reason=Reason.NOT_ENROLLED)
        elif self._mode is not Mode.OPEN and not self._listed(f"{site}/{device}"):
            if self._mode is Mode.LIST:
                raise MessageError(f"{site}/{device} is not enrolled", reason=Reason.NOT_ENROLLED)
            self._waiting.heard(site, device, at)
            raise MessageError(f"{site}/{device} waits for an operator's approval", reason=Reason.NOT_ENROLLED)

    def decide(self, site: str, device: str, *, approved: bool, who: str) -> Decision:
        """Approve or reject a device, be it known or not.

        Raises:
            StoreError: where the disk refuses; nothing has then changed.
        """
        decision = self._decisions.decide(site, device, approved=approved, who=who)
        self._waiting.remove(site, device)
        if not approved:
            self._on_rejected(site, device)
        return decision

    def forget(self, site: str, device: str, *, who: str) -> bool:
        """Take a decision back; False where there is none.

        Raises:
            StoreError: where the disk refuses; nothing has then changed.
        """
        return self._decisions.forget(site, device, who=who)


def matcher(patterns: Sequence[str]) -> Callable[[str], bool]:
    """Whether ``site/device`` is one of the patterns; a list of many names is as fast as a short one."""
    names = frozenset(pattern for pattern in patterns if "*" not in pattern)
    # A star stands for anything within a site's or a device's name, for neither has a slash.
    globs = re.compile("|".join(translate(pattern) for pattern in patterns if "*" in pattern) or r"(?!)")
    return lambda name: name in names or globs.match(name) is not None
