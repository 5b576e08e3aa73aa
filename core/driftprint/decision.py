"""From p-values to alerts: outliers, windows, the detector, and the life of an alert."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from driftprint.alerts import AlertLife
from driftprint.clock import Instant
from driftprint.errors import ConfigError
from driftprint.messages import AlertStatus, WindowKind
from driftprint.stats.conformal import outlier_bound
from driftprint.stats.edetector import EDetector, EDetectorState
from driftprint.stats.site import SiteBaseline
from driftprint.stats.windows import SlidingWindow

RAISE_RATES = (0.1, 0.15, 0.25, 0.4, 0.65, 0.95)
"""Outlier ratios that the detector watches for; those at or under p0 are left out."""

CLEAR_MARGIN = 1.5
"""An alert clears on evidence that the outlier ratio is under this many times p0.

Nearer to 1 it clears more slowly; further away a mild lasting shift raises and clears in turns.
"""

FRAMES_PER_FALSE_CLEAR = 1_000
"""While the outlier ratio stays above that, an alert clears after this many frames or more on average."""


class DecisionSettings(BaseModel):
    """The table ``[stream.decision]`` of agent.toml."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    alpha: Annotated[float, Field(gt=0, lt=0.5)] = 0.05
    """A frame is an outlier when its p-value is at most this."""
    window_frames: Annotated[int, Field(ge=1, le=100_000)] = 100
    """Length of the window by count, in frames."""
    window_seconds: Annotated[float, Field(gt=0, le=86_400)] = 300.0
    """Length of the window by time."""
    update_seconds: Annotated[float, Field(gt=0)] = 60.0
    """A raised alert is updated this often."""
    cool_down_seconds: Annotated[float, Field(ge=0)] = 60.0
    """After an alert has cleared, no new one is raised for this long."""
    class_mix: bool = False
    """Watch how often each class is predicted, too. It takes a site's calibration to know what is normal."""


class Alert(AlertLife):
    """An alert of drift."""

    frames_total: int
    """Scored frames of the stream at this revision."""
    outlier_ratio: float
    """Of the window by count."""
    summary: str


class DeciderState(BaseModel):
    """What a `Decider` must remember across a restart. Windows fill anew."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    frames_total: int = 0
    outliers_total: int = 0
    alerts_total: int = 0
    raising: EDetectorState | None = None
    clearing: EDetectorState | None = None
    alert: Alert | None = None
    cool_down_left: float = 0.0


@dataclass(frozen=True, slots=True)
class Decision:
    """What follows from one frame.

    Attributes:
        outlier: whether the frame is one.
        alert: the alert, where this frame raised, updated or cleared it.
    """

    outlier: bool
    alert: Alert | None


class Decider:
    """The judgement over one stream's scored frames.

    Args:
        settings: the user's choices.
        calibration_size: how many calibration scores the p-values come from.
        frames_per_false_alarm: the budget. While the conditional probability of an outlier stays at most p0,
            the mean number of frames to an alert is at least this, whatever the frames' distribution; > 10.
        site: what was learnt at the stream's own site; it takes the place of the calibration set's bound.
        new_id: makes an alert's id.

    Raises:
        ConfigError: where the calibration set is too small for ``alpha``, or the budget allows too much.

    >>> decider = Decider(DecisionSettings(), calibration_size=1000, frames_per_false_alarm=10_000)
    >>> decisions = [decider.update(9.0, 0.001, None, Instant(t, t)) for t in range(10)]
    >>> [d.alert.status.value for d in decisions if d.alert]
    ['raised']
    """

    def __init__(
        self,
        settings: DecisionSettings,
        *,
        calibration_size: int,
        frames_per_false_alarm: float,
        site: SiteBaseline | None = None,
        new_id: Callable[[], str] = lambda: secrets.token_hex(16),
    ) -> None:
        self.settings = settings
        try:
            self.p0 = outlier_bound(calibration_size, settings.alpha) if site is None else site.p0
        except ValueError as error:
            raise ConfigError(str(error), where="decision.alpha") from None
        self._stride = 1 if site is None else site.stride
        if not frames_per_false_alarm > 10 * self._stride:
            raise ConfigError(
                f"a false alarm every {frames_per_false_alarm:g} frames is no budget", where="false_alarms_per_day"
            )
        self.frames_per_false_alarm = frames_per_false_alarm
        clear_rate = min(0.9, CLEAR_MARGIN * self.p0)
        self._raising = EDetector(
            null=self.p0,
            alternatives=[rate for rate in RAISE_RATES if rate > self.p0] or [(1 + self.p0) / 2],
            threshold=frames_per_false_alarm / self._stride,
        )
        self._clearing = EDetector(
            null=clear_rate, alternatives=(self.p0 / 2, self.p0), threshold=FRAMES_PER_FALSE_CLEAR
        )
        self.by_count = SlidingWindow(WindowKind.COUNT, settings.window_frames)
        self.by_time = SlidingWindow(WindowKind.TIME, settings.window_seconds)
        self.frames_total = self.outliers_total = self.alerts_total = 0
        self.alert: Alert | None = None
        """The latest alert, raised or cleared."""
        self._new_id = new_id
        self._quiet_until = float("-inf")
        self._next_update = float("-inf")

    @property
    def alarm(self) -> bool:
        """Whether an alert is raised."""
        return self.alert is not None and self.alert.active

    @property
    def evidence(self) -> float:
        """Log evidence for drift over the log of its threshold: an alert is raised at 1."""
        return self._raising.relative_evidence

    def update(self, score: float, p_value: float, predicted: str | None, now: Instant) -> Decision:
        """Take in one scored frame.

        Args:
            score: its outlier score.
            p_value: in (0, 1].
            predicted: the model's predicted class, if it predicts classes.
            now: when it was scored.
        """
        outlier = p_value <= self.settings.alpha
        self.frames_total += 1
        self.outliers_total += outlier
        for window in (self.by_count, self.by_time):
            window.add(at=now.monotonic, score=score, outlier=outlier, predicted=predicted)
        if self.frames_total % self._stride == 0:
            self._raising.update(outlier)
            if self.alarm:
                self._clearing.update(outlier)
        return Decision(outlier, self._next_alert(now))

    def save(self, now: Instant) -> DeciderState:
        """What must be kept to go on after a restart."""
        return DeciderState(
            frames_total=self.frames_total,
            outliers_total=self.outliers_total,
            alerts_total=self.alerts_total,
            raising=self._raising.save(),
            clearing=self._clearing.save(),
            alert=self.alert,
            cool_down_left=max(0.0, self._quiet_until - now.monotonic),
        )

    def load(self, state: DeciderState, now: Instant) -> None:
        """Go on from a saved state."""
        self.frames_total = state.frames_total
        self.outliers_total = state.outliers_total
        self.alerts_total = state.alerts_total
        self.alert = state.alert
        if state.raising is not None:
            self._raising.load(state.raising)
        if state.clearing is not None:
            self._clearing.load(state.clearing)
        self._quiet_until = now.monotonic + min(state.cool_down_left, self.settings.cool_down_seconds)
        self._next_update = now.monotonic + self.settings.update_seconds

    def _next_alert(self, now: Instant) -> Alert | None:
        """The alert's next revision, if this frame makes one."""
        if self.alert is None or not self.alert.active:
            if not self._raising.declared or now.monotonic < self._quiet_until:
                return None
            self._clearing.reset()
            self.alerts_total += 1
            alert = self._revision(AlertStatus.RAISED, now, alert_id=self._new_id(), revision=0, raised_at=now.wall)
        else:
            if self._clearing.declared:
                self._raising.reset()
                self._quiet_until = now.monotonic + self.settings.cool_down_seconds
                status = AlertStatus.CLEARED
            elif now.monotonic >= self._next_update:
                status = AlertStatus.UPDATED
            else:
                return None
            alert = self._revision(
                status,
                now,
                alert_id=self.alert.alert_id,
                revision=self.alert.revision + 1,
                raised_at=self.alert.raised_at,
            )
        self._next_update = now.monotonic + self.settings.update_seconds
        self.alert = alert
        return alert

    def _revision(self, status: AlertStatus, now: Instant, *, alert_id: str, revision: int, raised_at: float) -> Alert:
        ratio, frames = self.by_count.outlier_ratio, len(self.by_count)
        if status is AlertStatus.CLEARED:
            summary = (
                f"Back to normal: the latest frames look like the training data again "
                f"({ratio:.0%} of the last {frames} were outliers)."
            )
        else:
            summary = (
                f"The model sees data it was not trained for: {ratio:.0%} of the last {frames} frames are outliers, "
                f"where inliers stay under {self.p0:.1%} and raise an alert once in {self.frames_per_false_alarm:,.0f} "
                f"frames at most."
            )
        return Alert(
            alert_id=alert_id,
            revision=revision,
            status=status,
            raised_at=raised_at,
            cleared_at=now.wall if status is AlertStatus.CLEARED else None,
            frames_total=self.frames_total,
            outlier_ratio=ratio,
            summary=summary,
        )
