"""A frame's way: load -> score -> decide -> outbox."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from threading import Event
from typing import Any, Protocol

import structlog
from numpy.typing import NDArray

from driftprint.clock import Clock, Instant
from driftprint.decision import Alert, Decision
from driftprint.errors import FaultReason, FrameError, StoreError
from driftprint.frames import FrameRef
from driftprint.logs import is_news
from driftprint.messages import AlertMessage, AlertStatus, StreamMessage
from driftprint.mix_decider import MixDeciderState
from driftprint.preprocess import Frame
from driftprint.scorer import Scored
from driftprint_edge.camera import look
from driftprint_edge.evidence import SUSPICION
from driftprint_edge.reports import Reports, StreamId
from driftprint_edge.sources import Source
from driftprint_edge.store import StreamState
from driftprint_edge.turns import Turns
from driftprint_edge.watch import Watch

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


class Stream:
    """One source watched by one bundle.

    Args:
        stream_id: whose messages it sends.
        source: gives the frames.
        watch: judges them; its saved state is loaded here.
        outbox: takes the messages.
        turns: it waits for, before each frame.
        clock: dates frames and messages.
        report_seconds: how often a window message is sent.
        on_store_error: told of every write that the disk refused; the frames go on.
        on_turn: told whenever it has looked for a frame.
        on_frame: told of every frame that it has dealt with.
    """

    def __init__(
        self,
        stream_id: StreamId,
        *,
        source: Source,
        watch: Watch,
        outbox: Outbox,
        turns: Turns,
        clock: Clock,
        report_seconds: float,
        on_store_error: Callable[[StoreError], None],
        on_turn: Callable[[], None] = lambda: None,
        on_frame: Callable[[], None] = lambda: None,
    ) -> None:
        self._source = source
        self.watch = watch
        """What judges the frames."""
        self._outbox = outbox
        self._turns = turns
        self._clock = clock
        self._report_seconds = report_seconds
        self._on_store_error = on_store_error
        self._on_turn = on_turn
        self._on_frame = on_frame
        self._next: Watch | None = None
        """Takes over before the next frame."""
        self._reports = Reports(stream_id, outbox.instance)
        self._log = structlog.get_logger().bind(stream=stream_id.stream)
        self._faults: Counter[str] = Counter()
        self._waiting: list[AlertMessage] = []
        """Alerts that the disk has refused so far."""
        start = clock.now()
        saved = outbox.load(stream_id.stream)
        if saved is not None:
            self._faults.update(saved.faults_total)
            self._resume(saved, start)
        self._last_report = start.monotonic
        self._frames_at_last_report = watch.decider.frames_total
        self._frames_before_bundle = watch.decider.frames_total

    @property
    def frames_with_bundle(self) -> int:
        """Frames scored with the present bundle, since the agent started."""
        return self.watch.decider.frames_total - self._frames_before_bundle

    @property
    def providers(self) -> tuple[str, ...]:
        """The execution providers that run its model, in order."""
        return self.watch.scorer.providers

    def run(self, stop: Event) -> None:
        """Take frames until the source ends or `stop` is set, then send a last window."""
        try:
            for frame in self._source.frames(stop):
                if frame is None:
                    self.idle()
                else:
                    with self._turns.turn():
                        self.step(frame)
                    self._on_frame()
                self._on_turn()
        finally:
            self.report(self._clock.now())

    def swap(self, watch: Watch) -> None:
        """Go on with another bundle from the next frame on. Totals go on, and so do alerts about the camera."""
        self._next = watch

    def step(self, ref: FrameRef) -> None:
        """Take one frame all the way. One that cannot be scored is counted by its reason."""
        self._take_over()
        try:
            frame = ref.load()
            batch = self.watch.scorer.prepare(frame)
            self._check_camera(frame, batch)
            scored = self.watch.scorer.score_prepared(batch)
        except FrameError as error:
            self._fault(ref, error.reason, error.what)
        except Exception as error:  # a fault of ours must not end the watch
            self._fault(ref, "internal", repr(error))
        else:
            self._judge(ref, frame, scored, self._clock.now())
        self._report_when_due(self._clock.now())

    def idle(self) -> None:
        """No frame has come for a moment."""
        self._take_over()
        now = self._clock.now()
        for alert in self.watch.camera.nothing(now):
            self._announce(self._reports.camera(alert, self.watch, now), now)
        self._report_when_due(now)

    def report(self, now: Instant) -> None:
        """Send a window message, after any alert that the disk refused before."""
        seconds = now.monotonic - self._last_report
        frames = self.watch.decider.frames_total - self._frames_at_last_report
        if self._flush_alerts(now):
            window = self._reports.window(
                self.watch,
                now,
                faults_total=self._faults_total(),
                frames_per_second=frames / seconds if seconds > 0 else 0.0,
            )
            self._commit(window, now)
        self._last_report = now.monotonic
        self._frames_at_last_report = self.watch.decider.frames_total

    def _check_camera(self, frame: Frame, batch: NDArray[Any]) -> None:
        """Watch the camera.

        Raises:
            FrameError: where the frame says nothing of the world, because the camera is at fault.
        """
        now = self._clock.now()
        camera = self.watch.camera
        found, alerts = camera.frame(look(frame, batch) if camera.wants_frames() else None, now)
        for alert in alerts:
            self._announce(self._reports.camera(alert, self.watch, now), now)
        if wrong := sorted(found | {alert.cause for alert in camera.active}):
            raise FrameError(f"the camera is at fault: {', '.join(wrong)}", reason="camera_fault")

    def _judge(self, ref: FrameRef, frame: Frame, scored: Scored, now: Instant) -> None:
        watch = self.watch
        decision = watch.decider.update(scored.score, scored.p_value, scored.predicted, now)
        watch.explainer.add(scored, outlier=decision.outlier, evidence=watch.decider.evidence, now=now)
        self._set_aside(ref, frame, scored, decision, now)
        if decision.alert is not None:
            self._announce(self._reports.drift(decision.alert, watch, now), now)
            self._file_evidence(decision.alert)
        if watch.mix is not None and scored.predicted is not None:
            alert = watch.mix.update(scored.predicted, watch.decider.frames_total, now)
            if alert is not None:
                self._announce(self._reports.mix(alert, watch, now), now)

    def _set_aside(self, ref: FrameRef, frame: Frame, scored: Scored, decision: Decision, now: Instant) -> None:
        """Remember an outlier of an episode; without a suspicion there is none."""
        decider, evidence = self.watch.decider, self.watch.evidence
        if not decider.alarm and decider.evidence < SUSPICION:
            evidence.forget()
        elif decision.outlier:
            evidence.add(decider.frames_total, ref.name, frame, scored, now.wall)

    def _file_evidence(self, alert: Alert) -> None:
        """Keep what was set aside, from the alert's beginning to its end."""
        if alert.status is AlertStatus.RAISED:
            self.watch.evidence.raised(alert.alert_id)
        elif alert.status is AlertStatus.CLEARED:
            self.watch.evidence.forget()

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
        try:
            self._outbox.commit(self._state(now), message)
        except StoreError as error:
            self._on_store_error(error)
            return False
        return True

    def _state(self, now: Instant) -> StreamState:
        return StreamState(
            bundle=self.watch.scorer.manifest.id,
            decider=self.watch.decider.save(now),
            faults_total=self._faults_total(),
            camera=self.watch.camera.active,
            mix=None if self.watch.mix is None else self.watch.mix.save(now),
        )

    def _take_over(self) -> None:
        """Let the next bundle take over, if there is one."""
        following, self._next = self._next, None
        if following is not None:
            now = self._clock.now()
            state = self._state(now)
            self.watch = following
            self._resume(state, now)
            self._frames_before_bundle = following.decider.frames_total
            self.report(now)

    def _resume(self, saved: StreamState, now: Instant) -> None:
        """Go on from a saved state, which may be of another bundle."""
        watch = self.watch
        same = saved.bundle == watch.scorer.manifest.id
        # Evidence against one fingerprint says nothing about another.
        decider = saved.decider if same else saved.decider.model_copy(update={"raising": None, "clearing": None})
        watch.decider.load(decider, now)
        for over in watch.camera.load(saved.camera, now):
            self._announce(self._reports.camera(over, watch, now), now)
        if saved.mix is not None:
            self._resume_mix(saved.mix, now, same_bundle=same)
        if watch.decider.alert is not None and watch.decider.alarm:
            watch.evidence.raised(watch.decider.alert.alert_id)
        self._log.info(
            "resumed", bundle=watch.scorer.manifest.id, frames_total=watch.decider.frames_total, same_bundle=same
        )

    def _resume_mix(self, saved: MixDeciderState, now: Instant, *, same_bundle: bool) -> None:
        """Go on watching; an alert that nobody will watch any longer, or of another bundle, is over."""
        if self.watch.mix is not None and same_bundle:
            self.watch.mix.load(saved, now)
        elif saved.alert is not None and saved.alert.active:
            summary = "The mix of classes is no longer compared with what this alert was about."
            self._announce(self._reports.mix(saved.alert.cleared(now, summary=summary), self.watch, now), now)

    def _fault(self, ref: FrameRef, reason: FaultReason, what: str) -> None:
        self._faults[reason] += 1
        if is_news(self._faults[reason]):
            self._log.warning("frame fault", frame=ref.name, reason=reason, what=what, total=self._faults[reason])

    def _faults_total(self) -> dict[str, int]:
        """Of frames that came, and of those that the source could not hand on."""
        return dict(self._faults + Counter(self._source.faults_total))
