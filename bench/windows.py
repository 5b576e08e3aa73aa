"""What devices say in benches of the server."""

from __future__ import annotations

from typing import Any

from driftprint.messages import BundleRef, ClassStats, WindowKind, WindowMessage, WindowStats

_CLASSES = {str(digit): ClassStats(frames=10, outlier_ratio=0.1) for digit in range(10)}
_WINDOWS = tuple(
    WindowStats(
        kind=kind,
        limit=100,
        frames=100,
        outlier_ratio=0.05,
        score_quantiles={"0.5": 1.0, "0.9": 2.0, "0.99": 3.0},
        classes=_CLASSES,
    )
    for kind in WindowKind
)


def window(site: str, number: int, **fields: Any) -> WindowMessage:
    """A window of a device that is called by a number, and whose model has ten classes."""
    return WindowMessage(
        site=site,
        device=f"device-{number}",
        stream="camera",
        instance=f"{number:016x}",
        bundle=BundleRef(name="parts", version=1),
        frames_total=100_000,
        outliers_total=5_000,
        alerts_total=0,
        frames_per_second=10.0,
        windows=_WINDOWS,
        alarm=False,
        evidence=0.1,
        **fields,
    )
