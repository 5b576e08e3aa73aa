"""Windows as the fleet takes them in, with defaults for what a test does not care about."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from driftprint.messages import ClassStats, WindowKind, WindowStats
from driftprint_server.records import WindowRecord, of_window
from tests.server import messages


def window(seq: int = 1, **fields: Any) -> WindowRecord:
    return of_window(messages.window(seq, **fields))


def of_classes(classes: Mapping[str, ClassStats]) -> tuple[WindowStats, ...]:
    """The windows of a message: one by count, with these classes, and one by time."""
    frames = sum(stats.frames for stats in classes.values())
    by_count = WindowStats(kind=WindowKind.COUNT, limit=200, frames=frames, outlier_ratio=0.04, classes=dict(classes))
    return by_count, WindowStats(kind=WindowKind.TIME, limit=60, frames=600, outlier_ratio=0.02)


def numbered(template: WindowRecord, seq: int, *, device: str = "pi-1") -> WindowRecord:
    """The same window with another number, of any device: quicker than a new one."""
    return msgspec.structs.replace(template, seq=seq, device=device)
