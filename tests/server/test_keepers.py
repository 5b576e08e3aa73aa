"""What becomes of messages: of a fleet's, and of those that are only handed on."""

import sqlite3
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from driftprint.clock import Instant
from driftprint.errors import MessageError, StoreError
from driftprint.messages import AckMessage, DeviceMessage, DeviceStatus, decode, encode
from driftprint_server.caps import CapSettings, SeriesCaps
from driftprint_server.counts import Counts, Kind, Reason
from driftprint_server.fleet import Fleet
from driftprint_server.inbox import Inbox, Received
from driftprint_server.keepers import SWEEP_SECONDS, FleetKeeper, Keeper, Relay
from driftprint_server.records import FleetMessage, kept
from driftprint_server.sinks import Accepted
from driftprint_server.store import Store
from driftprint_server.times import SETTLE_SECONDS
from driftprint_server.worker import Worker
from tests.server.clocks import FakeClock
from tests.server.messages import NEW, OLD, alert, health, state, topic_of, window

ACK_TOPIC = "driftprint/v1/north/pi-1/ack"
MAX_DEVICES = 3
DAY = 86_400.0


class Paper:
    """A sink that writes everything down, and may fail."""

    def __init__(self) -> None:
        self.batches: list[list[Accepted]] = []
        self.failure: Exception | None = None
        self.tried = 0

    def write(self, batch: Sequence[Accepted]) -> None:
        self.tried += 1
        if self.failure is not None:
            raise self.failure
        self.batches.append(list(batch))

    @property
    def messages(self) -> list[FleetMessage]:
        return [accepted.message for batch in self.batches for accepted in batch]


class Bench:
    """A worker over a keeper, and what it has published."""

    def __init__(self, keeper: Keeper, paper: Paper, clock: FakeClock) -> None:
        self.paper, self.clock = paper, clock
        self.counts = Counts()
        self.published: list[tuple[str, AckMessage]] = []
        self.inbox = Inbox()
        self.worker = Worker(self.inbox, keeper=keeper, publish=self._publish, counts=self.counts, clock=clock)

    def _publish(self, topic: str, payload: bytes) -> bool:
        self.published.append((topic, decode(AckMessage, payload, topic=topic)))
        return True

    def send(self, *messages: DeviceMessage, retained: bool = False) -> None:
        self.deliver(*[(topic_of(message), encode(message)) for message in messages], retained=retained)

    def deliver(self, *messages: tuple[str, bytes], retained: bool = False) -> None:
        self.worker.step([Received(topic, payload, retained, self.clock.wall) for topic, payload in messages])

    @property
    def acked(self) -> list[int]:
        return [seq for _, ack in self.published for seq in ack.seqs]

    @property
    def rejected(self) -> dict[Reason, int]:
        return {reason: total for reason, total in self.counts.rejected.items() if total}


class FleetBench(Bench):
    """A worker that keeps a fleet."""

    def __init__(self, path: Path, *, caps: SeriesCaps | None = None) -> None:
        clock, paper, self.store = FakeClock(), Paper(), Store(path)
        self.fleet = Fleet(
            self.store.load(), max_devices=MAX_DEVICES, forget_after_seconds=1000, admit=refuse_pi_9, caps=caps
        )
        self.keeper = FleetKeeper(self.fleet, self.store, sinks=[paper], now=clock.now())
        super().__init__(self.keeper, paper, clock)


class RelayBench(Bench):
    """A worker that hands on."""

    def __init__(self) -> None:
        paper = Paper()
        super().__init__(
            Relay([paper], admit=lambda message: refuse_pi_9(message.site, message.device, 0.0)), paper, FakeClock()
        )


def refuse_pi_9(site: str, device: str, _at: float) -> None:
    if device == "pi-9":
        raise MessageError(f"{site}/{device} is not enrolled", reason=Reason.NOT_ENROLLED)


@pytest.fixture
def fleet_bench(tmp_path: Path) -> FleetBench:
    return FleetBench(tmp_path / "server.db")


@pytest.fixture
def relay_bench() -> RelayBench:
    return RelayBench()


@pytest.fixture(params=["fleet_bench", "relay_bench"])
def bench(request: pytest.FixtureRequest) -> Bench:
    """Over either keeper."""
    found = request.getfixturevalue(request.param)
    assert isinstance(found, Bench)
    return found


@pytest.fixture
def other(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    """Another program with the fleet's file open."""
    connection = sqlite3.connect(tmp_path / "server.db", isolation_level=None)
    yield connection
    connection.close()


def test_sinks_are_given_what_was_taken_in_at_its_time_and_then_it_is_acknowledged(bench: Bench) -> None:
    bench.send(state(), window(1, age_seconds=600.0), alert(2, age_seconds=60.0), health())
    now = bench.clock.wall
    (batch,) = bench.paper.batches
    assert [accepted.at for accepted in batch] == [now, now - 600, now - 60, now]
    assert [type(accepted.message) for accepted in batch] == [
        type(kept(message)) for message in (state(), window(), alert(), health())
    ]
    assert batch[1].message == kept(window(1, age_seconds=600.0))
    assert bench.published == [(ACK_TOPIC, AckMessage(instance=OLD, seqs=(1, 2)))]


def test_sinks_are_told_what_the_broker_had_kept(bench: Bench) -> None:
    bench.send(state(), retained=True)
    assert [accepted.retained for batch in bench.paper.batches for accepted in batch] == [True]


def test_what_is_not_taken_in_is_not_written_and_costs_the_others_of_its_batch_nothing(bench: Bench) -> None:
    forged = ("driftprint/v1/north/pi-2/belt/window", encode(window(3)))
    bench.deliver(
        (topic_of(window()), b"\xff\xfe garbage"),
        forged,
        (topic_of(window()), b""),
        (topic_of(window(1)), encode(window(1))),
        (topic_of(window(device="pi-9")), encode(window(5, device="pi-9"))),
        (topic_of(window(2)), encode(window(2))),
    )
    assert bench.rejected == {Reason.INVALID: 2, Reason.IDENTITY: 1, Reason.NOT_ENROLLED: 1}
    assert [getattr(message, "seq", None) for message in bench.paper.messages] == [1, 2]
    assert bench.published == [(ACK_TOPIC, AckMessage(instance=OLD, seqs=(1, 2)))]


def test_a_sink_that_refuses_a_batch_leaves_it_unanswered_and_it_is_written_once_it_comes_again(bench: Bench) -> None:
    bench.paper.failure = StoreError("the disk is full")
    bench.send(window(1), alert(2))
    assert (bench.acked, bench.worker.store_problem, bench.counts.store_errors) == ([], "the disk is full", 1)

    bench.paper.failure = None
    bench.worker.step([])
    assert (bench.acked, bench.paper.batches) == ([], [])
    bench.send(window(1), alert(2))
    assert bench.acked == [1, 2]
    assert [getattr(message, "seq", None) for message in bench.paper.messages] == [1, 2]
    assert bench.worker.store_problem is None


def test_a_goodbye_that_a_sink_refused_is_written_once_it_can_be(bench: Bench) -> None:
    bench.paper.failure = StoreError("away")
    bench.send(state(DeviceStatus.OFFLINE))
    bench.paper.failure = None

    bench.worker.step([])
    assert bench.paper.messages == [state(DeviceStatus.OFFLINE)]
    assert bench.worker.store_problem is None


def test_a_sink_that_fails_in_a_way_nobody_foresaw_does_not_end_the_worker(bench: Bench) -> None:
    bench.paper.failure = ZeroDivisionError("nobody foresaw it")
    for seq in range(1, 4):
        bench.inbox.put(Received(topic_of(window(seq)), encode(window(seq)), False, bench.clock.wall))
    bench.worker.run(stopping=lambda: True)
    assert (bench.paper.tried, bench.counts.store_errors, bench.acked) == (1, 1, [])

    bench.paper.failure = None
    bench.send(window(4))
    assert bench.acked == [4]


def test_a_message_that_cannot_be_taken_in_for_a_reason_nobody_foresaw_is_counted_and_no_other_is_lost() -> None:
    def admit(message: FleetMessage) -> None:
        if message.device == "pi-2":
            raise ZeroDivisionError

    paper = Paper()
    bench = Bench(Relay([paper], admit=admit), paper, FakeClock())
    bench.send(window(1), window(2, device="pi-2"), window(3))
    assert bench.rejected == {Reason.INTERNAL: 1}
    assert bench.acked == [1, 3]


def test_a_batch_without_anything_taken_in_is_not_written(bench: Bench) -> None:
    bench.deliver((topic_of(window()), b"{}"))
    bench.worker.step([])
    assert bench.paper.tried == 0


def test_all_sinks_must_have_taken_a_batch_before_it_is_acknowledged() -> None:
    first, second = Paper(), Paper()
    bench = Bench(Relay([first, second]), first, FakeClock())
    second.failure = StoreError("away")
    bench.send(window(1))
    assert (first.tried, second.tried, bench.acked) == (1, 1, [])
    second.failure = None
    bench.send(window(1))
    assert bench.acked == [1]
    assert first.messages == [kept(window(1))] * 2


def test_a_fleets_sinks_are_given_nothing_that_the_fleet_has_refused(tmp_path: Path) -> None:
    caps = SeriesCaps(CapSettings(series_per_device=100), max_classes=20)
    bench = FleetBench(tmp_path / "capped.db", caps=caps)
    streams = [window(4, instance=NEW, stream=f"belt-{number}") for number in range(9)]
    bench.send(window(1), window(2, instance=NEW), window(3), *streams)
    bench.send(*[window(5, device=f"pi-{number}") for number in range(2, 6)])

    taken = {(message.device, message.instance, getattr(message, "stream", "")) for message in bench.paper.messages}
    known = {
        (device.name, device.instance, stream.name)
        for device in bench.fleet.devices()
        for stream in device.streams.values()
    }
    assert taken == known | {("pi-1", OLD, "belt")}
    assert len(bench.paper.messages) == sum(bench.counts.messages.values())
    assert set(bench.rejected) == {Reason.SUPERSEDED_INSTANCE, Reason.TOO_MANY_SERIES, Reason.TOO_MANY_DEVICES}
    assert len(bench.acked) == len(bench.paper.messages) + bench.rejected[Reason.SUPERSEDED_INSTANCE]


def test_a_message_that_tells_the_fleet_nothing_new_is_written_and_acknowledged_again(fleet_bench: FleetBench) -> None:
    for _ in range(2):
        fleet_bench.send(window(1))
    assert fleet_bench.paper.messages == [kept(window(1))] * 2
    assert fleet_bench.acked == [1, 1]


def test_a_batch_whose_sink_refuses_it_is_not_stored_either_and_later_it_is(
    fleet_bench: FleetBench, other: sqlite3.Connection
) -> None:
    fleet_bench.paper.failure = StoreError("away")
    fleet_bench.send(window(1))
    assert other.execute("SELECT count(*) FROM stream").fetchone() == (0,)
    fleet_bench.paper.failure = None
    fleet_bench.send(window(1))
    assert other.execute("SELECT count(*) FROM stream").fetchone() == (1,)


def test_a_device_that_another_thread_forgets_is_gone_before_anything_is_next_kept(
    fleet_bench: FleetBench, other: sqlite3.Connection
) -> None:
    fleet_bench.send(window(1), window(2, device="pi-2"))
    forgetting = threading.Thread(target=fleet_bench.keeper.forget_later, args=("north", "pi-1"))
    forgetting.start()
    forgetting.join()
    assert len(fleet_bench.fleet.devices()) == 2  # one thread changes the fleet, and it is the worker's

    fleet_bench.worker.step([])
    assert [device.name for device in fleet_bench.fleet.devices()] == ["pi-2"]
    assert other.execute("SELECT device FROM device").fetchall() == [("pi-2",)]


def test_a_device_that_is_forgotten_while_its_message_comes_in_is_forgotten(fleet_bench: FleetBench) -> None:
    fleet_bench.keeper.forget_later("north", "pi-1")
    fleet_bench.send(window(1))
    assert fleet_bench.fleet.devices() == ()
    fleet_bench.send(window(2))
    assert len(fleet_bench.fleet.devices()) == 1


def test_a_device_that_speaks_after_its_state_was_cleared_is_back(fleet_bench: FleetBench) -> None:
    fleet_bench.send(window(1))
    cleared, again = (topic_of(state()), b""), window(2)
    fleet_bench.deliver(cleared, (topic_of(again), encode(again)))
    (device,) = fleet_bench.fleet.devices()
    assert device.streams["belt"].window is not None


def test_a_goodbye_that_the_broker_keeps_of_a_device_that_nobody_knows_is_handed_to_nobody(
    fleet_bench: FleetBench,
) -> None:
    fleet_bench.send(state(DeviceStatus.OFFLINE), state(device="pi-2"), retained=True)
    assert [device.name for device in fleet_bench.fleet.devices()] == ["pi-2"]
    assert [message.device for message in fleet_bench.paper.messages] == ["pi-2"]
    assert fleet_bench.counts.messages[Kind.STATE] == 2
    assert fleet_bench.rejected == {}


class Sweeps:
    """Has a fleet keep what it has at any time, by a clock that may be ahead."""

    def __init__(self, bench: FleetBench) -> None:
        self._bench = bench
        self._start = bench.clock.now()

    def at(self, seconds: float, *, ahead: float = 0.0) -> int:
        """So many seconds after the start; how many devices there are then."""
        now = Instant(self._start.monotonic + seconds, self._start.wall + seconds + ahead)
        self._bench.keeper.keep(now, wanted=False)
        return len(self._bench.fleet.devices())


def test_silent_devices_are_forgotten_but_not_in_the_first_hour(fleet_bench: FleetBench) -> None:
    fleet_bench.send(window(1))
    sweeps = Sweeps(fleet_bench)
    assert sweeps.at(SETTLE_SECONDS - 1) == 1
    assert sweeps.at(SETTLE_SECONDS + SWEEP_SECONDS) == 0


def test_a_clock_that_is_ahead_for_a_moment_costs_no_device(fleet_bench: FleetBench) -> None:
    sweeps = Sweeps(fleet_bench)
    sweeps.at(SETTLE_SECONDS)
    fleet_bench.clock.wall += SETTLE_SECONDS
    fleet_bench.send(window(1))
    begin = SETTLE_SECONDS + SWEEP_SECONDS
    assert sweeps.at(begin, ahead=20 * 365 * DAY) == 1
    assert sweeps.at(begin + SWEEP_SECONDS, ahead=20 * 365 * DAY) == 1
    assert sweeps.at(begin + 2 * SWEEP_SECONDS) == 1
    assert sweeps.at(begin + SETTLE_SECONDS) == 1
    assert sweeps.at(begin + SETTLE_SECONDS + 2 * SWEEP_SECONDS) == 0  # it has been silent for an hour


def test_a_replica_makes_nothing_of_a_state_that_is_cleared(relay_bench: RelayBench) -> None:
    relay_bench.deliver((topic_of(state()), b""))
    assert (relay_bench.paper.tried, relay_bench.rejected) == (0, {})
