"""What is known of all rollouts: in memory as it is on the disk, and never ahead of it."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from driftprint_server.audit import Audit
from driftprint_server.operators import OperatorStore
from driftprint_server.rollout.model import DeviceKey, Exposure, Facts, Rollout, Status, Step, StreamKey
from driftprint_server.rollout.news import News
from driftprint_server.rollout.plan import covers
from driftprint_server.rollout.store import Command, RolloutStore

KEEP_SECONDS = 60.0
"""Totals alone are written to the disk this often: what they were in between can be told from what they are."""

LONG_AGO = 0.0
"""Unix time."""


class Ledger:
    """All rollouts, what is known of their streams, and what devices are told.

    Args:
        store: the disk.
        audit: told of every step, in the same transaction.
        news: as the audit.

    Raises:
        StoreError: where the disk refuses.
    """

    def __init__(self, store: OperatorStore, audit: Audit, news: News) -> None:
        self._store = RolloutStore(store)
        self._audit = audit
        self._news = news
        self._rollouts = self._store.rollouts()
        self._facts = {each.id: self._store.facts(each.id) for each in self.active()}
        self._on_disk = {rollout: dict(facts) for rollout, facts in self._facts.items()}
        self._commands = {device: _after_restart(command) for device, command in self._store.commands().items()}
        self._totals_kept_at = float("-inf")

    @property
    def rollouts(self) -> Mapping[str, Rollout]:
        """By id, the latest first."""
        return self._rollouts

    @property
    def commands(self) -> Mapping[DeviceKey, Command]:
        """What devices are told."""
        return self._commands

    def active(self) -> list[Rollout]:
        """Those that may have a say, the latest first."""
        rollouts = list(self._rollouts.values())
        done = [each for each in rollouts if each.status is Status.DONE]
        return [
            each
            for each in rollouts
            if each.status is not Status.SUPERSEDED and not any(covers(later, each) for later in done)
        ]

    def facts(self, rollout_id: str) -> dict[StreamKey, Facts]:
        """What is known of a rollout's streams. Of one that has had no say for long only the disk knows."""
        facts = self._facts.get(rollout_id)
        return self._store.facts(rollout_id) if facts is None else facts

    def steps(self, rollout_id: str) -> list[Step]:
        """What has happened to a rollout, in order."""
        return self._store.steps(rollout_id)

    def keep(
        self,
        now: float,
        *,
        rollouts: Mapping[str, Rollout],
        facts: Mapping[str, dict[StreamKey, Facts]],
        steps: Sequence[Step] = (),
        commands: Mapping[DeviceKey, Command | None] | None = None,
    ) -> None:
        """Write what has changed, and only then go by it.

        Args:
            now: Unix time.
            rollouts: all of them, the latest first.
            facts: of rollouts' streams; those of others stay as they are.
            steps: what has happened.
            commands: that have changed; None in place of one that can be forgotten.

        Raises:
            StoreError: where the disk refuses; nothing has changed then.
        """
        commands = commands or {}
        changed = [each for each in rollouts.values() if self._rollouts.get(each.id) != each]
        with_totals = now - self._totals_kept_at >= KEEP_SECONDS
        unwritten = {
            rollout: _unwritten(self._on_disk.get(rollout, {}), known, with_totals=with_totals)
            for rollout, known in facts.items()
        }
        if changed or steps or commands or any(unwritten.values()):
            with self._store.transaction() as db:
                self._store.put_rollouts(db, changed)
                for rollout, known in unwritten.items():
                    self._store.put_facts(db, rollout, known.items())
                self._store.put_commands(db, commands.items())
                self._store.add_steps(db, steps)
                for step in steps:
                    self._tell(db, rollouts[step.rollout], step)
            if steps:
                self._news.wake()
        for rollout, known in unwritten.items():
            self._on_disk.setdefault(rollout, {}).update(known)
        if with_totals:
            self._totals_kept_at = now
        self._rollouts = dict(rollouts)
        self._facts |= facts
        self._commands = _applied(self._commands, commands)

    def sent(self, devices: Iterable[DeviceKey], now: float) -> None:
        """Keep that devices have been told.

        Raises:
            StoreError: where the disk refuses. They will be told the same again, which changes nothing.
        """
        sent: dict[DeviceKey, Command | None] = {
            device: replace(self._commands[device], sent_at=now) for device in devices
        }
        if sent:
            with self._store.transaction() as db:
                self._store.put_commands(db, sent.items())
            self._commands = _applied(self._commands, sent)

    def _tell(self, db: sqlite3.Connection, rollout: Rollout, step: Step) -> None:
        detail = {"bundle": str(rollout.bundle), "detail": step.detail}
        if step.action == "start":
            detail["sha256"] = rollout.digest
        self._audit.write(db, who=step.who, action=f"rollout.{step.action}", target=rollout.id, detail=detail)
        self._news.rollout(db, rollout, step)


def _unwritten(
    on_disk: Mapping[StreamKey, Facts], known: Mapping[StreamKey, Facts], *, with_totals: bool
) -> dict[StreamKey, Facts]:
    """What must be written of what is known: all that differs, or else what a device's totals could not tell later."""
    return {
        key: facts
        for key, facts in known.items()
        if (before := on_disk.get(key)) is not facts
        and (before is None or (before != facts if with_totals else _without_totals(before) != _without_totals(facts)))
    }


def _without_totals(facts: Facts) -> Facts:
    """What is left where frames do not count."""
    return replace(
        facts,
        frames=0,
        old=Exposure(0, facts.old.alarms),
        new=Exposure(0, facts.new.alarms),
    )


def _after_restart(command: Command) -> Command:
    """What was sent last may have been cut off on its way when the server ended.

    A device that does not follow is told again at once, not in a minute; that nothing is wanted of it any more, a
    device is told again in any case, for it cannot be seen whether it knows.
    """
    if command.sent_at is None:
        return command
    return replace(command, sent_at=LONG_AGO if command.payload else None)


def _applied(
    known: Mapping[DeviceKey, Command], changes: Mapping[DeviceKey, Command | None]
) -> dict[DeviceKey, Command]:
    merged = {**known, **changes}
    return {device: command for device, command in merged.items() if command is not None}
