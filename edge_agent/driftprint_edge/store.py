"""What outlasts a restart: the outbox, and each stream's totals and detector.

One SQLite file. A message and the state it was made from are committed together, so that a kill at any
moment leaves both or neither.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from driftprint.clock import Clock
from driftprint.decision import DeciderState
from driftprint.errors import StoreError
from driftprint.messages import AlertMessage, StreamMessage, encode
from driftprint.mix_decider import MixDeciderState
from driftprint.stats.site import SiteBaseline
from driftprint.topics import StreamTopic, stream_topic
from driftprint_edge.camera import CameraAlert
from driftprint_edge.choice import BundleChoice

_SCHEMA = """
CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS outbox (
    seq INTEGER PRIMARY KEY, urgent INTEGER NOT NULL, topic TEXT NOT NULL, payload BLOB NOT NULL,
    boot TEXT NOT NULL, monotonic REAL NOT NULL, wall REAL NOT NULL);
CREATE INDEX IF NOT EXISTS outbox_order ON outbox (urgent DESC, seq);
CREATE TABLE IF NOT EXISTS baseline (
    stream TEXT NOT NULL, bundle TEXT NOT NULL, recorded_at REAL NOT NULL, baseline TEXT NOT NULL,
    forgotten_at REAL);
CREATE TABLE IF NOT EXISTS choice (stream TEXT PRIMARY KEY, choice TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS stream (name TEXT PRIMARY KEY, state TEXT NOT NULL, alert BLOB) WITHOUT ROWID;
"""


class StreamState(BaseModel):
    """What one stream must remember across a restart."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    bundle: str
    """The bundle's id: another bundle starts with no evidence, its totals go on."""
    decider: DeciderState
    faults_total: dict[str, int] = {}
    camera: tuple[CameraAlert, ...] = ()
    """The alerts about the camera that are raised."""
    mix: MixDeciderState | None = None


@dataclass(frozen=True, slots=True)
class Pending:
    """A message that the server has not acknowledged.

    Attributes:
        seq: its number within the instance.
        topic: where to publish it.
        payload: as recorded, its age still nought.
        age_seconds: how long ago it was recorded: by the monotonic clock where the agent has not been
            restarted since, else by the wall clock.
    """

    seq: int
    topic: str
    payload: bytes
    age_seconds: float


class Store:
    """The agent's memory. Safe to use from several threads.

    Args:
        path: the SQLite file, made where it is missing, with its folder.
        clock: dates the messages.
        new_id: makes 16 hexadecimal digits: the instance's id, and this start's.
        max_messages: the outbox's cap.

    Raises:
        StoreError: where the file cannot be opened or is no database.
    """

    def __init__(self, path: Path, *, clock: Clock, new_id: Callable[[], str], max_messages: int) -> None:
        self._path = path
        self._clock = clock
        self._max_messages = max_messages
        self._boot = new_id()
        self._lock = threading.RLock()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=5.0)
        except (OSError, sqlite3.Error) as error:
            raise self._explain(error) from None
        with self._guarded():
            # A second agent on the same file is refused; the lock ends with the process, however it ends.
            self._db.execute("PRAGMA locking_mode = EXCLUSIVE")
            self._db.execute("PRAGMA journal_mode = WAL")
            # An alert must survive a power cut the moment it is committed.
            self._db.execute("PRAGMA synchronous = FULL")
            self._db.executescript(_SCHEMA)
        with self._transaction():
            self._set_default("instance", new_id())
            self._set_default("seq", "0")
            self._set_default("dropped", "0")
        self.instance = self._meta("instance")
        """Made once, with the file."""
        self._seq = int(self._meta("seq"))
        self._dropped = int(self._meta("dropped"))
        self._count = self._scalar("SELECT count(*) FROM outbox")

    @property
    def outbox_messages(self) -> int:
        """Messages that the server has not acknowledged."""
        return self._count

    @property
    def dropped_total(self) -> int:
        """Messages dropped because the outbox was full, since the instance was made."""
        return self._dropped

    def load(self, stream: str) -> StreamState | None:
        """A stream's saved state; None for a new stream, or one whose state this version cannot read."""
        with self._guarded():
            row = self._db.execute("SELECT state FROM stream WHERE name = ?", (stream,)).fetchone()
        try:
            return StreamState.model_validate_json(row[0]) if row else None
        except ValidationError:
            return None

    def commit(self, state: StreamState, message: StreamMessage) -> StreamMessage:
        """Save a stream's state and put a message into the outbox, at once and together.

        Returns:
            The message with its ``seq``.

        Raises:
            StoreError: where the disk refuses; nothing has then been changed.
        """
        urgent = isinstance(message, AlertMessage)
        kind = StreamTopic.ALERT if urgent else StreamTopic.WINDOW
        now = self._clock.now()
        with self._lock:
            with self._transaction():
                numbered = message.model_copy(update={"seq": self._seq + 1})
                payload = encode(numbered)
                dropped = self._make_room()
                self._db.execute(
                    "INSERT INTO outbox VALUES (?, ?, ?, ?, ?, ?, ?)",
                    (
                        numbered.seq,
                        urgent,
                        stream_topic(message.site, message.device, message.stream, kind),
                        payload,
                        self._boot,
                        now.monotonic,
                        now.wall,
                    ),
                )
                self._db.execute(
                    "INSERT INTO stream VALUES (?, ?, ?) ON CONFLICT (name) DO UPDATE"
                    " SET state = excluded.state, alert = coalesce(excluded.alert, alert)",
                    (message.stream, state.model_dump_json(), payload if urgent else None),
                )
                self._set("seq", str(numbered.seq))
                self._set("dropped", str(self._dropped + dropped))
            self._seq = numbered.seq
            self._dropped += dropped
            self._count += 1 - dropped
        return numbered

    def pending(self, *, urgent: bool, after: int, limit: int) -> list[Pending]:
        """The first `limit` alerts (`urgent`), or windows, numbered beyond `after`.

        Raises:
            StoreError: where the disk refuses.
        """
        return self._select("urgent = ? AND seq > ? ORDER BY seq LIMIT ?", (urgent, after, limit))

    def find(self, seqs: Sequence[int]) -> list[Pending]:
        """Those of the messages that are still in the outbox, by number.

        Raises:
            StoreError: where the disk refuses.
        """
        return self._select(f"seq IN ({', '.join('?' * len(seqs))}) ORDER BY seq", seqs)

    def acknowledge(self, seqs: Sequence[int]) -> None:
        """Forget messages that the server has stored; unknown numbers are ignored.

        Raises:
            StoreError: where the disk refuses; they are then sent again, which does no harm.
        """
        with self._lock:
            with self._transaction():
                gone = sum(self._db.execute("DELETE FROM outbox WHERE seq = ?", (seq,)).rowcount for seq in seqs)
            self._count -= gone

    def current_alerts(self) -> list[tuple[str, bytes]]:
        """Each stream's latest alert as it was recorded, with the stream's name.

        Raises:
            StoreError: where the disk refuses.
        """
        with self._guarded():
            return self._db.execute("SELECT name, alert FROM stream WHERE alert IS NOT NULL").fetchall()

    def keep_baseline(self, stream: str, baseline: SiteBaseline) -> None:
        """Use what was learnt at the site from the next start on. What was learnt before stays on record.

        Raises:
            StoreError: where the disk refuses.
        """
        with self._transaction():
            self._db.execute(
                "INSERT INTO baseline VALUES (?, ?, ?, ?, NULL)",
                (stream, baseline.bundle, baseline.recorded_at, baseline.model_dump_json()),
            )

    def baseline(self, stream: str, bundle: str) -> SiteBaseline | None:
        """The latest of a stream for one bundle that has not been forgotten.

        Raises:
            StoreError: where the disk refuses.
        """
        with self._guarded():
            row = self._db.execute(
                "SELECT baseline FROM baseline WHERE stream = ? AND bundle = ? AND forgotten_at IS NULL"
                " ORDER BY rowid DESC LIMIT 1",
                (stream, bundle),
            ).fetchone()
        return SiteBaseline.model_validate_json(row[0]) if row else None

    def forget_baseline(self, stream: str) -> int:
        """Take back the latest of a stream, for whichever bundle: the one before it holds again.

        Returns:
            How many were taken back: 1, or 0 where there was none.

        Raises:
            StoreError: where the disk refuses.
        """
        with self._transaction():
            return self._db.execute(
                "UPDATE baseline SET forgotten_at = ? WHERE rowid ="
                " (SELECT max(rowid) FROM baseline WHERE stream = ? AND forgotten_at IS NULL)",
                (self._clock.now().wall, stream),
            ).rowcount

    def choice(self, stream: str) -> BundleChoice | None:
        """The bundle that a stream runs in place of the one that agent.toml names.

        Raises:
            StoreError: where the disk refuses.
        """
        with self._guarded():
            row = self._db.execute("SELECT choice FROM choice WHERE stream = ?", (stream,)).fetchone()
        try:
            return BundleChoice.model_validate_json(row[0]) if row else None
        except ValidationError:
            return None

    def choose(self, stream: str, choice: BundleChoice | None) -> None:
        """Keep what a stream is to run from now on; None: what agent.toml names.

        Raises:
            StoreError: where the disk refuses.
        """
        with self._transaction():
            if choice is None:
                self._db.execute("DELETE FROM choice WHERE stream = ?", (stream,))
            else:
                self._db.execute("INSERT OR REPLACE INTO choice VALUES (?, ?)", (stream, choice.model_dump_json()))

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._db.close()

    def _select(self, which: str, values: Sequence[int]) -> list[Pending]:
        with self._guarded():
            rows = self._db.execute(
                f"SELECT seq, topic, payload, boot, monotonic, wall FROM outbox WHERE {which}", values
            ).fetchall()
        now = self._clock.now()
        return [
            Pending(seq, topic, payload, max(0.0, now.monotonic - at if boot == self._boot else now.wall - wall))
            for seq, topic, payload, boot, at, wall in rows
        ]

    def _make_room(self) -> int:
        """Drop what exceeds the cap: the oldest windows, and alerts only when nothing else is left."""
        excess = self._count + 1 - self._max_messages
        if excess <= 0:
            return 0
        return self._db.execute(
            "DELETE FROM outbox WHERE seq IN (SELECT seq FROM outbox ORDER BY urgent, seq LIMIT ?)", (excess,)
        ).rowcount

    def _meta(self, key: str) -> str:
        with self._guarded():
            return str(self._db.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()[0])

    def _set(self, key: str, value: str) -> None:
        self._db.execute("UPDATE meta SET value = ? WHERE key = ?", (value, key))

    def _set_default(self, key: str, value: str) -> None:
        self._db.execute("INSERT OR IGNORE INTO meta VALUES (?, ?)", (key, value))

    def _scalar(self, query: str) -> int:
        with self._guarded():
            return int(self._db.execute(query).fetchone()[0])

    @contextmanager
    def _guarded(self) -> Iterator[None]:
        with self._lock:
            try:
                yield
            except sqlite3.Error as error:
                raise self._explain(error) from None

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        """All or nothing, under the lock."""
        with self._guarded():
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise

    def _explain(self, error: Exception) -> StoreError:
        return StoreError(f"the store cannot be used ({error})", where=str(self._path))
