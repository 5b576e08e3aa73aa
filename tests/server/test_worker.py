import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from driftprint.messages import AckMessage, DeviceMessage, decode, encode
from driftprint_server.counts import Counts, Kind, Reason
from driftprint_server.fleet import Fleet
from driftprint_server.inbox import Inbox, Received
from driftprint_server.keepers import PROBE_SECONDS, FleetKeeper
from driftprint_server.store import Store
from driftprint_server.times import SETTLE_SECONDS
from driftprint_server.worker import Worker
from tests.server.clocks import FakeClock
from tests.server.messages import NEW, OLD, alert, health, state, topic_of, window

ACK_TOPIC = "driftprint/v1/north/pi-1/ack"


class Bench:
    """A worker with a real store, and what it has published."""

    def __init__(self, path: Path, *, acknowledge: bool = True) -> None:
        self.clock = FakeClock()
        self.counts = Counts()
        self.path = path
        self.store = Store(path)
        self.fleet = Fleet(self.store.load(), max_devices=3, forget_after_seconds=1000)
        self.published: list[tuple[str, AckMessage]] = []
        self.link_up = True
        self.worker = Worker(
            Inbox(),
            keeper=FleetKeeper(self.fleet, self.store, now=self.clock.now()),
            publish=self._publish,
            counts=self.counts,
            clock=self.clock,
            acknowledge=acknowledge,
        )

    def _publish(self, topic: str, payload: bytes) -> bool:
        if self.link_up:
            self.published.append((topic, decode(AckMessage, payload, topic=topic)))
        return self.link_up

    def send(self, *messages: DeviceMessage) -> None:
        self.deliver(*[(topic_of(message), encode(message)) for message in messages])

    def deliver(self, *messages: tuple[str, bytes]) -> None:
        self.worker.step([Received(topic, payload, False, self.clock.wall) for topic, payload in messages])

    @property
    def acked(self) -> list[int]:
        return [seq for _, ack in self.published for seq in ack.seqs]


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path / "server.db")


@pytest.fixture
def other(bench: Bench) -> Iterator[sqlite3.Connection]:
    """Another program with the same file open."""
    connection = sqlite3.connect(bench.path, isolation_level=None)
    yield connection
    connection.close()


def test_what_needs_an_answer_is_acknowledged_once_stored(bench: Bench, other: sqlite3.Connection) -> None:
    bench.send(state(), health(), window(1), alert(2), window(1, device="pi-2"))
    assert bench.published == [
        (ACK_TOPIC, AckMessage(instance=OLD, seqs=(1, 2))),
        ("driftprint/v1/north/pi-2/ack", AckMessage(instance=OLD, seqs=(1,))),
    ]
    assert other.execute("SELECT count(*) FROM stream").fetchone() == (2,)
    assert bench.counts.acks == 3
    assert bench.counts.messages == {Kind.STATE: 1, Kind.HEALTH: 1, Kind.WINDOW: 2, Kind.ALERT: 1}


def test_a_message_sent_again_is_acknowledged_again(bench: Bench) -> None:
    for _ in range(2):
        bench.send(window(1))
    assert bench.acked == [1, 1]


def test_an_acknowledgement_lists_a_thousand_messages_at_most(bench: Bench) -> None:
    bench.send(*[window(seq) for seq in range(1, 2502)])
    assert [len(ack.seqs) for _, ack in bench.published] == [1000, 1000, 501]
    assert bench.acked == list(range(1, 2502))


def test_nothing_is_acknowledged_while_the_store_refuses(bench: Bench, other: sqlite3.Connection) -> None:
    other.execute("BEGIN IMMEDIATE")
    bench.send(alert(1))
    assert bench.acked == []
    assert bench.counts.store_errors == 1
    assert "locked" in str(bench.worker.store_problem)
    bench.send(alert(1))  # the device tries again, and the fleet has learnt nothing new
    assert bench.acked == []

    other.execute("ROLLBACK")
    bench.worker.step([])
    assert bench.worker.store_problem is None
    assert other.execute("SELECT count(*) FROM alert").fetchone() == (1,)
    assert bench.acked == []
    bench.send(alert(1))
    assert bench.acked == [1]


def test_a_known_message_is_not_acknowledged_while_the_store_refuses(bench: Bench, other: sqlite3.Connection) -> None:
    bench.send(window(1))
    other.execute("BEGIN IMMEDIATE")
    bench.send(window(1))
    assert bench.acked == [1]
    assert bench.counts.store_errors == 1


def test_an_idle_store_is_tried_now_and_then(bench: Bench, other: sqlite3.Connection) -> None:
    other.execute("BEGIN IMMEDIATE")
    bench.worker.step([])
    assert bench.worker.store_problem is None
    bench.clock.wall += PROBE_SECONDS
    bench.worker.step([])
    assert bench.worker.store_problem is not None


def test_windows_of_a_superseded_instance_are_acknowledged_and_ignored(bench: Bench) -> None:
    bench.send(window(5), window(1, instance=NEW), window(6, frames_total=10**6))
    assert bench.published == [
        (ACK_TOPIC, AckMessage(instance=OLD, seqs=(5, 6))),
        (ACK_TOPIC, AckMessage(instance=NEW, seqs=(1,))),
    ]
    assert bench.counts.rejected[Reason.SUPERSEDED_INSTANCE] == 1
    (device,) = bench.fleet.devices()
    assert device.instance == NEW


def test_rejected_messages_are_counted_and_not_acknowledged(bench: Bench) -> None:
    body = json.loads(encode(window(2)))
    bench.deliver(
        (topic_of(window()), b"\xff\xfe garbage"),
        (topic_of(window()), b" " * 300_000),
        (topic_of(window()), json.dumps(body | {"schema": 9}).encode()),
        ("driftprint/v1/north/pi-2/belt/window", encode(window(3))),
        ("driftprint/v1/north/pi-1/command", b"{}"),
        ("driftprint/v1/north/pi-1/belt/window", b""),
        (topic_of(window(4)), encode(window(4))),
    )
    bench.send(window(5, device="pi-2"), window(6, device="pi-3"), window(7, device="pi-4"))
    assert {reason: total for reason, total in bench.counts.rejected.items() if total} == {
        Reason.INVALID: 2,
        Reason.TOO_LARGE: 1,
        Reason.SCHEMA_VERSION: 1,
        Reason.IDENTITY: 1,
        Reason.TOPIC: 1,
        Reason.TOO_MANY_DEVICES: 1,
    }
    assert bench.acked == [4, 5, 6]


def test_the_log_names_each_device_whose_messages_are_rejected(bench: Bench) -> None:
    with capture_logs() as lines:
        bench.deliver(*[(topic_of(window()), b"junk")] * 150)
        bench.deliver(*[("driftprint/v1/north/pi-2/belt/window", b"junk")] * 700)
    told = [(line["reason"], line["topic"]) for line in lines]
    assert told == [("invalid", topic_of(window())), ("invalid", "driftprint/v1/north/pi-2/belt/window")]


def test_acknowledging_can_be_left_to_others(tmp_path: Path) -> None:
    bench = Bench(tmp_path / "silent.db", acknowledge=False)
    bench.send(window(1), alert(2), window(1, instance=NEW), window(3))
    assert bench.published == []
    assert bench.counts.acks == 0
    assert bench.counts.messages[Kind.WINDOW] == 2
    assert [device.name for device in bench.store.load()] == ["pi-1"]


def test_a_fault_of_ours_does_not_end_the_worker(bench: Bench) -> None:
    class Strange(bytes):
        def __len__(self) -> int:
            raise ZeroDivisionError

    bench.deliver((topic_of(window()), Strange(b"x")), (topic_of(window()), encode(window(1))))
    assert bench.counts.rejected[Reason.INTERNAL] == 1
    assert bench.acked == [1]


def test_what_could_not_be_sent_is_not_counted_as_acknowledged(bench: Bench) -> None:
    bench.link_up = False
    bench.send(window(1))
    assert bench.counts.acks == 0


def test_clearing_the_retained_state_forgets_a_device(bench: Bench) -> None:
    bench.send(state(), window(1))
    bench.deliver((topic_of(state()), b""))
    assert bench.fleet.devices() == ()
    assert sum(bench.counts.rejected.values()) == 0


def test_silent_devices_are_forgotten_without_any_message(bench: Bench) -> None:
    bench.send(window(1))
    bench.clock.wall += 1001 + SETTLE_SECONDS
    bench.worker.step([])
    assert bench.store.load() == []


def test_the_worker_ends_with_an_empty_inbox(tmp_path: Path) -> None:
    bench = Bench(tmp_path / "second.db")
    inbox = Inbox()
    for seq in range(1, 1500):
        inbox.put(Received(topic_of(window(seq)), encode(window(seq)), False, bench.clock.wall))
    worker = Worker(
        inbox,
        keeper=FleetKeeper(bench.fleet, bench.store, now=bench.clock.now()),
        publish=bench._publish,
        counts=bench.counts,
        clock=bench.clock,
    )
    worker.run(stopping=lambda: True)
    assert bench.acked == list(range(1, 1500))
