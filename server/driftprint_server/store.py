"""What outlasts a restart of the server: the fleet, in one SQLite file."""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import structlog
from pydantic import ValidationError

from driftprint.errors import StoreError
from driftprint.messages import AlertMessage, DeviceMessage, HealthMessage, StateMessage, WindowMessage, encode
from driftprint_server.device import Dated, Device, Stream
from driftprint_server.fleet import Change

VERSION = 1
"""Of the tables."""

_BUSY_SECONDS = 1.0

_SCHEMA = """
CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS device (
    site TEXT NOT NULL, device TEXT NOT NULL, instance TEXT NOT NULL, superseded TEXT NOT NULL,
    heard_at REAL NOT NULL, last_seen REAL, state TEXT, state_at REAL, health TEXT, health_at REAL,
    PRIMARY KEY (site, device)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS stream (
    site TEXT NOT NULL, device TEXT NOT NULL, stream TEXT NOT NULL, window TEXT, window_at REAL,
    PRIMARY KEY (site, device, stream)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS alert (
    site TEXT NOT NULL, device TEXT NOT NULL, stream TEXT NOT NULL, alert_id TEXT NOT NULL,
    message TEXT NOT NULL, at REAL NOT NULL,
    PRIMARY KEY (site, device, stream, alert_id)) WITHOUT ROWID;
"""


class Store:
    """The server's memory. Safe to use from several threads.

    Args:
        path: the SQLite file, made where it is missing, with its folder.

    Raises:
        StoreError: where the file cannot be opened, is no database, or is of a later version.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=_BUSY_SECONDS)
        except (OSError, sqlite3.Error) as error:
            raise self._explain(error) from None
        with self._guarded():
            self._db.execute("PRAGMA journal_mode = WAL")
            # What is acknowledged must survive a power cut: its device forgets it.
            self._db.execute("PRAGMA synchronous = FULL")
            self._db.executescript(_SCHEMA)
            self._db.execute("INSERT OR IGNORE INTO meta VALUES ('version', ?)", (str(VERSION),))
            found = self._db.execute("SELECT value FROM meta WHERE key = 'version'").fetchone()[0]
        if found != str(VERSION):
            raise StoreError(f"the store is of version {found}, this server reads {VERSION}", where=str(path))

    def load(self) -> list[Device]:
        """All devices. What a row holds that this version cannot read is left out, and logged.

        Raises:
            StoreError: where the disk refuses.
        """
        with self._guarded():
            devices = self._db.execute("SELECT * FROM device").fetchall()
            windows = self._db.execute("SELECT * FROM stream").fetchall()
            alerts = self._db.execute("SELECT * FROM alert").fetchall()
        streams: dict[tuple[str, str], dict[str, Stream]] = {}
        for site, device, name, text, at in windows:
            streams.setdefault((site, device), {})[name] = Stream(name, _dated(WindowMessage, text, at), {})
        kept: dict[tuple[str, str, str], dict[str, Dated[AlertMessage]]] = {}
        for site, device, name, alert_id, text, at in alerts:
            alert = _dated(AlertMessage, text, at)
            if alert is not None:
                kept.setdefault((site, device, name), {})[alert_id] = alert
        for (site, device, name), of_stream in kept.items():
            of_device = streams.setdefault((site, device), {})
            window = of_device[name].window if name in of_device else None
            of_device[name] = Stream(name, window, of_stream)
        return [
            Device(
                site,
                device,
                instance,
                heard_at,
                tuple(json.loads(superseded)),
                last_seen,
                _dated(StateMessage, state, state_at),
                _dated(HealthMessage, health, health_at),
                streams.get((site, device), {}),
            )
            for (site, device, instance, superseded, heard_at, last_seen, state, state_at, health, health_at) in devices
        ]

    def save(self, changes: Iterable[Change]) -> None:
        """Write what has changed, all of it or nothing. With no changes, only see that the disk takes a write.

        Raises:
            StoreError: where the disk refuses; nothing has then been written.
        """
        with self._guarded():
            self._db.execute("BEGIN IMMEDIATE")
            try:
                self._db.execute("UPDATE meta SET value = value")  # a write even where nothing has changed
                for change in changes:
                    self._save(change)
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._db.close()

    def _save(self, change: Change) -> None:
        before, after = change.before, change.after
        if after is None:
            if before is not None:
                for table in ("device", "stream", "alert"):
                    self._db.execute(f"DELETE FROM {table} WHERE site = ? AND device = ?", (before.site, before.name))
            return
        self._db.execute(
            "INSERT OR REPLACE INTO device VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                after.site,
                after.name,
                after.instance,
                json.dumps(after.superseded),
                after.heard_at,
                after.last_seen,
                *_columns(after.state),
                *_columns(after.health),
            ),
        )
        known: Mapping[str, Stream] = before.streams if before is not None else {}
        for name in known.keys() - after.streams.keys():
            self._delete_stream(after, name)
        for name, stream in after.streams.items():
            self._save_stream(after, known.get(name), stream)

    def _save_stream(self, device: Device, before: Stream | None, after: Stream) -> None:
        if before is after:
            return
        key = (device.site, device.name, after.name)
        if before is None or before.window is not after.window:
            self._db.execute("INSERT OR REPLACE INTO stream VALUES (?, ?, ?, ?, ?)", (*key, *_columns(after.window)))
        known: Mapping[str, Dated[AlertMessage]] = before.alerts if before is not None else {}
        for alert_id in known.keys() - after.alerts.keys():
            self._db.execute(
                "DELETE FROM alert WHERE site = ? AND device = ? AND stream = ? AND alert_id = ?", (*key, alert_id)
            )
        for alert_id, alert in after.alerts.items():
            if known.get(alert_id) is not alert:
                self._db.execute(
                    "INSERT OR REPLACE INTO alert VALUES (?, ?, ?, ?, ?, ?)", (*key, alert_id, *_columns(alert))
                )

    def _delete_stream(self, device: Device, name: str) -> None:
        for table in ("stream", "alert"):
            self._db.execute(
                f"DELETE FROM {table} WHERE site = ? AND device = ? AND stream = ?", (device.site, device.name, name)
            )

    @contextmanager
    def _guarded(self) -> Iterator[None]:
        with self._lock:
            try:
                yield
            except sqlite3.Error as error:
                raise self._explain(error) from None

    def _explain(self, error: Exception) -> StoreError:
        return StoreError(f"the store cannot be used ({error})", where=str(self._path))


def _columns(dated: Dated[DeviceMessage] | None) -> tuple[str | None, float | None]:
    return (None, None) if dated is None else (encode(dated.message).decode(), dated.at)


M = TypeVar("M", bound=DeviceMessage)


def _dated(model: type[M], text: str | None, at: float | None) -> Dated[M] | None:
    if text is None or at is None:
        return None
    try:
        return Dated(model.model_validate_json(text), at)
    except ValidationError as error:
        structlog.get_logger().warning("stored message left out", kind=model.__name__, what=str(error))
        return None
