"""What devices say in benches of the server."""

from __future__ import annotations

from random import Random
from typing import Any

from driftprint.messages import (
    BundleRef,
    ClassStats,
    HealthMessage,
    Vitals,
    WindowKind,
    WindowMessage,
    WindowStats,
    encode,
)


def window(site: str, number: int, **fields: Any) -> WindowMessage:
    """A window of a device that is called by a number, and whose model has ten classes: each device has values of its
    own, and always the same.
    """
    random = Random(number)
    return WindowMessage(
        **_identity(site, number),
        stream="camera",
        bundle=BundleRef(name="parts", version=1),
        frames_total=random.randrange(100_000, 1_000_000),
        outliers_total=random.randrange(1_000, 10_000),
        alerts_total=0,
        frames_per_second=round(random.uniform(9, 10), 1),
        windows=tuple(_stats(kind, random) for kind in WindowKind),
        alarm=False,
        evidence=_ratio(random),
        **fields,
    )


def health(site: str, number: int) -> HealthMessage:
    """What the same device says of itself; a Raspberry Pi has all vitals."""
    return HealthMessage(
        **_identity(site, number),
        uptime_seconds=86_400.5,
        outbox_messages=1,
        outbox_dropped_total=0,
        providers={"camera": ("CPUExecutionProvider",)},
        vitals=Vitals(
            cpu_ratio=0.5,
            process_cpu_ratio=0.25,
            process_memory_bytes=100_000_000,
            memory_bytes=4_000_000_000,
            memory_available_bytes=3_000_000_000,
            temperature_celsius=61.5,
            throttled=False,
            throttled_since_boot=False,
            under_voltage=False,
            under_voltage_since_boot=False,
            disk_bytes=30_000_000_000,
            disk_free_bytes=20_000_000_000,
        ),
    )


def window_bytes() -> int:
    """Of a window as devices send it."""
    return len(encode(window("bench", 12_345, seq=1, recorded_at=1_700_000_000.5)))


def _identity(site: str, number: int) -> dict[str, str]:
    return {"site": site, "device": f"device-{number}", "instance": f"{number:016x}"}


def _stats(kind: WindowKind, random: Random) -> WindowStats:
    return WindowStats(
        kind=kind,
        limit=100,
        frames=100,
        outlier_ratio=_ratio(random),
        score_quantiles={
            name: round(random.uniform(low, low + 1), 2) for low, name in enumerate(("0.5", "0.9", "0.99"))
        },
        classes={str(digit): ClassStats(frames=10, outlier_ratio=_ratio(random)) for digit in range(10)},
    )


def _ratio(random: Random) -> float:
    return round(random.random(), 2)
