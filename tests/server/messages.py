"""Messages as devices send them, with defaults for what a test does not care about."""

from __future__ import annotations

from typing import Any

from driftprint.messages import (
    AlertMessage,
    AlertStatus,
    BundleRef,
    Cause,
    ClassStats,
    DeviceMessage,
    DeviceStatus,
    HealthMessage,
    StateMessage,
    StreamMessage,
    Vitals,
    WindowKind,
    WindowMessage,
    WindowStats,
)
from driftprint.topics import PREFIX

OLD = "a" * 16
NEW = "b" * 16

_IDENTITY = {"site": "north", "device": "pi-1", "instance": OLD}
_KINDS = {StateMessage: "state", HealthMessage: "health", WindowMessage: "window", AlertMessage: "alert"}


def state(status: DeviceStatus = DeviceStatus.ONLINE, **fields: Any) -> StateMessage:
    return StateMessage(**{**_IDENTITY, "status": status, "agent_version": "0.1.0", "streams": ("belt",), **fields})


def health(**fields: Any) -> HealthMessage:
    counts = {"uptime_seconds": 5.0, "outbox_messages": 2, "outbox_dropped_total": 1}
    vitals = Vitals(
        cpu_ratio=0.5,
        process_cpu_ratio=0.25,
        process_memory_bytes=100_000_000,
        memory_bytes=4_000_000_000,
        memory_available_bytes=3_000_000_000,
        temperature_celsius=61.5,
        throttled=True,
        under_voltage=False,
        disk_bytes=30_000_000_000,
        disk_free_bytes=20_000_000_000,
    )
    errors = {"belt": "toy-2: is not signed"}
    return HealthMessage(**{**_IDENTITY, **counts, "vitals": vitals, "bundle_errors": errors, **fields})


def window(seq: int = 1, *, ratio: float = 0.04, **fields: Any) -> WindowMessage:
    by_count = WindowStats(
        kind=WindowKind.COUNT,
        limit=200,
        frames=200,
        outlier_ratio=ratio,
        score_quantiles={"0.5": 1.5, "0.9": 2.5, "0.99": 4.0},
        classes={"cat": ClassStats(frames=150, outlier_ratio=ratio), "dog": ClassStats(frames=50, outlier_ratio=0.0)},
    )
    by_time = WindowStats(kind=WindowKind.TIME, limit=60, frames=600, outlier_ratio=ratio / 2)
    defaults = {
        "stream": "belt",
        "seq": seq,
        "recorded_at": 1_000.0 + seq,
        "bundle": BundleRef(name="digits", version=1),
        "frames_total": 100 * seq,
        "outliers_total": 4 * seq,
        "faults_total": {"undecodable": seq},
        "alerts_total": 0,
        "frames_per_second": 10.0,
        "windows": (by_count, by_time),
        "alarm": False,
        "evidence": 0.2,
    }
    return WindowMessage(**{**_IDENTITY, **defaults, **fields})


def alert(seq: int = 1, *, number: int = 1, revision: int = 0, **fields: Any) -> AlertMessage:
    defaults = {
        "stream": "belt",
        "seq": seq,
        "recorded_at": 1_000.0 + seq,
        "bundle": BundleRef(name="digits", version=1),
        "alert_id": f"{number:032x}",
        "revision": revision,
        "status": AlertStatus.RAISED,
        "cause": Cause.DRIFT,
        "raised_at": 1_000.0 + seq,
        "frames_total": 100 * seq,
        "outlier_ratio": 0.9,
        "p0": 0.06,
        "frames_per_false_alarm": 50_000,
        "summary": "The model sees data it was not trained for.",
    }
    return AlertMessage(**{**_IDENTITY, **defaults, **fields})


def topic_of(message: DeviceMessage) -> str:
    stream = f"{message.stream}/" if isinstance(message, StreamMessage) else ""
    return f"{PREFIX}/{message.site}/{message.device}/{stream}{_KINDS[type(message)]}"
