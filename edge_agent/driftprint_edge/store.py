"""What outlasts a restart: the outbox, and each stream's totals and detector.

A message and the state it was made from are committed together, so that a kill at any moment leaves both or neither.
Alerts are committed at once, windows in groups.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping, Sequence
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
from driftprint_edge.ledger import Ledger
from driftprint_edge.salvage import DamagedError, Row, is_sound, seal
from driftprint_edge.tables import BASELINE, CHOICE, OUTBOX, STREAM, Head, delete, put_head

_MOST_WAITING = 1000


@dataclass(frozen=True, slots=True)
class _Latest:
    """The latest of a stream; None: as it is on disk."""

    state: StreamState
    window: int | None = None
    alert: bytes | None = None


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


class Store(Ledger):
    """The agent's memory. Safe to use from several threads.

    Args:
        path: the SQLite file, made where it is missing, with its folder.
        clock: dates the messages.
        new_id: makes 16 hexadecimal digits: the instance's id, and this start's.
        max_messages: the outbox's cap; beyond it the oldest windows go first, alerts last.
        max_megabytes: its cap in a million bytes of messages, likewise.
        group_seconds: windows are written together, so long after the first of them at the latest; 0: each at once.

    Raises:
        StoreError: where the file is in use, or something else is in its place.
    """

    def __init__(
        self,
        path: Path,
        *,
        clock: Clock,
        new_id: Callable[[], str],
        max_messages: int,
        max_megabytes: float = 200.0,
        group_seconds: float = 1.0,
    ) -> None:
        super().__init__(path, clock=clock, new_id=new_id)
        self._max_messages = max_messages
        self._max_bytes = int(max_megabytes * 1e6)
        self._group_seconds = group_seconds
        self._boot = new_id()
        self._waiting: list[Row] = []
        """Windows that are not on disk yet, and what else is to be written with them."""
        self._latest: dict[str, _Latest] = {}
        self._flush_at = 0.0
        with self._lock:
            self._open()

    @property
    def outbox_messages(self) -> int:
        """Messages that the server has not acknowledged."""
        with self._lock:
            return self._head.messages + len(self._waiting)

    def load(self, stream: str) -> StreamState | None:
        """A stream's saved state; None for a new stream, or one whose state this version cannot read.

        Raises:
            StoreError: where the disk refuses.
        """
        with self._guarded() as db:
            if stream in self._latest:
                return self._latest[stream].state
            row = db.execute("SELECT state FROM stream WHERE name = ?", (stream,)).fetchone()
        try:
            return StreamState.model_validate_json(row[0]) if row else None
        except ValidationError:
            return None

    def commit(self, state: StreamState, message: StreamMessage) -> StreamMessage:
        """Save a stream's state and put a message into the outbox, together: an alert at once, a window with its group.

        Returns:
            The message with its ``seq``.

        Raises:
            StoreError: where the disk refuses. An alert has then changed nothing; a window waits in memory.
        """
        with self._lock:
            if self._closed:
                raise self._explain(sqlite3.ProgrammingError("it is closed"))
            now = self._clock.now()
            numbered = message.model_copy(update={"seq": self._head.seq + 1})
            payload = encode(numbered)
            urgent = isinstance(message, AlertMessage)
            kind = StreamTopic.ALERT if urgent else StreamTopic.WINDOW
            topic = stream_topic(message.site, message.device, message.stream, kind)
            row = seal((numbered.seq, int(urgent), topic, payload, self._boot, float(now.monotonic), float(now.wall)))
            before = self._latest.get(message.stream)
            if urgent:
                latest = _Latest(state, window=before.window if before else None, alert=payload)
                self._write([*self._waiting, row], {**self._latest, message.stream: latest})
            else:
                self._wait(row, now.monotonic)
                self._latest[message.stream] = _Latest(state, window=numbered.seq)
                self.flush()
        return numbered

    def flush(self, *, at_once: bool = False) -> None:
        """Write the windows that wait, if the first of them has waited long enough.

        Args:
            at_once: write them in any case.

        Raises:
            StoreError: where the disk refuses; they go on waiting.
        """
        with self._lock:
            now = self._clock.now().monotonic
            if self._waiting and (at_once or now >= self._flush_at):
                self._flush_at = now + self._group_seconds
                self._write(self._waiting, self._latest)

    def pending(self, *, urgent: bool, after: int, limit: int, up_to: int | None = None) -> list[Pending]:
        """The first `limit` alerts (`urgent`), or windows, numbered beyond `after`. Of those on disk, as all that is
        given out: what a server knows must not be lost by a kill.

        Args:
            urgent: which.
            after: the number before.
            limit: how many at most.
            up_to: the largest number; None: any.

        Raises:
            StoreError: where the disk refuses.
        """
        last = 2**63 - 1 if up_to is None else up_to
        return self._select("urgent = ? AND seq > ? AND seq <= ? ORDER BY seq LIMIT ?", (urgent, after, last, limit))

    def find(self, seqs: Sequence[int]) -> list[Pending]:
        """Those of the messages that are still in the outbox, by number.

        Raises:
            StoreError: where the disk refuses.
        """
        return self._select(f"seq IN ({', '.join('?' * len(seqs))}) ORDER BY seq", seqs)

    def latest_windows(self) -> list[int]:
        """The number of each stream's latest window, which may have left the outbox.

        Raises:
            StoreError: where the disk refuses.
        """
        with self._guarded() as db:
            return [seq for (seq,) in db.execute("SELECT window FROM stream WHERE window IS NOT NULL ORDER BY window")]

    def acknowledge(self, seqs: Sequence[int]) -> None:
        """Forget messages that the server has stored; unknown numbers are ignored.

        Raises:
            StoreError: where the disk refuses; they are then sent again, which does no harm.
        """
        with self._lock:
            with self._transaction() as db:
                gone = delete(db, seqs)
                head = self._shrunk(gone)
                if gone:
                    put_head(db, head)
            self._known = head

    def current_alerts(self) -> list[tuple[str, bytes]]:
        """Each stream's latest alert as it was recorded, with the stream's name.

        Raises:
            StoreError: where the disk refuses.
        """
        with self._guarded() as db:
            return db.execute("SELECT name, alert FROM stream WHERE alert IS NOT NULL").fetchall()

    def keep_baseline(self, stream: str, baseline: SiteBaseline) -> None:
        """Use what was learnt at the site from the next start on. What was learnt before stays on record.

        Raises:
            StoreError: where the disk refuses.
        """
        self._require_disk()
        values = (stream, baseline.bundle, float(baseline.recorded_at), baseline.model_dump_json(), None)
        with self._transaction() as db:
            (number,) = db.execute("SELECT coalesce(max(id), 0) + 1 FROM baseline").fetchone()
            db.execute(BASELINE.put, seal((number, *values)))

    def baseline(self, stream: str, bundle: str) -> SiteBaseline | None:
        """The latest of a stream for one bundle that has not been forgotten.

        Raises:
            StoreError: where the disk refuses.
        """
        with self._guarded() as db:
            row = db.execute(
                "SELECT baseline FROM baseline WHERE stream = ? AND bundle = ? AND forgotten_at IS NULL"
                " ORDER BY id DESC LIMIT 1",
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
        self._require_disk()
        with self._transaction() as db:
            row = db.execute(
                "SELECT id, stream, bundle, recorded_at, baseline FROM baseline"
                " WHERE stream = ? AND forgotten_at IS NULL ORDER BY id DESC LIMIT 1",
                (stream,),
            ).fetchone()
            if row is not None:
                db.execute(BASELINE.put, seal((*row, float(self._clock.now().wall))))
        return int(row is not None)

    def choice(self, stream: str) -> BundleChoice | None:
        """The bundle that a stream runs in place of the one that agent.toml names.

        Raises:
            StoreError: where the disk refuses.
        """
        with self._guarded() as db:
            row = db.execute("SELECT choice FROM choice WHERE stream = ?", (stream,)).fetchone()
        try:
            return BundleChoice.model_validate_json(row[0]) if row else None
        except ValidationError:
            return None

    def choose(self, stream: str, choice: BundleChoice | None) -> None:
        """Keep what a stream is to run from now on; None: what agent.toml names.

        Raises:
            StoreError: where the disk refuses.
        """
        with self._transaction() as db:
            if choice is None:
                db.execute("DELETE FROM choice WHERE stream = ?", (stream,))
            else:
                db.execute(CHOICE.put, seal((stream, choice.model_dump_json())))

    def close(self) -> None:
        """Write what waits, if the disk lets it, and close the file."""
        with self._lock:
            if self._closed:
                return
            self.settle()
            if self.volatile:
                self._log.error("the disk has taken no writes; what came is lost", messages=self.outbox_messages)
            try:
                self.flush(at_once=True)
                with self._transaction() as db:
                    put_head(db, self._head.model_copy(update={"in_use": False}))
            except StoreError as error:
                self._log.error("the store could not be closed as it should", what=str(error))
            super().close()

    def _wait(self, row: Row, now: float) -> None:
        """Have a window wait for its group."""
        if not self._waiting:
            self._flush_at = now + self._group_seconds
        self._waiting.append(row)
        dropped = len(self._waiting) - _MOST_WAITING
        if dropped > 0:
            del self._waiting[:dropped]
        self._known = self._head.model_copy(update={"seq": row[0], "dropped": self._head.dropped + max(0, dropped)})

    def _write(self, rows: Sequence[Row], latest: Mapping[str, _Latest]) -> None:
        """Write messages, and what is the latest of their streams, in one transaction. Nothing waits any longer."""
        with self._transaction() as db:
            db.executemany(OUTBOX.put, rows)
            for name, one in latest.items():
                known = db.execute("SELECT window, alert FROM stream WHERE name = ?", (name,)).fetchone()
                window, alert = known or (None, None)
                window = window if one.window is None else one.window
                alert = alert if one.alert is None else one.alert
                db.execute(STREAM.put, seal((name, one.state.model_dump_json(), window, alert)))
            before = self._head
            grown = before.model_copy(
                update={
                    "seq": max(before.seq, rows[-1][0]),
                    "messages": before.messages + len(rows),
                    "size": before.size + sum(len(row[3]) for row in rows),
                }
            )
            head = self._drop_excess(db, grown)
            put_head(db, head)
        self._known = head
        self._written = rows[-1][0]
        self._waiting, self._latest = [], {}

    def _drop_excess(self, db: sqlite3.Connection, head: Head) -> Head:
        """Drop what exceeds the caps: the oldest windows, and alerts only when nothing else is left."""
        excess, excess_bytes = head.messages - self._max_messages, head.size - self._max_bytes
        victims: list[int] = []
        for urgent in (0, 1):
            if excess <= 0 and excess_bytes <= 0:
                break
            query = "SELECT seq, length(payload) FROM outbox WHERE urgent = ? ORDER BY seq"
            for seq, size in db.execute(query, (urgent,)):
                if excess <= 0 and excess_bytes <= 0:
                    break
                victims.append(seq)
                excess, excess_bytes = excess - 1, excess_bytes - size
        delete(db, victims)
        return head.model_copy(
            update={
                "messages": excess + self._max_messages,
                "size": excess_bytes + self._max_bytes,
                "dropped": head.dropped + len(victims),
            }
        )

    def _shrunk(self, gone: Sequence[int]) -> Head:
        head = self._head
        return head.model_copy(update={"messages": head.messages - len(gone), "size": head.size - sum(gone)})

    def _select(self, which: str, values: Sequence[int]) -> list[Pending]:
        with self._guarded() as db:
            rows = db.execute(f"SELECT {', '.join(OUTBOX.columns)} FROM outbox WHERE {which}", values).fetchall()
            if not all(is_sound(row) for row in rows):
                raise DamagedError("a message has been altered")
        now = self._clock.now()
        return [
            Pending(seq, topic, payload, max(0.0, now.monotonic - at if boot == self._boot else now.wall - wall))
            for seq, _, topic, payload, boot, at, wall, _ in rows
        ]

    def _require_disk(self) -> None:
        """For what a person asks to be kept, memory is not enough.

        Raises:
            StoreError: where there is no disk.
        """
        self.settle()
        if self.volatile:
            raise self._explain(sqlite3.OperationalError("the disk takes no writes"))
