"""A day of a small fleet, as its devices would tell it: what the pictures of the page show."""

from __future__ import annotations

import io
import math
import random
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from driftprint.digits import Part, load_digits
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
    Thumbnail,
    Vitals,
    WindowKind,
    WindowMessage,
    WindowStats,
)

Told = tuple[DeviceMessage, float]
"""A message, and how many seconds ago it was recorded."""

_DEVICES = (("north", "line-1"), ("north", "line-2"), ("north", "line-3"), ("south", "dock-1"), ("south", "dock-2"))
_INSTANCE = "c" * 16
_STEP_SECONDS = 20.0
_WINDOWS = 300
_DRIFT_AT = 210  # of the windows of line-1
_BLURRED = range(135, 165)
_COVERED_AT = 292  # of those of line-2
_SUMMARY = (
    "The model sees data it was not trained for: {ratio:.0%} of the last 100 frames are outliers, where inliers stay "
    "under 6.8%. Of the outliers {share:.0%} stand out in relu_2, 41% are taken for 9."
)


def tell() -> list[Told]:
    """What all devices have said, the oldest first."""
    chance = random.Random(7)
    told = [one for site, device in _DEVICES for one in (*_presence(site, device), *_windows(site, device, chance))]
    return sorted([*told, *_alerts()], key=lambda one: -one[1])


def _presence(site: str, device: str) -> Iterator[Told]:
    names: dict[str, Any] = {"site": site, "device": device, "instance": _INSTANCE}
    yield StateMessage(**names, status=DeviceStatus.ONLINE, agent_version="0.1.0", streams=("camera",)), 3.0
    vitals = Vitals(
        cpu_ratio=0.41,
        memory_bytes=4_000_000_000,
        memory_available_bytes=2_600_000_000,
        temperature_celsius=56.0,
        disk_bytes=30_000_000_000,
        disk_free_bytes=21_000_000_000,
    )
    counts: dict[str, Any] = {"uptime_seconds": 820_000.0, "outbox_messages": 0, "outbox_dropped_total": 0}
    yield HealthMessage(**names, **counts, vitals=vitals, providers={"camera": ("CPUExecutionProvider",)}), 3.0


def _windows(site: str, device: str, chance: random.Random) -> Iterator[Told]:
    for number in range(_WINDOWS):
        since = number - _DRIFT_AT if device == "line-1" and number > _DRIFT_AT else 0
        ratio = min(1.0, max(0.0, 0.04 + since / 130 + chance.gauss(0, 0.009)))
        evidence = max(0.0, 0.22 + 0.12 * math.sin(number / 17) + chance.gauss(0, 0.02) + since / 35)
        faults = []
        if device == "line-1" and number in _BLURRED:
            faults.append(Cause.BLURRED)
        if device == "line-2" and number >= _COVERED_AT:
            faults.append(Cause.COVERED)
        classes = {
            str(digit): ClassStats(frames=10, outlier_ratio=min(1.0, max(0.0, ratio * _liking(digit))))
            for digit in range(10)
        }
        yield (
            WindowMessage(
                site=site,
                device=device,
                instance=_INSTANCE,
                stream="camera",
                seq=number,
                recorded_at=0.0,
                bundle=BundleRef(name="parts", version=3 if site == "north" else 2),
                frames_total=200 * number,
                outliers_total=8 * number,
                alerts_total=0,
                frames_per_second=10.0,
                windows=(
                    WindowStats(kind=WindowKind.COUNT, limit=100, frames=100, outlier_ratio=ratio, classes=classes),
                ),
                alarm=evidence >= 1,
                camera_faults=tuple(faults),
                evidence=evidence,
            ),
            _STEP_SECONDS * (_WINDOWS - number),
        )


def _liking(digit: int) -> float:
    """How much more often than others outliers are taken for a digit."""
    return 1.9 if digit == 9 else 1.3 if digit in (4, 7) else 0.55


def _alerts() -> Iterator[Told]:
    drift: dict[str, Any] = {
        "number": 1,
        "cause": Cause.DRIFT,
        "p0": 0.068,
        "frames_per_false_alarm": 34_560_000,
        "layers": {"relu_2": 0.71, "relu_1": 0.35},
        "classes": {"9": 0.41, "4": 0.22, "7": 0.19},
        "thumbnails": _frames(),
    }
    begun = _STEP_SECONDS * (_WINDOWS - _DRIFT_AT - 28)
    yield _alert("line-1", 400, begun, begun, **_said(0.25, 0.62), **drift), begun
    update: dict[str, Any] = {"revision": 1, "status": AlertStatus.UPDATED}
    yield _alert("line-1", 401, begun, 190.0, **_said(0.66, 0.71), **update, **drift), 190.0
    covered: dict[str, Any] = {"number": 2, "cause": Cause.COVERED, "summary": "The camera is covered."}
    yield _alert("line-2", 400, 150.0, 150.0, **covered), 150.0
    raised, cleared = (_STEP_SECONDS * (_WINDOWS - edge) for edge in (_BLURRED.start, _BLURRED.stop))
    over: dict[str, Any] = {"status": AlertStatus.CLEARED, "cleared_at": raised - cleared}
    blurred: dict[str, Any] = {"number": 3, "cause": Cause.BLURRED, "summary": "The camera's picture is out of focus."}
    yield _alert("line-1", 130, raised, cleared, **over, **blurred), cleared


def _said(ratio: float, share: float) -> dict[str, Any]:
    return {"outlier_ratio": ratio, "summary": _SUMMARY.format(ratio=ratio, share=share)}


def _alert(device: str, seq: int, raised: float, ago: float, *, number: int, **fields: Any) -> AlertMessage:
    """An alert that was raised some seconds ago, as it was recorded `ago`."""
    return AlertMessage(
        **{
            "site": "north",
            "device": device,
            "instance": _INSTANCE,
            "stream": "camera",
            "seq": seq,
            "recorded_at": raised - ago,
            "raised_at": 0.0,
            "bundle": BundleRef(name="parts", version=3),
            "alert_id": f"{number:032x}",
            "revision": 0,
            "status": AlertStatus.RAISED,
            "frames_total": 200 * seq,
            **fields,
        }
    )


def _frames() -> tuple[Thumbnail, ...]:
    """Digits that a lens shows out of focus."""
    digits = load_digits(Part.DEMO)
    return tuple(
        Thumbnail(frame=str(number), recorded_at=0.0, p_value=0.001, predicted="9", jpeg=_jpeg(digits.frames[number]))
        for number in range(4)
    )


def _jpeg(frame: NDArray[np.uint8]) -> bytes:
    drawn = io.BytesIO()
    picture = Image.fromarray(frame).resize((112, 112)).filter(ImageFilter.GaussianBlur(7))
    picture.save(drawn, "JPEG")
    return drawn.getvalue()
