"""Whether the demo has shown what it promises."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from driftprint.messages import AlertMessage, AlertStatus
from driftprint_demo.scenes import Scene
from driftprint_demo.watch import DeviceRow

LIMIT_SECONDS = 60.0
"""Both changes must have been reported within this time."""

FEWEST_CLEAN_FRAMES = 200
"""A clean device that has scored fewer frames has shown nothing yet."""


@dataclass(frozen=True)
class Verdict:
    """How it stands.

    Attributes:
        missing: what has not been shown yet, for people.
        false_alarm: an alert that should not have been, for people.
        complete: all was shown, and the clean device has been through all its frames.
    """

    missing: tuple[str, ...]
    false_alarm: str | None
    complete: bool

    @property
    def success(self) -> bool:
        """Both changes reported, no false alarm."""
        return not self.missing and self.false_alarm is None


@dataclass(frozen=True)
class Conclusion:
    """How the demo has ended: well, where there is no `failure`."""

    failure: str | None


def conclude(verdict: Verdict, *, ended: str | None, seconds: float) -> Conclusion | None:
    """Whether the demo is over, and how.

    Args:
        verdict: how it stands.
        ended: why one of the processes has ended, where one has.
        seconds: since the start.
    """
    if failure := ended or verdict.false_alarm:
        return Conclusion(failure)
    if verdict.complete or (verdict.success and seconds >= LIMIT_SECONDS):
        return Conclusion(None)
    if seconds >= LIMIT_SECONDS:
        return Conclusion(f"after {seconds:.0f} s: {'; '.join(verdict.missing)}")
    return None


def judge(scenes: Sequence[Scene], alerts: Sequence[AlertMessage], fleet: Mapping[str, DeviceRow]) -> Verdict:
    """Compare what was reported with what the devices were shown.

    Args:
        scenes: what the devices see.
        alerts: all that a subscriber has received so far.
        fleet: the server's view, by device.
    """
    raised = [alert for alert in alerts if alert.status is AlertStatus.RAISED]
    missing, complete = [], True
    for scene in scenes:
        row = fleet.get(scene.device)
        stream = row.stream if row else None
        frames = stream.frames_total if stream else 0
        if scene.change_at is None:
            complete &= frames >= len(scene.frames)
            if frames < FEWEST_CLEAN_FRAMES:
                missing.append(f"{scene.device} has scored only {frames} frames")
        elif not any(alert.device == scene.device for alert in raised):
            missing.append(f"no alert of {scene.device} came over MQTT")
        elif stream is None or not stream.alerts_total:
            missing.append(f"the server does not show the alert of {scene.device}")
    return Verdict(tuple(missing), _false_alarm(scenes, raised), complete and not missing)


def _false_alarm(scenes: Sequence[Scene], raised: Sequence[AlertMessage]) -> str | None:
    change_at = {scene.device: scene.change_at for scene in scenes}
    for alert in raised:
        change = change_at.get(alert.device)
        if change is None or alert.frames_total <= change:
            return f"{alert.device} raised a false alarm after {alert.frames_total} frames"
    return None
