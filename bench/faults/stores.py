"""Stores, and messages to put into them."""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import Any

from driftprint.clock import Instant
from driftprint.decision import DeciderState
from driftprint.messages import AlertMessage, AlertStatus, BundleRef, Cause, StreamMessage, WindowMessage
from driftprint_edge.store import Store, StreamState


class Clock:
    """Stands still."""

    def now(self) -> Instant:
        """The same moment as ever."""
        return Instant(1_000.0, 1_000_000.0)


def open_store(path: Path) -> Store:
    """A store that writes each message at once."""
    return Store(path, clock=Clock(), new_id=lambda: secrets.token_hex(8), max_messages=10_000, group_seconds=0.0)


def held(store: Store) -> dict[int, bytes]:
    """What is in the outbox, by number."""
    return {
        message.seq: message.payload
        for urgent in (True, False)
        for message in store.pending(urgent=urgent, after=0, limit=10**6)
    }


def state(number: int) -> StreamState:
    """A stream's."""
    return StreamState(bundle="bench-1", decider=DeciderState(frames_total=number))


def window(store: Store, stream: str, number: int) -> StreamMessage:
    """A window of a stream."""
    return WindowMessage(
        **_head(store, stream, number), outliers_total=0, alerts_total=0, frames_per_second=1, alarm=False, evidence=0
    )


def alert(store: Store, stream: str, number: int) -> StreamMessage:
    """An alert of a stream; every other one is as long as one with pictures."""
    return AlertMessage(
        **_head(store, stream, number),
        alert_id=f"{number:032x}",
        revision=0,
        status=AlertStatus.RAISED,
        cause=Cause.DRIFT,
        raised_at=0,
        summary="It sees what it does not know. " * (30 if number % 2 else 1),
    )


def _head(store: Store, stream: str, number: int) -> dict[str, Any]:
    bundle = BundleRef(name="bench", version=1)
    return {
        "site": "bench",
        "device": "bench",
        "instance": store.instance,
        "stream": stream,
        "recorded_at": 0,
        "bundle": bundle,
        "frames_total": number,
    }
