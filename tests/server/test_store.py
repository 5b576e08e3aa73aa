import sqlite3
from pathlib import Path

import pytest
from msgspec.structs import replace

from driftprint.errors import MessageError, StoreError
from driftprint.messages import AlertStatus
from driftprint_server.bounds import alert_bytes
from driftprint_server.device import MOST_ALERTS
from driftprint_server.fleet import Fleet
from driftprint_server.store import Store
from tests.server.messages import NEW, OLD, alert, health, state, window

NOW = 1_000_000.0


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "server.db"


def new_fleet(store: Store) -> Fleet:
    return Fleet(store.load(), max_devices=100, forget_after_seconds=1000)


def save(store: Store, fleet: Fleet) -> None:
    store.save(fleet.unsaved())
    fleet.saved()


def test_a_fleet_is_restored_as_it_was(path: Path) -> None:
    store = Store(path)
    fleet = new_fleet(store)
    messages = [
        state(),
        health(),
        window(7, ratio=0.25),
        window(3, stream="chute"),
        alert(8, number=1),
        alert(9, number=1, revision=1, status=AlertStatus.CLEARED),
        alert(10, number=2, stream="only-alerts"),
        window(1, site="south", device="jetson"),
    ]
    for i, message in enumerate(messages):
        fleet.apply(message, NOW + i)
        save(store, fleet)
    store.close()
    restored = new_fleet(Store(path)).devices()
    assert [replace(device, last_seen=None) for device in restored] == [
        replace(device, last_seen=None) for device in fleet.devices()
    ]


def test_what_alerts_take_is_known_after_a_restart(path: Path) -> None:
    store = Store(path)
    fleet = new_fleet(store)
    for seq, stream in ((1, "belt"), (2, "chute"), (3, "belt")):
        fleet.apply(alert(seq, number=seq, stream=stream, layers={"conv": 0.5}), NOW)
    fleet.apply(window(4), NOW)
    save(store, fleet)
    store.close()
    (device,) = Store(path).load()
    for known in device.streams.values():
        assert known.alert_bytes == sum(alert_bytes(one.message) for one in known.alerts.values()) > 0


def test_a_device_was_last_seen_when_its_latest_window_was_recorded(path: Path) -> None:
    store = Store(path)
    fleet = new_fleet(store)
    for i, message in enumerate([window(1), window(2), window(2, device="retained")]):
        fleet.apply(message, NOW + 10 * i, retained=message.device == "retained")
        save(store, fleet)
    store.close()
    assert [device.last_seen for device in Store(path).load()] == [NOW + 10, None]


def test_nothing_is_unsaved_after_a_save_until_something_changes(path: Path) -> None:
    store = Store(path)
    fleet = new_fleet(store)
    fleet.apply(window(1), NOW)
    save(store, fleet)
    assert fleet.unsaved() == []
    fleet.apply(window(1), NOW)
    assert fleet.unsaved() == []
    fleet.apply(window(2), NOW)
    (change,) = fleet.unsaved()
    assert change.before is not None


def test_a_restart_remembers_which_instance_was_superseded(path: Path) -> None:
    store = Store(path)
    fleet = new_fleet(store)
    fleet.apply(window(5, instance=OLD), NOW)
    save(store, fleet)
    fleet.apply(window(1, instance=NEW), NOW)
    save(store, fleet)
    store.close()
    restored = new_fleet(Store(path))
    with pytest.raises(MessageError, match="is no more"):
        restored.apply(window(6, instance=OLD), NOW)
    assert restored.devices() == fleet.devices()


def test_what_is_forgotten_is_gone_from_the_disk_too(path: Path) -> None:
    store = Store(path)
    fleet = new_fleet(store)
    for n in range(1, MOST_ALERTS + 5):
        fleet.apply(alert(n, number=n), NOW + n)
        save(store, fleet)
    fleet.apply(window(1, device="other"), NOW)
    fleet.apply(window(900, stream="chute"), NOW)
    fleet.apply(window(901), NOW + 999)
    save(store, fleet)
    fleet.forget("north", "other")
    fleet.forget_silent(NOW + 1001)
    save(store, fleet)
    store.close()
    assert new_fleet(Store(path)).devices() == fleet.devices()
    with sqlite3.connect(path) as db:
        assert db.execute("SELECT count(*) FROM alert").fetchone() == (MOST_ALERTS,)
        assert db.execute("SELECT device, stream FROM stream").fetchall() == [("pi-1", "belt")]
        assert db.execute("SELECT device FROM device").fetchall() == [("pi-1",)]


def test_a_refused_save_writes_nothing_and_can_be_repeated(path: Path) -> None:
    store = Store(path)
    fleet = new_fleet(store)
    fleet.apply(window(1), NOW)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreError, match="locked"):
        store.save(fleet.unsaved())
    other.execute("ROLLBACK")
    assert other.execute("SELECT count(*) FROM device").fetchone() == (0,)
    save(store, fleet)
    assert other.execute("SELECT count(*) FROM device").fetchone() == (1,)


def test_an_empty_save_proves_that_the_disk_takes_a_write(path: Path) -> None:
    store = Store(path)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreError):
        store.save([])


def test_rows_that_cannot_be_read_are_left_out(path: Path) -> None:
    store = Store(path)
    fleet = new_fleet(store)
    fleet.apply(state(), NOW)
    fleet.apply(window(1), NOW)
    fleet.apply(alert(2), NOW)
    save(store, fleet)
    store.close()
    with sqlite3.connect(path) as db:
        db.execute("UPDATE stream SET window = 'rubbish'")
        db.execute("UPDATE device SET state = '{}'")
    (device,) = Store(path).load()
    assert device.state is None
    assert device.streams["belt"].window is None
    assert len(device.streams["belt"].alerts) == 1


@pytest.mark.parametrize("content", [b"this is no database, but long enough to look at" * 100, None])
def test_an_unusable_file_is_named(path: Path, content: bytes | None) -> None:
    if content is None:
        path.mkdir(parents=True)
    else:
        path.parent.mkdir()
        path.write_bytes(content)
    with pytest.raises(StoreError, match=r"server\.db: the store cannot be used"):
        Store(path)


def test_a_store_of_a_later_version_is_refused(path: Path) -> None:
    Store(path).close()
    with sqlite3.connect(path) as db:
        db.execute("UPDATE meta SET value = '2' WHERE key = 'version'")
    with pytest.raises(StoreError, match="version 2"):
        Store(path)
