"""Three days without a broker, in simulated time: what is kept, what is dropped, and in which order it comes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from driftprint_edge.courier import Courier
from driftprint_edge.store import Pending, Store
from tests.edge_agent.stores import open_store, seqs_of, state, waiting
from tests.server.clocks import FakeClock
from tests.server.messages import alert, window

STREAMS = ("belt", "chute", "dock", "gate")
REPORT_SECONDS = 10
HOUR = 3600
OUTAGE = 72 * HOUR
TICK = 0.5
"""The link asks the courier at every event, and at least so often."""
MOST_MESSAGES = 5_000


class Device:
    """Reports by a simulated clock as the agent does: windows of four streams, and an alert every two hours."""

    def __init__(self, store: Store, clock: FakeClock) -> None:
        self.store = store
        self.clock = clock
        self.windows: list[int] = []
        self.alerts: list[int] = []

    def report(self) -> None:
        """All streams' windows, and alerts when it is time for them."""
        self.windows += [self.store.commit(state(), window(stream=stream)).seq for stream in STREAMS]
        if int(self.clock.wall) % (2 * HOUR) == 0:
            self.alerts.append(self.store.commit(state(), alert(number=len(self.alerts) + 1)).seq)
        self.clock.wall += REPORT_SECONDS

    def is_away_for(self, seconds: int) -> None:
        """Report without a broker."""
        for _ in range(seconds // REPORT_SECONDS):
            self.report()


class Server:
    """Acknowledges everything, a tick after it was sent."""

    def __init__(self, device: Device) -> None:
        self.courier = Courier(device.store)
        self.courier.connected()
        self.heard: list[Pending] = []
        self._device = device

    def ticks(self, seconds: int) -> Iterator[list[Pending]]:
        """What is sent in each tick, while the device goes on reporting; its clock goes on with the reports."""
        start = self._device.clock.wall
        for number in range(int(seconds / TICK)):
            if reports_at(number):
                self._device.report()
            self._device.store.flush(at_once=True)
            due = self.courier.due(start + number * TICK)
            yield due
            self.heard += due
            self.courier.acknowledged(seqs_of(due))


def reports_at(tick: int) -> bool:
    """Whether the device, whose broker is there again, reports before this tick."""
    return tick * TICK % REPORT_SECONDS == REPORT_SECONDS / 2


@pytest.fixture(scope="module")
def outage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Device]:
    """A device after three days without a broker. What a test does with it the next one finds."""
    clock = FakeClock()
    # Seconds to wait for a group: of 100 000 windows each by itself would take this test long.
    folder = tmp_path_factory.mktemp("outage")
    store = open_store(folder / "agent.db", clock, max_messages=MOST_MESSAGES, group_seconds=600.0)
    device = Device(store, clock)
    device.is_away_for(OUTAGE)
    store.flush(at_once=True)
    yield device
    store.close()


def test_the_cap_holds_every_drop_is_counted_and_all_alerts_are_there(outage: Device) -> None:
    store = outage.store
    said = len(outage.windows) + len(outage.alerts)
    assert len(outage.windows) == 4 * OUTAGE / REPORT_SECONDS
    assert store.outbox_messages == len(waiting(store)) == MOST_MESSAGES
    assert store.dropped_total == said - MOST_MESSAGES
    assert len(outage.alerts) == 36
    newest = outage.windows[len(outage.alerts) - MOST_MESSAGES :]
    assert waiting(store) == [*outage.alerts, *newest], "the latest windows"


def test_on_the_return_alerts_then_how_things_stand_then_the_oldest_and_live_data_at_once(outage: Device) -> None:
    backlog = set(waiting(outage.store))
    latest = outage.windows[-4:]
    server = Server(outage)
    seconds = 60
    sent: Counter[str] = Counter()
    for number, due in enumerate(server.ticks(seconds)):
        seqs = seqs_of(due)
        if number == 0:
            waiting_alerts = [seq for seq in seqs if seq in outage.alerts]
            assert seqs[: len(waiting_alerts) + 4] == [*waiting_alerts, *latest]
            assert seqs[0] == outage.alerts[0]
        elif reports_at(number):
            live = outage.windows[-4:]
            assert [seq for seq in seqs if seq not in outage.alerts][:4] == live, "before the backlog, and at once"
        sent.update("backlog" if seq in backlog else "live" for seq in seqs)
    # The backlog goes at ten times the pace of what is new, or more.
    assert sent["live"] == 4 * seconds / REPORT_SECONDS
    assert sent["backlog"] >= 10 * sent["live"]
    windows = [seq for seq in seqs_of(server.heard) if seq in backlog and seq not in {*outage.alerts, *latest}]
    assert windows == sorted(windows), "the oldest first"
    for _ in server.ticks(60):
        pass
    assert waiting(outage.store) == []
    heard = Counter(seqs_of(server.heard))
    assert set(heard.values()) == {1}
    assert set(heard) >= backlog >= set(outage.alerts)


def test_the_cap_in_bytes_holds_likewise(tmp_path: Path) -> None:
    clock = FakeClock()
    store = open_store(tmp_path / "agent.db", clock, max_messages=10**6, max_megabytes=1.0, group_seconds=600.0)
    device = Device(store, clock)
    device.is_away_for(OUTAGE // 6)
    store.flush(at_once=True)
    kept = store.find(waiting(store)[:900])  # by number, as many as SQLite takes in one question
    held = [*store.pending(urgent=True, after=0, limit=10**6), *store.pending(urgent=False, after=0, limit=10**6)]
    size = sum(len(message.payload) for message in held)
    assert 0.99e6 < size <= 1e6
    assert set(device.alerts) <= set(seqs_of(kept))
    assert store.dropped_total == len(device.windows) + len(device.alerts) - len(held)
    assert seqs_of(held)[len(device.alerts) :] == device.windows[len(device.alerts) - len(held) :]
    store.close()
