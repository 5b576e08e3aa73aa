from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pytest

from driftprint.messages import AlertMessage, AlertStatus, BundleRef, Cause
from driftprint_demo.scenes import Scene
from driftprint_demo.verdict import LIMIT_SECONDS, Conclusion, Verdict, conclude, judge
from driftprint_demo.watch import DeviceRow, StreamRow

FRAME = np.zeros((28, 28), np.uint8)
SCENES = (Scene("clean", "", [FRAME] * 300, None), Scene("drifting", "", [FRAME] * 300, 100))


def alert(device: str, frames_total: int, status: AlertStatus = AlertStatus.RAISED) -> AlertMessage:
    return AlertMessage(
        site="demo",
        device=device,
        instance="0" * 16,
        stream="camera",
        recorded_at=0,
        bundle=BundleRef(name="digits", version=1),
        alert_id="0" * 32,
        revision=0,
        status=status,
        cause=Cause.DRIFT,
        raised_at=0,
        frames_total=frames_total,
        outlier_ratio=0.5,
        p0=0.06,
        frames_per_false_alarm=1e6,
        summary="",
    )


def fleet(clean_frames: int, drifting_alerts: int = 1) -> Mapping[str, DeviceRow]:
    def row(device: str, frames: int, alerts: int) -> DeviceRow:
        stream = StreamRow(
            alarm=alerts > 0, frames_per_second=40, outlier_ratio=0.05, frames_total=frames, alerts_total=alerts
        )
        return DeviceRow(device=device, state="online", streams=(stream,))

    return {"clean": row("clean", clean_frames, 0), "drifting": row("drifting", 250, drifting_alerts)}


def test_complete_when_the_change_is_reported_and_the_clean_device_has_seen_all_its_frames() -> None:
    verdict = judge(SCENES, [alert("drifting", 120)], fleet(300))
    assert verdict == Verdict(missing=(), false_alarm=None, complete=True)
    assert conclude(verdict, ended=None, seconds=20) == Conclusion(None)


def test_goes_on_while_the_clean_device_still_has_frames_to_see_but_not_for_ever() -> None:
    verdict = judge(SCENES, [alert("drifting", 120)], fleet(250))
    assert conclude(verdict, ended=None, seconds=20) is None
    assert conclude(verdict, ended=None, seconds=LIMIT_SECONDS) == Conclusion(None)


@pytest.mark.parametrize(
    ("alerts", "devices", "missing"),
    [
        ([], fleet(300), "no alert of drifting came over MQTT"),
        ([alert("drifting", 120, AlertStatus.CLEARED)], fleet(300), "no alert of drifting came over MQTT"),
        ([alert("drifting", 120)], fleet(300, drifting_alerts=0), "the server does not show the alert of drifting"),
        ([alert("drifting", 120)], fleet(10), "clean has scored only 10 frames"),
        ([alert("drifting", 120)], {}, "clean has scored only 0 frames"),
    ],
)
def test_fails_at_the_time_limit_saying_what_is_missing(
    alerts: Sequence[AlertMessage], devices: Mapping[str, DeviceRow], missing: str
) -> None:
    verdict = judge(SCENES, alerts, devices)
    assert conclude(verdict, ended=None, seconds=LIMIT_SECONDS - 1) is None
    conclusion = conclude(verdict, ended=None, seconds=LIMIT_SECONDS)
    assert conclusion is not None
    assert missing in (conclusion.failure or "")


@pytest.mark.parametrize(("device", "frames"), [("clean", 200), ("drifting", 100)])
def test_fails_at_once_on_a_false_alarm(device: str, frames: int) -> None:
    verdict = judge(SCENES, [alert("drifting", 120), alert(device, frames)], fleet(300))
    conclusion = conclude(verdict, ended=None, seconds=5)
    assert conclusion == Conclusion(f"{device} raised a false alarm after {frames} frames")


def test_fails_at_once_when_a_process_has_ended() -> None:
    verdict = judge(SCENES, [], {})
    assert conclude(verdict, ended="the server ended", seconds=1) == Conclusion("the server ended")
