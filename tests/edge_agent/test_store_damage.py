"""The store on disks that damage it or refuse: it goes on by itself, and says what was lost."""

import json
import os
import secrets
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from bench.faults.damage import Damage, Damaged, run_cases
from bench.faults.refusal import DISKS
from driftprint.clock import SystemClock
from driftprint.errors import StoreError
from driftprint.stats.site import SiteBaseline
from driftprint_edge.choice import BundleChoice
from driftprint_edge.database import MOST_KEPT_ASIDE
from driftprint_edge.store import Store
from tests.brokers import Mosquitto, wait_for
from tests.edge_agent.stores import body, open_store, put_alerts, put_windows, state, waiting
from tests.edge_agent.test_link import Server, link_of
from tests.server.clocks import FakeClock
from tests.server.messages import alert, window

PAGE = 4096
CASES = 40
MakeStore = Callable[..., Store]


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Damaged]:
    """By kind of damage, what came of it."""
    return {one.damage: one for one in run_cases(tmp_path_factory.mktemp("cases"), CASES, seed=0)}


def test_every_damaged_store_opens_by_itself_and_can_be_used(cases: dict[str, Damaged]) -> None:
    assert {name: one.opened for name, one in cases.items()} == {name: one.cases for name, one in cases.items()}
    assert sum(one.cases for one in cases.values()) == CASES


def test_no_message_is_altered_and_no_number_is_used_twice(cases: dict[str, Damaged]) -> None:
    assert {(one.altered, one.numbers_used_twice) for one in cases.values()} == {(0, 0)}


@pytest.mark.parametrize("damage", [Damage.FLIP, Damage.PAGE])
def test_damage_costs_what_it_hits_and_it_is_counted(cases: dict[str, Damaged], damage: Damage) -> None:
    one = cases[damage.value]
    assert one.same_instance == one.cases
    assert one.messages_kept >= 0.8 * one.messages
    assert one.counted >= one.messages - one.messages_kept > 0


def test_a_damaged_file_is_kept_aside_and_a_mend_is_remembered(
    tmp_path: Path, store: Store, make_store: MakeStore
) -> None:
    path = tmp_path / "agent.db"
    windows, alerts = put_windows(store, 200), put_alerts(store, 5)
    store.close()
    damaged = damage_page(path, page_of(path, "outbox"))
    store = make_store()
    kept = waiting(store)
    assert set(kept) < {*windows, *alerts}
    assert len(kept) > 190
    assert (store.mended_total, store.damaged_rows_total) == (1, 205 - len(kept))
    assert store.outbox_messages == len(kept)
    [aside] = tmp_path.glob("agent.db.damaged-*")
    assert aside.read_bytes() == damaged
    store.close()
    store = make_store()
    assert (store.mended_total, store.damaged_rows_total) == (1, 205 - len(kept))
    assert waiting(store) == kept


def test_everything_in_a_store_outlasts_a_page_of_the_outbox(
    tmp_path: Path, store: Store, make_store: MakeStore
) -> None:
    put_windows(store, 200)
    store.commit(state(frames_total=7), alert(stream="chute"))
    choice = BundleChoice(configured="a", bundle="b", bundle_id="b-2", previous="a")
    store.choose("belt", choice)
    for number in (1, 2, 3):
        baseline = baseline_of(float(number))
        store.keep_baseline("belt", baseline)
    store.forget_baseline("belt")
    known = (store.instance, store.current_alerts(), store.load("chute"), store.baseline("belt", "toy-1"))
    store.close()
    damage_page(tmp_path / "agent.db", page_of(tmp_path / "agent.db", "outbox"))
    store = make_store()
    assert store.mended_total == 1
    assert (store.instance, store.current_alerts(), store.load("chute"), store.baseline("belt", "toy-1")) == known
    assert store.choice("belt") == choice
    assert put_windows(store, 1)[0] > 201


def test_the_first_page_which_says_where_everything_is_can_be_lost(
    tmp_path: Path, store: Store, make_store: MakeStore
) -> None:
    put_windows(store, 100)
    alerts = put_alerts(store, 3)
    before = waiting(store)
    store.close()
    damage_page(tmp_path / "agent.db", 0)
    again = make_store()
    assert (again.instance, waiting(again)) == (store.instance, before)
    assert waiting(again)[:3] == alerts


def test_of_a_file_that_is_empty_the_write_ahead_log_is_read(
    tmp_path: Path, store: Store, make_store: MakeStore
) -> None:
    seqs = put_windows(store, 100) + put_alerts(store, 3)
    log = (tmp_path / "agent.db-wal").read_bytes()
    store.close()
    (tmp_path / "agent.db").write_bytes(b"")
    (tmp_path / "agent.db-wal").write_bytes(log)
    again = make_store()
    assert (again.instance, sorted(waiting(again))) == (store.instance, seqs)
    assert again.mended_total == 1


def test_between_and_beyond_damaged_pages_messages_are_found(
    tmp_path: Path, store: Store, make_store: MakeStore
) -> None:
    """The first page of messages, one in the middle, and the last."""
    seqs = put_windows(store, 300)
    store.close()
    path = tmp_path / "agent.db"
    hit = {page_of_message(path, seq) for seq in (1, 150, 300)}
    assert len(hit) == 3
    for page in hit:
        damage_page(path, page)
    kept = waiting(make_store())
    lost = sorted(set(seqs) - set(kept))
    assert {1, 150, 300} < set(lost)
    assert len(lost) < 30


def test_without_its_head_the_messages_tell_who_it_is_and_numbers_go_on_far_beyond_them(
    tmp_path: Path, store: Store, make_store: MakeStore
) -> None:
    seqs = [store.commit(state(), window(instance=store.instance)).seq for _ in range(20)]
    store.close()
    damage_page(tmp_path / "agent.db", page_of(tmp_path / "agent.db", "meta"))
    again = make_store()
    assert again.instance == store.instance
    assert waiting(again) == seqs
    assert put_windows(again, 1)[0] > seqs[-1] + 1000


def test_a_row_that_was_altered_is_left_out(tmp_path: Path, store: Store, make_store: MakeStore) -> None:
    put_windows(store, 5)
    store.close()
    with closing(sqlite3.connect(tmp_path / "agent.db")) as db:
        db.execute("UPDATE outbox SET payload = replace(payload, '\"frames_total\"', '\"frames_totem\"') WHERE seq = 3")
        db.commit()
    again = make_store()
    assert waiting(again) == [1, 2, 4, 5]
    assert (again.mended_total, again.damaged_rows_total) == (1, 1)


def test_a_file_that_is_no_database_makes_way(tmp_path: Path, clock: FakeClock) -> None:
    content = b"this is no database, but long enough to look at" * 100
    (tmp_path / "wrong.db").write_bytes(content)
    store = open_store(tmp_path / "wrong.db", clock)
    put_alerts(store, 1)
    store.close()
    [aside] = tmp_path.glob("wrong.db.damaged-*")
    assert aside.read_bytes() == content


def test_of_damaged_files_the_latest_few_are_kept(tmp_path: Path, clock: FakeClock) -> None:
    for number in range(MOST_KEPT_ASIDE + 2):
        (tmp_path / "agent.db").write_bytes(b"damaged %d" % number)
        open_store(tmp_path / "agent.db", clock).close()
    kept = sorted(tmp_path.glob("agent.db.damaged-*"))
    assert [path.read_bytes() for path in kept] == [b"damaged 2", b"damaged 3", b"damaged 4"]
    assert all(path.suffix.startswith(".damaged-1000") for path in kept), "Unix seconds"


def test_a_kill_in_the_middle_of_mending_is_made_up_for(tmp_path: Path, store: Store, make_store: MakeStore) -> None:
    """At each of its steps: the file marked as unfinished, moved aside, its log moved aside, the new one half made."""
    seqs = put_windows(store, 50) + put_alerts(store, 2)
    whole = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert set(whole) == {"agent.db", "agent.db-wal"}, "as a kill leaves them"
    store.close()
    aside = "agent.db.damaged-1000000"
    for names in (
        {"agent.db": "agent.db", "agent.db-wal": "agent.db-wal"},
        {"agent.db": aside, "agent.db-wal": "agent.db-wal"},
        {"agent.db": aside, "agent.db-wal": f"{aside}-wal"},
    ):
        for half in (b"", whole["agent.db"][: PAGE * 2]):
            for path in tmp_path.iterdir():
                path.unlink()
            for name, content in whole.items():
                (tmp_path / names[name]).write_bytes(content)
            (tmp_path / "agent.db.mending").write_bytes(half)
            again = make_store()
            assert (again.instance, sorted(waiting(again))) == (store.instance, seqs)
            again.close()
            assert not (tmp_path / "agent.db.mending").exists()


def test_damage_that_shows_while_it_runs_is_mended_on_the_spot(tmp_path: Path, clock: FakeClock) -> None:
    path = tmp_path / "agent.db"
    store = open_store(path, clock, max_messages=10_000, group_seconds=1e9)
    for _ in range(8):
        put_windows(store, 1000)
        store.flush(at_once=True)
    store.close()
    store = open_store(path, clock, max_messages=10_000)
    damage_page(path, page_of(path, "outbox"))  # the earliest messages, which are no longer in SQLite's cache
    with pytest.raises(StoreError, match="damaged"):
        store.pending(urgent=False, after=0, limit=100)
    found = [message.seq for message in store.pending(urgent=False, after=0, limit=100)]
    assert 0 < 100 - len([seq for seq in found if seq <= 100]) < 20, "what was on the page"
    assert store.mended_total == 1
    assert store.damaged_rows_total == 8000 - store.outbox_messages
    [seq] = put_alerts(store, 1)
    assert seq > 8000
    assert seq in waiting(store)
    store.close()


@pytest.mark.parametrize("disk", DISKS)
def test_a_disk_that_takes_no_writes_keeps_no_agent_from_running(tmp_path: Path, disk: str) -> None:
    if disk != "files must not grow" and os.geteuid() != 0:
        pytest.skip("it takes root")
    script = (
        "import sys\nfrom pathlib import Path\nfrom bench.faults.refusal import DISKS, refuse\n"
        "print(refuse(sys.argv[1], DISKS[sys.argv[1]], Path(sys.argv[2])).model_dump_json())"
    )
    run = subprocess.run(
        [sys.executable, "-c", script, disk, str(tmp_path / "disk")],
        check=False,
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    if "PermissionError" in run.stderr:
        pytest.skip("a container that may not mount")
    outcome = json.loads(run.stdout.splitlines()[-1])
    assert outcome["at_the_start"] == "in memory, then on disk"
    assert outcome["while_running"] == ("-" if disk == "read-only" else "refused, later taken")
    assert outcome["read"] == outcome["messages"]
    assert outcome["kept"] == outcome["committed"]


class MissingDisk:
    """A folder that cannot be written to until its disk is mounted."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "mount"
        self._disk = folder / "disk"
        self._disk.mkdir(parents=True)
        self.folder.symlink_to("/proc")

    def mount(self) -> None:
        self.folder.unlink()
        self.folder.symlink_to(self._disk)


def test_without_a_disk_it_is_in_memory_and_on_the_disk_once_there_is_one(tmp_path: Path, clock: FakeClock) -> None:
    disk = MissingDisk(tmp_path)
    store = open_store(disk.folder / "agent.db", clock)
    assert store.volatile
    store.commit(state(frames_total=9), window())
    [urgent] = put_alerts(store, 1)
    store.settle()
    assert store.volatile
    disk.mount()
    store.settle()
    assert not store.volatile
    put_windows(store, 1)
    before = waiting(store)
    store.close()
    again = open_store(disk.folder / "agent.db", clock)
    assert (again.instance, waiting(again)) == (store.instance, before)
    assert before[0] == urgent
    assert again.mended_total == 0
    again.close()


def test_a_disk_that_appears_late_with_a_store_of_its_own_loses_nothing_of_it(tmp_path: Path, clock: FakeClock) -> None:
    disk = MissingDisk(tmp_path)
    earlier = open_store(tmp_path / "disk" / "agent.db", clock)
    earlier.commit(state(frames_total=5), alert(number=77, stream="chute"))
    put_windows(earlier, 3)
    baseline = baseline_of(1.0)
    earlier.keep_baseline("chute", baseline)
    earlier.close()
    store = open_store(disk.folder / "agent.db", clock)
    own = put_alerts(store, 1) + put_windows(store, 1)
    instance = store.instance
    disk.mount()
    store.settle()
    assert (store.volatile, store.instance) == (False, instance)
    found = waiting(store)
    assert set(own) < set(found)
    assert len(found) == 6
    late = [body(message) for message in store.find([seq for seq in found if seq not in own])]
    assert [message["seq"] for message in late] == sorted(set(found) - set(own)), "they have numbers of their own"
    assert {message["instance"] for message in late} == {instance}
    assert sum(message.get("alert_id") == f"{77:032x}" for message in late) == 1
    assert store.load("chute") == state(frames_total=5)
    assert store.baseline("chute", "toy-1") == baseline
    assert put_windows(store, 1)[0] > max(found)
    store.close()


def test_health_says_so_and_alerts_are_sent_all_the_same(tmp_path: Path, mosquitto: Mosquitto) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "disk" / "agent.db").write_bytes(b"damaged")
    mended = open_store(tmp_path / "disk" / "agent.db", SystemClock())
    without = open_store(MissingDisk(tmp_path / "missing").folder / "agent.db", SystemClock())
    for store, words in ((mended, (False, 1)), (without, (True, 0))):
        server = Server(mosquitto)
        link = link_of(store, mosquitto.port)
        link.start()
        put_alerts(store, 1)
        wait_for(lambda server=server: server.said("health") and server.said("belt/alert"), what="health and the alert")  # type: ignore[misc]
        health = server.said("health")[-1]
        assert (health["store_volatile"], health["store_mended_total"]) == words
        link.stop()
        server.close()
        store.close()


def test_what_a_person_asks_to_be_kept_is_refused_without_a_disk(tmp_path: Path, clock: FakeClock) -> None:
    store = open_store(MissingDisk(tmp_path).folder / "agent.db", clock)
    baseline = baseline_of(1.0)
    with pytest.raises(StoreError, match="takes no writes"):
        store.keep_baseline("belt", baseline)
    with pytest.raises(StoreError, match="takes no writes"):
        store.forget_baseline("belt")
    store.close()


def baseline_of(recorded_at: float) -> SiteBaseline:
    return SiteBaseline(
        bundle="toy-1", stride=1, frames=1000, decisions=1000, outliers=50, p0=0.06, recorded_at=recorded_at
    )


def page_of(path: Path, table: str) -> int:
    """The first page that holds rows of a table, counted from nought."""
    with closing(sqlite3.connect(f"file:{path}?mode=ro&immutable=1", uri=True)) as db:
        (number,) = db.execute("SELECT rootpage FROM sqlite_master WHERE name = ?", (table,)).fetchone()
    content = path.read_bytes()
    while content[(number - 1) * PAGE] != 0x0D:  # not a leaf: its first cell begins with the number of a page below
        page = content[(number - 1) * PAGE : number * PAGE]
        cell = int.from_bytes(page[12:14], "big")
        number = int.from_bytes(page[cell : cell + 4], "big")
    return int(number - 1)


def page_of_message(path: Path, seq: int) -> int:
    """The page that holds a message, counted from nought; messages are recognised by their number."""
    return path.read_bytes().index(b'"stream":"belt","seq":%d,' % seq) // PAGE


def damage_page(path: Path, page: int) -> bytes:
    """Overwrite it; returns the whole file as it is then."""
    content = bytearray(path.read_bytes())
    content[page * PAGE : (page + 1) * PAGE] = secrets.token_bytes(PAGE)
    with path.open("r+b") as file:
        file.write(content)
    return bytes(content)
