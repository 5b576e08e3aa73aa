"""A frame's way: load -> score -> decide -> outbox."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from threading import Event
from typing import Any, Protocol, TypedDict

import structlog
from numpy.typing import NDArray

from driftprint.clock import Clock, Instant
from driftprint.decision import Alert, Decider, Decision
from driftprint.errors import FaultReason, FrameError, StoreError
from driftprint.frames import FrameRef
from driftprint.logs import is_news
from driftprint.messages import AlertMessage, AlertStatus, BundleRef, Cause, StreamMessage, WindowMessage
from driftprint.preprocess import Frame
from driftprint.scorer import Scored, Scorer
from driftprint_edge.camera import CameraAlert, CameraWatch, look
from driftprint_edge.evidence import SUSPICION, Evidence
from driftprint_edge.explain import Explainer
from driftprint_edge.sources import Source
from driftprint_edge.store import StreamState

_MOST_WAITING_ALERTS = 1000


class Outbox(Protocol):
    """What a stream needs of the store."""

    instance: str

    def load(self, stream: str) -> StreamState | None:
        """The stream's saved state."""
        ...

    def commit(self, state: StreamState, message: StreamMessage) -> StreamMessage:
        """Save the state and send the message, together."""
        ...


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


class Stream:
    """One source watched by one bundle.

    Args:
        stream_id: whose messages it sends.
        source: gives the frames.
        scorer: scores them.
        decider: judges the scores; its saved state is loaded here.
        camera: judges the frames; likewise.
        outbox: takes the messages.
        evidence: keeps the most outlying frames.
        clock: dates frames and messages.
        report_seconds: how often a window message is sent.
        on_store_error: told of every write that the disk refused; the frames go on.
    """

    def __init__(
        self,
        stream_id: StreamId,
        *,
        source: Source,
        scorer: Scorer,
        decider: Decider,
        camera: CameraWatch,
        outbox: Outbox,
        evidence: Evidence,
        clock: Clock,
        report_seconds: float,
        on_store_error: Callable[[StoreError], None],
    ) -> None:
        self._id = stream_id
        self._source = source
        self._scorer = scorer
        self._decider = decider
        self._camera = camera
        self._outbox = outbox
        self._evidence = evidence
        self._clock = clock
        self._report_seconds = report_seconds
        self._on_store_error = on_store_error
        self._log = structlog.get_logger().bind(stream=stream_id.stream, bundle=scorer.manifest.id)
        self._explainer = Explainer(
            scorer.manifest.fingerprint.layers,
            alpha=decider.settings.alpha,
            frames=decider.settings.window_frames,
            suspicion=SUSPICION,
        )
        self._bundle = BundleRef(name=scorer.manifest.name, version=scorer.manifest.version)
        self._faults: Counter[str] = Counter()
        self._waiting: list[AlertMessage] = []
        """Alerts that the disk has refused so far."""
        start = clock.now()
        self._resume(start)
        self._last_report = start.monotonic
        self._frames_at_last_report = decider.frames_total

    @property
    def providers(self) -> tuple[str, ...]:
        """The execution providers that run its model, in order."""
        return self._scorer.providers

    def run(self, stop: Event) -> None:
        """Take frames until the source ends or `stop` is set, then send a last window."""
        try:
            for frame in self._source.frames(stop):
                if frame is None:
                    self.idle()
                else:
                    self.step(frame)
        finally:
            self.report(self._clock.now())

    def step(self, ref: FrameRef) -> None:
        """Take one frame all the way. One that cannot be scored is counted by its reason."""
        try:
            frame = ref.load()
            batch = self._scorer.prepare(frame)
            self._check_camera(frame, batch)
            scored = self._scorer.score_prepared(batch)
        except FrameError as error:
            self._fault(ref, error.reason, error.what)
        except Exception as error:  # a fault of ours must not end the watch
            self._fault(ref, "internal", repr(error))
        else:
            now = self._clock.now()
            decision = self._decider.update(scored.score, scored.p_value, scored.predicted, now)
            self._explainer.add(scored, outlier=decision.outlier, evidence=self._decider.evidence, wall=now.wall)
            if decision.alert is not None:
                self._announce(self._drift_message(decision.alert, now), now)
            self._keep_evidence(ref, frame, scored, decision, now)
        self._report_when_due(self._clock.now())

    def idle(self) -> None:
        """No frame has come for a moment."""
        now = self._clock.now()
        for alert in self._camera.nothing(now):
            self._announce(self._camera_message(alert, now), now)
        self._report_when_due(now)

    def report(self, now: Instant) -> None:
        """Send a window message, after any alert that the disk refused before."""
        if self._flush_alerts(now):
            self._commit(self._window_message(now), now)
        self._last_report = now.monotonic
        self._frames_at_last_report = self._decider.frames_total

    def _check_camera(self, frame: Frame, batch: NDArray[Any]) -> None:
        """Watch the camera.

        Raises:
            FrameError: where the frame says nothing of the world, because the camera is at fault.
        """
        now = self._clock.now()
        seen = look(frame, batch) if self._camera.wants_frames() else None
        found, alerts = self._camera.frame(seen, now)
        for alert in alerts:
            self._announce(self._camera_message(alert, now), now)
        if wrong := sorted(found | {alert.cause for alert in self._camera.active}):
            raise FrameError(f"the camera is at fault: {', '.join(wrong)}", reason="camera_fault")

    def _keep_evidence(self, ref: FrameRef, frame: Frame, scored: Scored, decision: Decision, now: Instant) -> None:
        decider = self._decider
        cleared = decision.alert is not None and decision.alert.status is AlertStatus.CLEARED
        if cleared or (not decider.alarm and decider.evidence < SUSPICION):
            self._evidence.forget()
            return
        if decision.outlier:
            self._evidence.add(decider.frames_total, ref.name, frame, scored, now.wall)
        if decision.alert is not None and decision.alert.status is AlertStatus.RAISED:
            self._evidence.raised(decision.alert.alert_id)

    def _report_when_due(self, now: Instant) -> None:
        if now.monotonic - self._last_report >= self._report_seconds:
            self.report(now)

    def _announce(self, message: AlertMessage, now: Instant) -> None:
        if len(self._waiting) < _MOST_WAITING_ALERTS:
            self._waiting.append(message)
        self._flush_alerts(now)
        # Only now: an alert that the log speaks of is one that a kill can no longer lose.
        self._log.info(
            "alert",
            status=message.status.value,
            cause=message.cause.value,
            alert_id=message.alert_id,
            summary=message.summary,
        )

    def _flush_alerts(self, now: Instant) -> bool:
        """Commit the waiting alerts in order; whether none is left."""
        while self._waiting and self._commit(self._waiting[0], now):
            self._waiting.pop(0)
        return not self._waiting

    def _commit(self, message: StreamMessage, now: Instant) -> bool:
        state = StreamState(
            bundle=self._scorer.manifest.id,
            decider=self._decider.save(now),
            faults_total=self._faults_total(),
            camera=self._camera.active,
        )
        try:
            self._outbox.commit(state, message)
        except StoreError as error:
            self._on_store_error(error)
            return False
        return True

    def _resume(self, now: Instant) -> None:
        saved = self._outbox.load(self._id.stream)
        if saved is None:
            return
        self._faults.update(saved.faults_total)
        same = saved.bundle == self._scorer.manifest.id
        # Evidence against one fingerprint says nothing about another.
        decider = saved.decider if same else saved.decider.model_copy(update={"raising": None, "clearing": None})
        self._decider.load(decider, now)
        for over in self._camera.load(saved.camera, now):
            self._announce(self._camera_message(over, now), now)
        if self._decider.alert is not None and self._decider.alarm:
            self._evidence.raised(self._decider.alert.alert_id)
        self._log.info("resumed", frames_total=self._decider.frames_total, same_bundle=same)

    def _fault(self, ref: FrameRef, reason: FaultReason, what: str) -> None:
        self._faults[reason] += 1
        if is_news(self._faults[reason]):
            self._log.warning("frame fault", frame=ref.name, reason=reason, what=what, total=self._faults[reason])

    def _faults_total(self) -> dict[str, int]:
        """Of frames that came, and of those that the source could not hand on."""
        return dict(self._faults + Counter(self._source.faults_total))

    def _window_message(self, now: Instant) -> WindowMessage:
        decider = self._decider
        decider.by_time.expire(now.monotonic)
        seconds = now.monotonic - self._last_report
        frames = decider.frames_total - self._frames_at_last_report
        return WindowMessage(
            **self._head(now),
            frames_total=decider.frames_total,
            outliers_total=decider.outliers_total,
            faults_total=self._faults_total(),
            alerts_total=decider.alerts_total,
            frames_per_second=frames / seconds if seconds > 0 else 0.0,
            windows=(decider.by_count.stats(), decider.by_time.stats()),
            alarm=decider.alarm,
            camera_faults=tuple(alert.cause for alert in self._camera.active),
            evidence=decider.evidence,
        )

    def _camera_message(self, alert: CameraAlert, now: Instant) -> AlertMessage:
        return self._alert_message(alert, alert.cause, alert.summary, now)

    def _drift_message(self, alert: Alert, now: Instant) -> AlertMessage:
        explained = self._explainer.explain()
        return self._alert_message(
            alert,
            Cause.DRIFT,
            alert.summary + (explained.sentence if alert.active else ""),
            now,
            outlier_ratio=alert.outlier_ratio,
            p0=self._decider.p0,
            frames_per_false_alarm=self._decider.frames_per_false_alarm,
            suspected_at=explained.suspected_at if alert.active else None,
            layers=explained.layers,
            classes=explained.classes,
        )

    def _alert_message(
        self, alert: Alert | CameraAlert, cause: Cause, summary: str, now: Instant, **of_drift: Any
    ) -> AlertMessage:
        """What all alerts say, and what only those of drift do."""
        return AlertMessage(
            **self._head(now),
            alert_id=alert.alert_id,
            revision=alert.revision,
            status=alert.status,
            cause=cause,
            raised_at=alert.raised_at,
            cleared_at=alert.cleared_at,
            frames_total=self._decider.frames_total,
            summary=summary,
            **of_drift,
        )

    def _head(self, now: Instant) -> _Head:
        return {
            "site": self._id.site,
            "device": self._id.device,
            "stream": self._id.stream,
            "instance": self._outbox.instance,
            "recorded_at": now.wall,
            "bundle": self._bundle,
        }
