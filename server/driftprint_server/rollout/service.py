"""Rollouts at work: looks at the fleet every few seconds, and does what operators ask."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace

import structlog

from driftprint.clock import Clock
from driftprint.errors import DriftprintError
from driftprint.logs import is_news
from driftprint.topics import DeviceTopic, device_topic
from driftprint_server.audit import Audit
from driftprint_server.device import Device
from driftprint_server.operators import OperatorStore
from driftprint_server.rollout.bundles import Catalogue
from driftprint_server.rollout.commands import next_commands
from driftprint_server.rollout.course import Patience, proceed
from driftprint_server.rollout.ledger import Ledger
from driftprint_server.rollout.links import BundleLinks
from driftprint_server.rollout.model import (
    SERVER,
    BundleId,
    DeviceKey,
    Exposure,
    Facts,
    Rollout,
    Status,
    Step,
    StreamKey,
)
from driftprint_server.rollout.news import News, Standing, Untold, standings
from driftprint_server.rollout.orders import (
    ConflictError,
    Order,
    UnknownBundleError,
    UnknownRolloutError,
    UnusableError,
)
from driftprint_server.rollout.plan import Wish, covers, fits, wishes
from driftprint_server.rollout.settings import RolloutSettings
from driftprint_server.rollout.sightings import Seen, look

Publish = Callable[[str, bytes], bool]
"""Sends a payload on a topic, for the broker to keep; False where there is no connection."""

MOST_SENT = 500
"""Commands sent at one look, so that not all devices fetch a bundle at once."""

_PAUSE_SECONDS = 0.2
_MOST_OF_AN_ID = 64  # characters that are said again, of one that there is not


class Rollouts:
    """All rollouts. Safe to use from several threads, which take turns.

    Args:
        store: keeps everything.
        audit: told of every change.
        catalogue: the bundles.
        links: where devices fetch them.
        devices: the fleet.
        publish: sends a command.
        clock: dates everything.
        settings: the table ``[rollout]``.
        stale_after_seconds: how long a device may be silent and count as online.
        news: tells people; None where nobody is told.
        new_id: makes a rollout's id.

    Raises:
        StoreError: where the disk refuses.
    """

    def __init__(
        self,
        *,
        store: OperatorStore,
        audit: Audit,
        catalogue: Catalogue,
        links: BundleLinks,
        devices: Callable[[], Sequence[Device]],
        publish: Publish,
        clock: Clock,
        settings: RolloutSettings,
        stale_after_seconds: float,
        news: News | None = None,
        new_id: Callable[[], str] = lambda: secrets.token_hex(6),
    ) -> None:
        self._ledger = Ledger(store, audit, news or Untold())
        self._catalogue = catalogue
        self._links = links
        self._devices = devices
        self._publish = publish
        self._clock = clock
        self._settings = settings
        self._stale_after_seconds = stale_after_seconds
        self._new_id = new_id
        self._lock = threading.RLock()
        self._wake = threading.Event()
        self._log = structlog.get_logger()
        self._problems = 0
        self._seen = Seen({}, frozenset())

    @property
    def patience(self) -> Patience:
        """With devices."""
        return Patience(self._settings.refused_after_seconds, self._settings.overdue_after_seconds)

    # --- at work -------------------------------------------------------------------------------------

    def run(self, stop: threading.Event) -> None:
        """Look every few seconds, and after whatever an operator does, until `stop` is set."""
        due = float("-inf")
        while not stop.wait(_PAUSE_SECONDS):
            now = self._clock.now().monotonic
            if now < due and not self._wake.is_set():
                continue
            self._wake.clear()
            due = now + self._settings.tick_seconds
            try:
                self.tick()
                self._problems = 0
            except Exception as error:  # the next look may go well; nothing has changed meanwhile
                self._problems += 1
                if is_news(self._problems):
                    self._log.error(
                        "rollouts not looked at", what=str(error), exc_info=not isinstance(error, DriftprintError)
                    )

    def tick(self) -> None:
        """Take one look: follow, stop, go on, and tell.

        Raises:
            StoreError: where the disk refuses; nothing has then changed, and nobody been told.
        """
        with self._lock:
            active = self._ledger.active()
            if not active and not self._ledger.commands:
                return
            now = self._clock.now().wall
            seen = look(self._devices(), now, stale_after_seconds=self._stale_after_seconds)
            rollouts = dict(self._ledger.rollouts)
            facts: dict[str, dict[StreamKey, Facts]] = {}
            steps: list[Step] = []
            wanted: dict[StreamKey, Wish] = {}
            for rollout in active:
                free = {key: sighting for key, sighting in seen.streams.items() if key not in wanted}
                course = proceed(rollout, self._ledger.facts(rollout.id), free, now, self.patience)
                rollouts[rollout.id], facts[rollout.id] = course.rollout, dict(course.facts)
                steps += course.steps
                wanted |= wishes(course.rollout, course.facts, free)
            steps += _supersede(rollouts, now)
            commands = next_commands(self._ledger.commands, wanted, seen, self._links, now)
            self._ledger.keep(now, rollouts=rollouts, facts=facts, steps=steps, commands=commands)
            self._seen = seen
            for step in steps:
                self._log.info("rollout", rollout=step.rollout, action=step.action, detail=step.detail)
            self._send(now)

    # --- what operators ask for ----------------------------------------------------------------------

    def start(self, order: Order, who: str) -> Rollout:
        """Begin to roll a bundle out.

        Raises:
            UnknownBundleError: where it is not in the catalogue.
            UnusableError: where it cannot be rolled out.
            ConflictError: where another rollout of it is running, or no stream would be reached.
            StoreError: where the disk refuses.
        """
        listed = self._catalogue.find(order.bundle)
        if listed is None:
            raise UnknownBundleError(f"there is no bundle {order.bundle}", fix="upload it first")
        if listed.problem:
            raise UnusableError(f"{order.bundle} cannot be rolled out: {listed.problem}")
        with self._lock:
            now = self._clock.now().wall
            rollout = Rollout(
                id=self._new_id(),
                number=1 + max((each.number for each in self._ledger.rollouts.values()), default=0),
                bundle=order.bundle,
                stream=order.stream,
                site=order.site,
                device=order.device,
                stages=order.stages,
                soak_seconds=order.soak_seconds,
                created_at=now,
                created_by=who,
                percent=order.stages[0],
                digest=listed.digest,
            )
            self._refuse_a_second(rollout)
            seen = look(self._devices(), now, stale_after_seconds=self._stale_after_seconds)
            if not any(fits(rollout, sighting) for sighting in seen.streams.values()):
                what = f"named {order.stream}" if order.stream else f"that runs {order.bundle.name}"
                raise ConflictError(
                    f"there is no stream {what} there, or all run a later version",
                    fix="check the scope, or name the stream",
                )
            self._seen = seen
            return self._change(rollout, who, "start", _described(rollout), now)

    def stop(self, rollout_id: str, who: str, *, back: bool, revision: int | None = None) -> Rollout:
        """Give the bundle to nobody else. Of one that has stopped by itself it says that this has been seen to.

        Args:
            rollout_id: of which.
            who: the operator.
            back: whether devices that run it are to go back.
            revision: that the operator has seen; None where they do not mind.

        Raises:
            UnknownRolloutError: where there is none.
            ConflictError: where it is over, an operator has stopped it already, or it is another one than was seen.
            StoreError: where the disk refuses.
        """
        with self._lock:
            rollout = self._found(rollout_id, revision)
            changes_something = rollout.stopped_by == SERVER or (back and not rollout.back)
            if not (rollout.holds or (rollout.status is Status.STOPPED and changes_something)):
                raise ConflictError(f"rollout {rollout_id} is {rollout.status.value} already")
            changed = replace(
                rollout,
                status=Status.STOPPED,
                back=back,
                reason=rollout.reason or f"by {who}",
                stopped_by=who,
                settled_at=None,
                hold=None,
            )
            return self._change(changed, who, "stop", "devices go back" if back else "devices stay as they are")

    def resume(self, rollout_id: str, who: str, *, revision: int | None = None) -> Rollout:
        """Go on with one that has stopped. What spoke against it until now counts no more.

        Raises:
            UnknownRolloutError: where there is none.
            ConflictError: where it has not stopped, a later one takes its place, or it is another one than seen.
            StoreError: where the disk refuses.
        """
        with self._lock:
            rollout = self._found(rollout_id, revision)
            if rollout.status is not Status.STOPPED:
                raise ConflictError(f"rollout {rollout_id} is {rollout.status.value}, not stopped")
            later = [
                each
                for each in self._ledger.rollouts.values()
                if each.bundle.name == rollout.bundle.name and each.number > rollout.number
            ]
            if later:
                raise ConflictError(f"rollout {later[0].id} of {later[0].bundle} is later", fix="start a new one")
            self._refuse_a_second(rollout)
            now = self._clock.now().wall
            anew = {
                key: replace(
                    known, told_at=now, new=Exposure(), refused_since=None, alarm_is_old=known.alarm, scored=False
                )
                for key, known in self._ledger.facts(rollout_id).items()
            }
            changed = replace(
                rollout,
                status=Status.RUNNING,
                back=False,
                reason="",
                stopped_by="",
                settled_at=None,
                hold=None,
                evidence=None,
            )
            return self._change(changed, who, "resume", "", now, facts=anew)

    def widen(self, rollout_id: str, who: str, *, percent: int, revision: int | None = None) -> Rollout:
        """Reach more devices now. Alarms that are raised so far hold it no longer.

        Raises:
            UnknownRolloutError: where there is none.
            ConflictError: where it has stopped, reaches as many already, or is another one than the operator has seen.
            StoreError: where the disk refuses.
        """
        with self._lock:
            rollout = self._found(rollout_id, revision)
            if not rollout.holds:
                raise ConflictError(
                    f"rollout {rollout_id} is {rollout.status.value}", fix="resume it, or start a new one"
                )
            if percent <= rollout.percent:
                raise ConflictError(f"rollout {rollout_id} reaches {rollout.percent} % already")
            if rollout.status is Status.DONE:
                self._refuse_a_second(rollout)
            seen = {
                key: replace(known, alarm_is_old=known.alarm) for key, known in self._ledger.facts(rollout_id).items()
            }
            changed = replace(rollout, percent=percent, status=Status.RUNNING, settled_at=None, hold=None)
            return self._change(changed, who, "widen", f"from {rollout.percent} % to {percent} %", facts=seen)

    # --- what there is to see ------------------------------------------------------------------------

    def all(self) -> list[Rollout]:
        """All rollouts, the latest first."""
        with self._lock:
            return list(self._ledger.rollouts.values())

    def standings(self) -> Mapping[Standing, int]:
        """How many rollouts stand how."""
        return standings(self.all())

    def digest(self, bundle: BundleId) -> str:
        """The sha256 of what the latest rollout of a bundle began with; empty where there is none that knows it."""
        return next((each.digest for each in self.all() if each.bundle == bundle), "")

    def find(self, rollout_id: str) -> Rollout:
        """One of them.

        Raises:
            UnknownRolloutError: where there is none.
        """
        with self._lock:
            return self._found(rollout_id, None)

    def facts(self, rollout_id: str) -> Mapping[StreamKey, Facts]:
        """What is known of a rollout's streams."""
        with self._lock:
            return self._ledger.facts(rollout_id)

    def seen(self) -> Seen:
        """The fleet, as last looked at."""
        with self._lock:
            return self._seen

    def steps(self, rollout_id: str) -> list[Step]:
        """What has happened to a rollout, in order."""
        return self._ledger.steps(rollout_id)

    # --- within --------------------------------------------------------------------------------------

    def _found(self, rollout_id: str, revision: int | None) -> Rollout:
        rollout = self._ledger.rollouts.get(rollout_id)
        if rollout is None:
            raise UnknownRolloutError(f"there is no rollout {rollout_id[:_MOST_OF_AN_ID]}")
        if revision not in (None, rollout.revision):
            raise ConflictError(
                f"rollout {rollout_id} has changed meanwhile: it is at revision {rollout.revision}", fix="look again"
            )
        return rollout

    def _refuse_a_second(self, rollout: Rollout) -> None:
        for each in self._ledger.rollouts.values():
            if each.status is Status.RUNNING and each.bundle.name == rollout.bundle.name and each.id != rollout.id:
                raise ConflictError(
                    f"rollout {each.id} of {each.bundle} is running", fix="stop it first, or let it come to its end"
                )

    def _change(
        self,
        rollout: Rollout,
        who: str,
        action: str,
        detail: str,
        now: float | None = None,
        *,
        facts: dict[StreamKey, Facts] | None = None,
    ) -> Rollout:
        """Keep what an operator has changed, and look soon."""
        now = self._clock.now().wall if now is None else now
        if rollout.id in self._ledger.rollouts:
            rollout = replace(rollout, revision=rollout.revision + 1)
        # A new one comes first, one that is known keeps its place.
        rollouts = {rollout.id: rollout, **self._ledger.rollouts, rollout.id: rollout}
        known = {} if facts is None else {rollout.id: facts}
        self._ledger.keep(now, rollouts=rollouts, facts=known, steps=[Step(rollout.id, now, who, action, detail)])
        self._wake.set()
        return rollout

    def _send(self, now: float) -> None:
        """Send what has not been sent. One that is sent, and not kept as such, is sent again: that changes nothing."""
        sent: list[DeviceKey] = []
        for device, command in self._ledger.commands.items():
            if command.sent_at is None and len(sent) < MOST_SENT:
                if not self._publish(device_topic(*device, DeviceTopic.COMMAND), command.payload):
                    break
                sent.append(device)
        self._ledger.sent(sent, now)


def _supersede(rollouts: dict[str, Rollout], now: float) -> Iterable[Step]:
    """Mark those that are done and that a later one covers."""
    done = [each for each in rollouts.values() if each.status is Status.DONE]
    for earlier in done:
        for later in done:
            if covers(later, earlier):
                rollouts[earlier.id] = replace(earlier, status=Status.SUPERSEDED, revision=earlier.revision + 1)
                yield Step(earlier.id, now, SERVER, "supersede", f"by rollout {later.id} of {later.bundle}")
                break


def _described(rollout: Rollout) -> str:
    where = "/".join(part for part in (rollout.site, rollout.device) if part) or "the fleet"
    stages = ", ".join(map(str, rollout.stages))
    what = f"streams named {rollout.stream}" if rollout.stream else f"streams that run {rollout.bundle.name}"
    return f"{rollout.bundle} for {what} in {where}, {stages} %, each for {rollout.soak_seconds:g} s"
