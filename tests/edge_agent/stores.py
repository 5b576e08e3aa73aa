"""Stores for tests, and what goes into them."""

from __future__ import annotations

import json
import secrets
from pathlib import Path
from typing import Any

from driftprint.clock import Clock
from driftprint.decision import DeciderState
from driftprint_edge.store import Pending, Store, StreamState
from tests.server.messages import alert, window


def open_store(path: Path, clock: Clock, *, max_messages: int = 1000, **options: float) -> Store:
    """A store that writes each window at once, unless told otherwise."""
    return Store(
        path,
        clock=clock,
        new_id=lambda: secrets.token_hex(8),
        max_messages=max_messages,
        **{"group_seconds": 0.0, **options},
    )


def state(frames_total: int = 0, **fields: Any) -> StreamState:
    return StreamState(bundle="toy-1", decider=DeciderState(frames_total=frames_total), **fields)


def put_windows(store: Store, count: int) -> list[int]:
    """Commits windows; returns their numbers."""
    return [store.commit(state(), window()).seq for _ in range(count)]


def put_alerts(store: Store, count: int) -> list[int]:
    """Commits alerts; returns their numbers."""
    return [store.commit(state(), alert(number=number)).seq for number in range(1, count + 1)]


def waiting(store: Store) -> list[int]:
    """The numbers of all messages in the outbox: alerts, then windows."""
    return [seq for urgent in (True, False) for seq in seqs_of(store.pending(urgent=urgent, after=0, limit=10**6))]


def seqs_of(messages: list[Pending]) -> list[int]:
    return [message.seq for message in messages]


def body(message: Pending) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(message.payload)
    return content
