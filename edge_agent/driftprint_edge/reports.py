"""A stream's messages."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypedDict

from driftprint.alerts import AlertLife
from driftprint.clock import Instant
from driftprint.decision import Alert
from driftprint.messages import AlertMessage, BundleRef, Cause, WindowMessage
from driftprint.mix_decider import MixAlert
from driftprint_edge.camera import CameraAlert
from driftprint_edge.watch import Watch


@dataclass(frozen=True, slots=True)
class StreamId:
    """Whose messages these are."""

    site: str
    device: str
    stream: str


class _Head(TypedDict):
    """What all of a stream's messages begin with."""

    site: str
    device: str
    stream: str
    instance: str
    recorded_at: float
    bundle: BundleRef


@dataclass(frozen=True, slots=True)
class Reports:
    """Puts what is known of a stream into messages.

    Attributes:
        stream_id: whose they are.
        instance: the id of the device's store.
    """

    stream_id: StreamId
    instance: str

    def window(
        self, watch: Watch, now: Instant, *, faults_total: Mapping[str, int], frames_per_second: float
    ) -> WindowMessage:
        """Totals, and the windows as they stand."""
        decider = watch.decider
        decider.by_time.expire(now.monotonic)
        return WindowMessage(
            **self._head(watch, now),
            frames_total=decider.frames_total,
            outliers_total=decider.outliers_total,
            faults_total=dict(faults_total),
            alerts_total=decider.alerts_total,
            frames_per_second=frames_per_second,
            windows=(decider.by_count.stats(), decider.by_time.stats()),
            alarm=decider.alarm,
            class_mix_alarm=watch.mix is not None and watch.mix.alarm,
            camera_faults=tuple(alert.cause for alert in watch.camera.active),
            evidence=decider.evidence,
        )

    def drift(self, alert: Alert, watch: Watch, now: Instant) -> AlertMessage:
        """An alert of drift, explained."""
        explained = watch.explainer.explain()
        return self._alert(
            alert,
            Cause.DRIFT,
            alert.summary + (explained.sentence(now) if alert.active else ""),
            watch,
            now,
            outlier_ratio=alert.outlier_ratio,
            p0=watch.decider.p0,
            frames_per_false_alarm=watch.decider.frames_per_false_alarm,
            suspected_at=explained.suspected_at.wall if alert.active and explained.suspected_at else None,
            layers=explained.layers,
            classes=explained.classes,
            thumbnails=watch.evidence.thumbnails(),
        )

    def mix(self, alert: MixAlert, watch: Watch, now: Instant) -> AlertMessage:
        """An alert about the mix of predicted classes."""
        budget = None if watch.mix is None else watch.mix.frames_per_false_alarm
        return self._alert(alert, Cause.CLASS_MIX, alert.summary, watch, now, frames_per_false_alarm=budget)

    def camera(self, alert: CameraAlert, watch: Watch, now: Instant) -> AlertMessage:
        """An alert about the camera."""
        return self._alert(alert, alert.cause, alert.summary, watch, now)

    def _alert(
        self, alert: AlertLife, cause: Cause, summary: str, watch: Watch, now: Instant, **of_cause: Any
    ) -> AlertMessage:
        """What all alerts say, and what only those of one cause do."""
        return AlertMessage(
            **self._head(watch, now),
            alert_id=alert.alert_id,
            revision=alert.revision,
            status=alert.status,
            cause=cause,
            raised_at=alert.raised_at,
            cleared_at=alert.cleared_at,
            frames_total=watch.decider.frames_total,
            summary=summary,
            **of_cause,
        )

    def _head(self, watch: Watch, now: Instant) -> _Head:
        return {
            "site": self.stream_id.site,
            "device": self.stream_id.device,
            "stream": self.stream_id.stream,
            "instance": self.instance,
            "recorded_at": now.wall,
            "bundle": watch.bundle,
        }
