"""What outlasts a restart of the server: the fleet, in one SQLite file."""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

import structlog

from driftprint.errors import MessageError, StoreError
from driftprint.messages import AlertMessage, StateMessage, decode, encode
from driftprint_server.device import Dated, Device, Stream, with_alerts
from driftprint_server.fleet import Change
from driftprint_server.records import DeviceRecord, FleetMessage, encode_record, read_health, read_window
from driftprint_server.sqlite import connect

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
    PRIMARY KEY (site, device, stream));
CREATE TABLE IF NOT EXISTS alert (
    site TEXT NOT NULL, device TEXT NOT NULL, stream TEXT NOT NULL, alert_id TEXT NOT NULL,
    message TEXT NOT NULL, at REAL NOT NULL,
    PRIMARY KEY (site, device, stream, alert_id)) WITHOUT ROWID;
"""


class Store:
    """The server's memory. Safe to use from several threads.

    Args:
        path: the SQLite file, made where it is missing, with its folder; readable by its owner alone.

    Raises:
        StoreError: where the file cannot be opened, is no database, or is of a later version.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        try:
            self._db = connect(path, busy_seconds=_BUSY_SECONDS)
        except (OSError, sqlite3.Error) as error:
            raise self._explain(error) from None
        with self._guarded():
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
            streams.setdefault((site, device), {})[name] = Stream(name, _dated(_window, text, at), {})
        kept: dict[tuple[str, str, str], dict[str, Dated[AlertMessage]]] = {}
        for site, device, name, alert_id, text, at in alerts:
            alert = _dated(_alert, text, at)
            if alert is not None:
                kept.setdefault((site, device, name), {})[alert_id] = alert
        for (site, device, name), of_stream in kept.items():
            of_device = streams.setdefault((site, device), {})
            of_device[name] = with_alerts(of_device.get(name) or Stream(name), of_stream)
        return [_device(row, streams.get(row[:2], {})) for row in devices]

    def save(self, changes: Iterable[Change]) -> None:
        """Write what has changed, all of it or nothing. With no changes, only see that the disk takes a write.

        Raises:
            StoreError: where the disk refuses; nothing has then been written.
        """
        with self._guarded():
            self._db.execute("BEGIN IMMEDIATE")
            try:
                self._db.execute("UPDATE meta SET value = value")  # a write even where nothing has changed
                self._write(_Rows.of(changes))
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._db.close()

    def _write(self, rows: _Rows) -> None:
        for table in ("device", "stream", "alert"):
            self._db.executemany(f"DELETE FROM {table} WHERE site = ? AND device = ?", rows.gone_devices)
        for table in ("stream", "alert"):
            self._db.executemany(f"DELETE FROM {table} WHERE site = ? AND device = ? AND stream = ?", rows.gone_streams)
        self._db.executemany(
            "DELETE FROM alert WHERE site = ? AND device = ? AND stream = ? AND alert_id = ?", rows.gone_alerts
        )
        self._db.executemany("INSERT OR REPLACE INTO device VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", rows.devices)
        # Rows of a kilobyte that are written again and again, in place.
        self._db.executemany(
            "INSERT INTO stream VALUES (?, ?, ?, ?, ?) "
            "ON CONFLICT DO UPDATE SET window = excluded.window, window_at = excluded.window_at",
            rows.windows,
        )
        self._db.executemany("INSERT OR REPLACE INTO alert VALUES (?, ?, ?, ?, ?, ?)", rows.alerts)

    @contextmanager
    def _guarded(self) -> Iterator[None]:
        with self._lock:
            try:
                yield
            except sqlite3.Error as error:
                raise self._explain(error) from None

    def _explain(self, error: Exception) -> StoreError:
        return StoreError(f"the store cannot be used ({error})", where=str(self._path))


Row: TypeAlias = "tuple[str | bytes | float | None, ...]"


@dataclass(frozen=True, slots=True)
class _Rows:
    """What is to be written, by table; what is gone, by key."""

    devices: list[Row] = field(default_factory=list)
    windows: list[Row] = field(default_factory=list)
    alerts: list[Row] = field(default_factory=list)
    gone_devices: list[Row] = field(default_factory=list)
    gone_streams: list[Row] = field(default_factory=list)
    gone_alerts: list[Row] = field(default_factory=list)

    @classmethod
    def of(cls, changes: Iterable[Change]) -> _Rows:
        rows = cls()
        for change in changes:
            if change.after is not None:
                rows._add_device(change.before, change.after)
            elif change.before is not None:
                rows.gone_devices.append((change.before.site, change.before.name))
        return rows

    def _add_device(self, before: Device | None, after: Device) -> None:
        if before is None or not _same_row(before, after):
            self.devices.append(
                (
                    *(after.site, after.name, after.instance, json.dumps(after.superseded), after.heard_at),
                    *(after.last_seen, *_columns(after.state), *_columns(after.health)),
                )
            )
        known: Mapping[str, Stream] = before.streams if before is not None else {}
        for name in known.keys() - after.streams.keys():
            self.gone_streams.append((after.site, after.name, name))
        for name, stream in after.streams.items():
            if stream is not known.get(name):
                self._add_stream(after, known.get(name), stream)

    def _add_stream(self, device: Device, before: Stream | None, after: Stream) -> None:
        key = (device.site, device.name, after.name)
        if before is None or before.window is not after.window:
            self.windows.append((*key, *_columns(after.window)))
        known: Mapping[str, Dated[AlertMessage]] = before.alerts if before is not None else {}
        if known is after.alerts:
            return
        self.gone_alerts.extend((*key, alert_id) for alert_id in known.keys() - after.alerts.keys())
        self.alerts.extend(
            (*key, alert_id, *_columns(alert))
            for alert_id, alert in after.alerts.items()
            if known.get(alert_id) is not alert
        )


def _same_row(before: Device, after: Device) -> bool:
    """Whether the table `device` need not be told: a window that is stored says itself when its device was seen."""
    return (
        before.instance == after.instance
        and before.superseded == after.superseded
        and before.state is after.state
        and before.health is after.health
        and (before.last_seen is None) == (after.last_seen is None)
    )


def _columns(dated: Dated[FleetMessage] | None) -> tuple[bytes | None, float | None]:
    if dated is None:
        return (None, None)
    message = dated.message
    return (encode_record(message) if isinstance(message, DeviceRecord) else encode(message), dated.at)


def _device(row: Sequence[Any], streams: Mapping[str, Stream]) -> Device:
    site, device, instance, superseded, heard_at, last_seen, state, state_at, health, health_at = row
    if last_seen is not None:
        last_seen = max([last_seen, *(stream.window.at for stream in streams.values() if stream.window is not None)])
    return Device(
        site,
        device,
        instance,
        heard_at,
        tuple(json.loads(superseded)),
        last_seen,
        _dated(_state, state, state_at),
        _dated(_health, health, health_at),
        streams,
    )


_STORED = "the store"
_window = partial(read_window, topic=_STORED)
_health = partial(read_health, topic=_STORED)
_state = partial(decode, StateMessage, topic=_STORED)
_alert = partial(decode, AlertMessage, topic=_STORED)

M = TypeVar("M", bound=FleetMessage)


def _dated(read: Callable[[bytes], M], text: str | bytes | None, at: float | None) -> Dated[M] | None:
    if text is None or at is None:
        return None
    try:
        return Dated(read(text.encode() if isinstance(text, str) else text), at)
    except MessageError as error:
        structlog.get_logger().warning("stored message left out", what=str(error))
        return None
