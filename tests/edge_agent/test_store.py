"""The agent's memory: what is in it after whatever happened."""

import resource
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from driftprint.errors import StoreError
from driftprint_edge.salvage import seal
from driftprint_edge.store import Store
from driftprint_edge.tables import STREAM
from tests.edge_agent.stores import body, open_store, put_alerts, put_windows, state, waiting
from tests.server.clocks import FakeClock
from tests.server.messages import alert, window

MakeStore = Callable[..., Store]


@pytest.fixture
def make_store(tmp_path: Path, clock: FakeClock) -> Iterator[MakeStore]:
    """Opens a store file of the test, anew after a close."""
    stores: list[Store] = []

    def make(name: str = "agent.db", **options: Any) -> Store:
        stores.append(open_store(tmp_path / name, clock, **options))
        return stores[-1]

    yield make
    for store in stores:
        store.close()


def test_a_message_is_kept_with_its_number_until_it_is_acknowledged(store: Store) -> None:
    first, second = put_windows(store, 2)
    [urgent] = put_alerts(store, 1)
    assert (first, second, urgent) == (1, 2, 3)
    assert waiting(store) == [urgent, first, second]
    assert [message.topic for message in store.find([first, urgent])] == [
        "driftprint/v1/north/pi-1/belt/window",
        "driftprint/v1/north/pi-1/belt/alert",
    ]
    assert [body(message)["seq"] for message in store.find([first, urgent, 99])] == [first, urgent]
    store.acknowledge([second, 99])
    store.acknowledge([second])
    assert waiting(store) == [urgent, first]
    assert store.outbox_messages == 2


def test_pending_goes_on_after_a_number(store: Store) -> None:
    windows, alerts = put_windows(store, 5), put_alerts(store, 2)
    put_windows(store, 1)
    assert [message.seq for message in store.pending(urgent=False, after=windows[1], limit=2)] == windows[2:4]
    assert [message.seq for message in store.pending(urgent=True, after=0, limit=10)] == alerts


def test_a_restart_goes_on_with_instance_numbers_messages_and_state(store: Store, make_store: MakeStore) -> None:
    put_windows(store, 3)
    store.acknowledge([2])
    last = store.commit(state(frames_total=77, faults_total={"shape": 4}), window())
    store.close()
    again = make_store()
    assert again.instance == store.instance
    assert again.outbox_messages == 3
    assert waiting(again) == [1, 3, last.seq]
    assert again.load("belt") == state(frames_total=77, faults_total={"shape": 4})
    assert again.load("chute") is None
    assert put_windows(again, 1) == [last.seq + 1]


def test_another_file_is_another_instance(store: Store, tmp_path: Path, clock: FakeClock) -> None:
    other = open_store(tmp_path / "other.db", clock)
    assert other.instance != store.instance
    other.close()


def test_its_folder_is_made(tmp_path: Path, clock: FakeClock) -> None:
    open_store(tmp_path / "var" / "lib" / "agent.db", clock).close()
    assert (tmp_path / "var" / "lib" / "agent.db").exists()


def test_a_message_ages_by_the_monotonic_clock_and_after_a_restart_by_the_wall_clock(
    store: Store, make_store: MakeStore, clock: FakeClock
) -> None:
    put_windows(store, 1)
    clock.wall += 12
    [message] = store.find([1])
    assert message.age_seconds == 12
    assert "age_seconds" not in body(message) or body(message)["age_seconds"] == 0
    store.close()
    again = make_store()
    clock.wall += 8
    assert [message.age_seconds for message in again.find([1])] == [20]
    clock.wall -= 10_000
    assert [message.age_seconds for message in again.find([1])] == [0]


def test_a_full_outbox_drops_the_oldest_windows_before_any_alert(store: Store, make_store: MakeStore) -> None:
    store.close()
    store = make_store(max_messages=100)
    alerts = put_alerts(store, 30)
    windows = put_windows(store, 100)
    assert waiting(store) == alerts + windows[30:]
    assert (store.outbox_messages, store.dropped_total) == (100, 30)
    more = put_alerts(store, 70)
    assert waiting(store) == alerts + more
    assert store.dropped_total == 100
    store.close()
    assert make_store().dropped_total == 100


def test_only_a_full_outbox_of_nothing_but_alerts_drops_the_oldest_of_them(make_store: MakeStore) -> None:
    store = make_store(max_messages=100)
    alerts = put_alerts(store, 101)
    assert waiting(store) == alerts[1:]
    assert store.dropped_total == 1


def test_a_smaller_cap_than_before_is_kept_from_the_next_message_on(make_store: MakeStore) -> None:
    store = make_store()
    put_windows(store, 500)
    store.close()
    store = make_store(max_messages=100)
    put_windows(store, 1)
    assert (len(waiting(store)), store.outbox_messages, store.dropped_total) == (100, 100, 401)


def test_an_outbox_full_of_alerts_takes_no_window_in_place_of_one(make_store: MakeStore) -> None:
    store = make_store(max_messages=100)
    alerts = put_alerts(store, 100)
    put_windows(store, 1)
    assert waiting(store) == alerts
    assert store.dropped_total == 1


def test_the_outbox_has_a_cap_in_bytes_too(tmp_path: Path, clock: FakeClock) -> None:
    store = open_store(tmp_path / "small.db", clock, max_megabytes=0.02)
    alerts = put_alerts(store, 5)
    windows = put_windows(store, 100)
    kept = waiting(store)
    assert kept == alerts + windows[5 - len(kept) :]
    size = sum(len(message.payload) for message in store.find(kept))
    assert 19_000 < size <= 20_000
    store.acknowledge(kept[-2:])
    store.close()
    store = open_store(tmp_path / "small.db", clock, max_megabytes=0.02)
    put_windows(store, 2)
    assert len(waiting(store)) == len(kept), "what was acknowledged has made room, over a restart"
    store.close()


def test_windows_wait_for_their_group_and_are_written_together(
    tmp_path: Path, store: Store, make_store: MakeStore, clock: FakeClock
) -> None:
    store.close()
    store = make_store(group_seconds=1.0)
    windows = [store.commit(state(frames_total=number), window()).seq for number in (1, 2)]
    assert (waiting(store), store.outbox_messages) == ([], 2), "what is not on disk is not sent"
    assert store.load("belt") == state(frames_total=2)
    clock.wall += 0.75
    store.flush()
    assert waiting(copy_of_its_files(tmp_path, make_store)) == []
    clock.wall += 0.25
    store.flush()
    assert waiting(store) == windows
    copy = copy_of_its_files(tmp_path, make_store)
    assert (waiting(copy), copy.load("belt")) == (windows, state(frames_total=2))
    [late] = put_windows(store, 1)
    clock.wall += 1.0
    after = put_windows(store, 1)
    assert waiting(store) == [*windows, late, *after], "a window that comes late enough ends the wait, too"


def test_an_alert_is_written_at_once_and_with_it_all_that_waits(
    tmp_path: Path, store: Store, make_store: MakeStore
) -> None:
    store.close()
    store = make_store(group_seconds=1e9)
    store.commit(state(frames_total=3), window(stream="chute"))
    store.commit(state(frames_total=4), window())
    store.commit(state(frames_total=5), alert())
    copy = copy_of_its_files(tmp_path, make_store)
    assert waiting(copy) == [3, 1, 2]
    assert (copy.load("chute"), copy.load("belt")) == (state(frames_total=3), state(frames_total=5))
    put_windows(store, 1)
    store.close()
    assert waiting(make_store()) == [3, 1, 2, 4], "closing writes what waits"


def test_windows_that_the_disk_refuses_wait_and_there_is_an_end_to_their_number(
    tmp_path: Path, store: Store, make_store: MakeStore, clock: FakeClock
) -> None:
    store.close()
    store = make_store(group_seconds=1.0, max_messages=10_000)
    alerts = put_alerts(store, 10)
    windows = put_windows(store, 10)
    with full_disk(tmp_path / "agent.db-wal"):
        clock.wall += 1
        with pytest.raises(StoreError, match="disk"):
            store.flush()
        with pytest.raises(StoreError, match="disk"):
            store.commit(state(), alert())
        assert store.outbox_messages == 20
        windows += put_windows(store, 1500)
        assert (store.outbox_messages, store.dropped_total) == (1010, 510)
    alerts += put_alerts(store, 1)
    assert waiting(store) == [*alerts, *windows[510:]]
    store.close()
    assert make_store().dropped_total == 510


def test_the_latest_window_of_each_stream_is_known(store: Store) -> None:
    put_windows(store, 2)
    chute = store.commit(state(), window(stream="chute")).seq
    [belt] = put_windows(store, 1)
    put_alerts(store, 1)
    assert store.latest_windows() == [chute, belt]


def test_after_a_kill_numbers_that_may_have_been_used_are_passed_over(
    tmp_path: Path, store: Store, make_store: MakeStore
) -> None:
    put_windows(store, 50)
    shutil.copy(tmp_path / "agent.db", tmp_path / "copy.db")  # a disk that has lost the write-ahead log
    store.close()
    copy = make_store("copy.db")
    assert copy.instance == store.instance
    assert put_windows(copy, 1)[0] > 50


def test_each_streams_latest_alert_is_known(store: Store) -> None:
    store.commit(state(), alert(number=1))
    store.commit(state(), alert(number=1, revision=1))
    store.commit(state(), alert(number=2, stream="chute"))
    store.commit(state(), window())
    current = dict(store.current_alerts())
    assert {name: b'"revision":1' in payload for name, payload in current.items()} == {"belt": True, "chute": False}
    store.acknowledge(waiting(store))
    assert dict(store.current_alerts()) == current


def test_a_state_that_this_version_cannot_read_is_none(tmp_path: Path, store: Store, make_store: MakeStore) -> None:
    store.commit(state(), window())
    store.close()
    with closing(sqlite3.connect(tmp_path / "agent.db")) as db:
        db.execute(STREAM.put, seal(("belt", '{"bundle": 3}', 1, None)))
        db.commit()
    store = make_store()
    assert store.load("belt") is None
    assert store.mended_total == 0, "it is whole"


def test_a_folder_in_its_place_is_named(tmp_path: Path, clock: FakeClock) -> None:
    (tmp_path / "wrong.db").mkdir()
    with pytest.raises(StoreError, match=r"wrong\.db: the store cannot be used"):
        open_store(tmp_path / "wrong.db", clock)


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path, clock: FakeClock) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match=r"agent\.db: the store cannot be used"):
        open_store(tmp_path / "file" / "agent.db", clock)


def test_after_it_is_closed_every_use_is_a_store_error(store: Store) -> None:
    store.close()
    for use in (
        lambda: store.commit(state(), window()),
        lambda: store.pending(urgent=True, after=0, limit=1),
        lambda: store.acknowledge([1]),
        lambda: store.current_alerts(),
        lambda: store.load("belt"),
    ):
        with pytest.raises(StoreError, match=r"agent\.db"):
            use()


def copy_of_its_files(folder: Path, make_store: MakeStore) -> Store:
    """What a kill would leave."""
    copy = f"copy-{len(list(folder.iterdir()))}.db"
    for suffix in ("", "-wal"):
        shutil.copy(folder / f"agent.db{suffix}", folder / f"{copy}{suffix}")
    return make_store(copy)


@contextmanager
def full_disk(log: Path) -> Iterator[None]:
    """SQLite's write-ahead log must not grow."""
    before, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (log.stat().st_size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (before, hard))


WRITER = """
import sys
from pathlib import Path
from driftprint.clock import SystemClock
from tests.edge_agent.stores import open_store, state
from tests.server.messages import alert, window

store = open_store(Path(sys.argv[1]), SystemClock(), max_messages=100_000)
frames = store.load("belt").decider.frames_total if store.load("belt") else 0
while True:
    frames += 1
    make = alert if frames % 3 == 0 else window
    store.commit(state(frames_total=frames), make(frames_total=frames))
    print(frames, flush=True)
"""


class Writer:
    """A process that writes a message and its state, over and over."""

    def __init__(self, path: Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2]
        )

    def wrote(self) -> int:
        """The number of the next frame that it says to have written."""
        assert self._process.stdout is not None
        return int(self._process.stdout.readline())

    def kill(self) -> None:
        self._process.kill()
        self._process.communicate(timeout=60)


def test_a_kill_leaves_each_message_with_the_state_it_speaks_of(tmp_path: Path, clock: FakeClock) -> None:
    path = tmp_path / "killed.db"
    for _ in range(3):
        writer = Writer(path)
        said = [writer.wrote() for _ in range(60)]
        writer.kill()
        store = open_store(path, clock)
        saved = store.load("belt")
        numbers = sorted(waiting(store))
        frames = [body(message)["frames_total"] for message in store.find(numbers)]
        store.close()
        assert saved is not None
        assert frames == list(range(1, len(numbers) + 1)), "none twice, none missing"
        assert len(set(numbers)) == len(numbers)
        assert saved.decider.frames_total == frames[-1] >= said[-1]


def test_a_second_process_is_refused_and_a_killed_one_leaves_no_lock(tmp_path: Path, clock: FakeClock) -> None:
    path = tmp_path / "shared.db"
    writer = Writer(path)
    writer.wrote()
    try:
        with pytest.raises(StoreError, match=r"shared\.db: the store cannot be used \(database is locked\)"):
            open_store(path, clock)
    finally:
        writer.kill()
    open_store(path, clock).close()
