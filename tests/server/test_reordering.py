"""A fifth of all messages twice, and all of them out of order: what the server knows in the end is the same.

Two dates are left out, for they say when the server itself heard of a device: first (`heard_at`) and last
(`last_seen`). A state or health report has no number and is in no outbox: the broker keeps the order of what one
device says, so these stay in theirs. And one thing must have been heard of an instance before its successor speaks:
of two that the server has never heard of, the one that speaks last is the newer.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import pytest
from msgspec.structs import replace

from driftprint.messages import AckMessage, AlertStatus, Cause, DeviceMessage, StreamMessage, decode, encode
from driftprint_server.counts import Counts, Reason
from driftprint_server.device import MOST_ALERTS, Device, Stream
from driftprint_server.fleet import Fleet
from driftprint_server.inbox import Inbox, Received
from driftprint_server.keepers import FleetKeeper
from driftprint_server.store import Store
from driftprint_server.worker import Worker
from tests.server.clocks import FakeClock
from tests.server.messages import alert, health, state, topic_of, window

NOW = 1_000_000.0
DEVICES = 5
INSTANCES = tuple(letter * 16 for letter in "abc")
STEPS = 150
"""Of a device in one instance; an alert is raised at every second one, so that there are more than are kept."""
FURTHEST = 60
"""A message comes so many places too late, at most."""


@dataclass(frozen=True)
class Said:
    """A message, and when it was first sent."""

    message: DeviceMessage
    at: float


def said_by(device: str, random: Random) -> list[Said]:
    """Windows, alerts that are raised, updated and cleared, reports, and now and then a new instance."""
    log: list[Said] = []
    seq = number = 0
    for instance in INSTANCES:
        who: dict[str, Any] = {"device": device, "instance": instance}
        log.append(Said(state(**who, streams=("belt", "chute")), 0.0))
        seq = 0
        for step in range(STEPS):
            seq += 1
            stream = random.choice(["belt", "chute"])
            log.append(Said(window(seq, stream=stream, ratio=random.random(), alarm=step % 2 == 0, **who), 0.0))
            if step % 20 == 0:
                log.append(Said(health(uptime_seconds=float(step), device=device, instance=instance), 0.0))
            if step % 2:
                continue
            number += 1
            cause = random.choice([Cause.DRIFT, Cause.FROZEN])
            lives = [AlertStatus.RAISED, AlertStatus.UPDATED, AlertStatus.CLEARED][: random.randint(1, 3)]
            for revision, status in enumerate(lives):
                seq += 1
                one = alert(seq, number=number, revision=revision, status=status, cause=cause, stream=stream, **who)
                log.append(Said(one, 0.0))
    return log


def fleet_log(random: Random) -> list[Said]:
    """What all devices say, each in its order, one message a second."""
    logs = [said_by(f"pi-{number}", random) for number in range(DEVICES)]
    log: list[Said] = []
    while any(logs):
        speaker = random.choice([one for one in logs if one])
        log.append(Said(speaker.pop(0).message, NOW + len(log)))
    return log


def disturbed(log: Sequence[Said], random: Random) -> list[Said]:
    """The same with a fifth of the outboxes' messages once more, and all of those out of order."""
    places: list[tuple[float, Said]] = []
    for place, one in enumerate(log):
        numbered = isinstance(one.message, StreamMessage)
        places.append((place + (random.uniform(0, FURTHEST) if numbered else 0.5), one))
        if numbered and random.random() < 0.2:
            places.append((place + random.uniform(0, 10 * FURTHEST), one))
    return [one for _, one in sorted(places, key=lambda pair: pair[0])]


class Line:
    """A worker with its fleet and store, and whom it has answered."""

    def __init__(self, path: Path) -> None:
        self.clock = FakeClock(NOW)
        self.counts = Counts()
        self.store = Store(path)
        self.fleet = Fleet(self.store.load(), max_devices=DEVICES, forget_after_seconds=10**9)
        self.acked: set[tuple[str, str, int]] = set()
        self.worker = Worker(
            Inbox(),
            keeper=FleetKeeper(self.fleet, self.store, now=self.clock.now()),
            publish=self._publish,
            counts=self.counts,
            clock=self.clock,
        )

    def _publish(self, topic: str, payload: bytes) -> bool:
        ack = decode(AckMessage, payload, topic=topic)
        self.acked |= {(topic.split("/")[3], ack.instance, seq) for seq in ack.seqs}
        return True

    def take(self, log: Sequence[Said], random: Random) -> None:
        """Hear it, in batches of any size. Each message says how old it is by then."""
        place = 0
        while place < len(log):
            batch = log[place : place + random.randint(1, 100)]
            place += len(batch)
            self.clock.wall = max(self.clock.wall, *(one.at for one in batch))
            self.worker.step([self._received(one) for one in batch])

    def _received(self, one: Said) -> Received:
        message, arrived = one.message, one.at
        if isinstance(message, StreamMessage):
            arrived = self.clock.wall
            message = message.model_copy(update={"age_seconds": arrived - one.at})
        return Received(topic_of(message), encode(message), False, arrived)


def known_of(devices: Sequence[Device]) -> list[Device]:
    """Without when the server itself heard of them, and how long windows took to it: their dates have that in them."""
    ordered = sorted(devices, key=lambda device: (device.site, device.name))
    return [
        replace(
            device,
            heard_at=0.0,
            last_seen=None,
            streams={name: _without_age(stream) for name, stream in device.streams.items()},
        )
        for device in ordered
    ]


def _without_age(stream: Stream) -> Stream:
    if stream.window is None:
        return stream
    return replace(stream, window=replace(stream.window, message=replace(stream.window.message, age_seconds=0.0)))


@pytest.mark.parametrize("seed", range(5))
def test_a_disturbed_run_ends_as_a_clean_one(tmp_path: Path, seed: int) -> None:
    log = fleet_log(Random(seed))
    clean, other = Line(tmp_path / "clean.db"), Line(tmp_path / "other.db")
    clean.take(log, Random(seed))
    shaken = disturbed(log, Random(seed + 100))
    assert len(shaken) > 1.15 * len(log)
    assert [one.message for one in shaken[: len(log)]] != [one.message for one in log]
    other.take(shaken, Random(seed + 200))

    assert known_of(other.fleet.devices()) == known_of(clean.fleet.devices())
    assert known_of(other.store.load()) == known_of(other.fleet.devices())
    assert known_of(clean.store.load()) == known_of(clean.fleet.devices())


def test_every_message_of_a_disturbed_run_is_answered(tmp_path: Path) -> None:
    log = fleet_log(Random(7))
    line = Line(tmp_path / "server.db")
    line.take(disturbed(log, Random(8)), Random(9))
    numbered = [one.message for one in log if isinstance(one.message, StreamMessage)]
    assert line.acked == {(message.device, message.instance, message.seq) for message in numbered}
    assert {reason for reason, total in line.counts.rejected.items() if total} == {Reason.SUPERSEDED_INSTANCE}


def test_the_log_holds_what_makes_it_hard(tmp_path: Path) -> None:
    line = Line(tmp_path / "server.db")
    line.take(fleet_log(Random(1)), Random(1))
    for device in line.fleet.devices():
        assert device.instance == INSTANCES[-1]
        assert device.superseded == INSTANCES[:-1]
        for stream in device.streams.values():
            assert len(stream.alerts) == MOST_ALERTS
            assert {kept.message.status for kept in stream.alerts.values()} == set(AlertStatus)


def test_a_restart_in_the_middle_of_a_disturbed_run_changes_nothing(tmp_path: Path) -> None:
    log = fleet_log(Random(3))
    shaken = disturbed(log, Random(4))
    clean, first = Line(tmp_path / "clean.db"), Line(tmp_path / "other.db")
    clean.take(log, Random(5))
    first.take(shaken[: len(shaken) // 2], Random(6))
    first.store.close()
    second = Line(tmp_path / "other.db")
    second.clock.wall = first.clock.wall
    second.take(shaken[len(shaken) // 2 :], Random(7))
    assert known_of(second.fleet.devices()) == known_of(clean.fleet.devices())
