"""The life of an alert that the classes which a model predicts are not those that its site used to show."""

from __future__ import annotations

from collections.abc import Callable

from pydantic import BaseModel, ConfigDict

from driftprint.alerts import AlertLife
from driftprint.clock import Instant
from driftprint.decision import FRAMES_PER_FALSE_CLEAR, DecisionSettings
from driftprint.stats.class_mix import OTHERS, ClassMix, MixDetector, MixState
from driftprint.stats.windows import SlidingWindow

STIRRING = 0.25
"""The relative evidence from which on a change may be under way."""


class MixAlert(AlertLife):
    """An alert about the mix of predicted classes."""

    frames_total: int
    """Scored frames of the stream at this revision."""
    summary: str


class MixDeciderState(BaseModel):
    """What a `MixDecider` must remember across a restart."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    raising: MixState
    lasting: MixState
    alert: MixAlert | None = None
    took: int = 0
    quiet: int = 0
    cool_down_left: float = 0.0


class MixDecider:
    """Watches the mix of one stream's predicted classes.

    An alert is raised when the evidence reaches the budget. While it lasts, the evidence is gathered anew again and
    again, up to a far lower threshold; the alert clears once that has not been reached for twice as many frames as the
    change took to be noticed, and no fewer than the window by count has.

    Args:
        mix: what was normal at the site.
        settings: the user's choices.
        frames_per_false_alarm: the budget; while every class's share stays within the bounds that the site's footage
            leaves, the mean number of frames to an alert is at least this.
        window: of the stream, by count; only read.
        new_id: makes an alert's id.
    """

    def __init__(
        self,
        mix: ClassMix,
        settings: DecisionSettings,
        *,
        frames_per_false_alarm: float,
        window: SlidingWindow,
        new_id: Callable[[], str],
    ) -> None:
        self.frames_per_false_alarm = frames_per_false_alarm
        self._mix = mix
        self._settings = settings
        self._window = window
        self._new_id = new_id
        self._raising = MixDetector(mix, threshold=max(2.0, frames_per_false_alarm / mix.stride))
        self._lasting = MixDetector(mix, threshold=FRAMES_PER_FALSE_CLEAR)
        self.alert: MixAlert | None = None
        """The latest alert, raised or cleared."""
        self._took = 0
        """Predictions since the evidence began to stir."""
        self._quiet = 0
        """Predictions since the change was last seen to last."""
        self._quiet_until = float("-inf")
        self._next_update = float("-inf")

    @property
    def alarm(self) -> bool:
        """Whether an alert is raised."""
        return self.alert is not None and self.alert.active

    def update(self, predicted: str, frames_total: int, now: Instant) -> MixAlert | None:
        """Take in the class of a scored frame.

        Args:
            predicted: the class.
            frames_total: scored frames of the stream, this one included.
            now: when it was scored.

        Returns:
            The alert, where this frame raised, updated or cleared it.
        """
        if frames_total % self._mix.stride == 0:
            self._take(predicted)
        revised = self._next_alert(frames_total, now)
        if revised is not None:
            self._next_update = now.monotonic + self._settings.update_seconds
            self.alert = revised
        return revised

    def save(self, now: Instant) -> MixDeciderState:
        """What must be kept to go on after a restart."""
        return MixDeciderState(
            raising=self._raising.save(),
            lasting=self._lasting.save(),
            alert=self.alert,
            took=self._took,
            quiet=self._quiet,
            cool_down_left=max(0.0, self._quiet_until - now.monotonic),
        )

    def load(self, state: MixDeciderState, now: Instant) -> None:
        """Go on from a saved state."""
        self._raising.load(state.raising)
        self._lasting.load(state.lasting)
        self.alert = state.alert
        self._took, self._quiet = state.took, state.quiet
        self._quiet_until = now.monotonic + min(state.cool_down_left, self._settings.cool_down_seconds)
        self._next_update = now.monotonic + self._settings.update_seconds

    def _take(self, predicted: str) -> None:
        if not self.alarm:
            self._raising.update(predicted)
            self._took = self._took + 1 if self._raising.relative_evidence >= STIRRING else 0
            return
        self._lasting.update(predicted)
        self._quiet += 1
        if self._lasting.declared:
            self._lasting.reset()
            self._quiet = 0

    def _next_alert(self, frames_total: int, now: Instant) -> MixAlert | None:
        if self.alert is None or not self.alert.active:
            if not self._raising.declared or now.monotonic < self._quiet_until:
                return None
            self._quiet = 0
            self._lasting.reset()
            return MixAlert(
                alert_id=self._new_id(), raised_at=now.wall, frames_total=frames_total, summary=self._summary()
            )
        if self._quiet >= max(2 * self._took, self._settings.window_frames):
            self._raising.reset()
            self._took = 0
            self._quiet_until = now.monotonic + self._settings.cool_down_seconds
            summary = "The model predicts the classes that this site used to show again."
            return self.alert.cleared(now, frames_total=frames_total, summary=summary)
        if now.monotonic >= self._next_update:
            return self.alert.updated(frames_total=frames_total, summary=self._summary())
        return None

    def _summary(self) -> str:
        name = self._raising.most_changed
        known = [known for known in self._mix.pooled() if known != OTHERS]
        share = 1 - sum(map(self._window.class_share, known)) if name == OTHERS else self._window.class_share(name)
        return (
            f"The model predicts other classes than this site used to show: {share:.0%} of the last "
            f"{len(self._window)} frames are {name or 'classes that were hardly seen then'}, "
            f"{self._mix.share(name):.0%} were when the site was calibrated."
        )
