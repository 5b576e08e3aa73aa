"""What was said of the day, held against what was wrong."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from pydantic import BaseModel

from bench.day.replay import Episode
from driftprint.messages import AlertMessage, AlertStatus, Cause


class Row(BaseModel):
    """All episodes of one cause."""

    cause: Cause
    episodes: int
    named: int
    """Those in which an alert of this cause was raised."""
    otherwise: list[Cause]
    """What else was raised in them."""
    raised_after: float | None
    """Seconds, the mean."""
    cleared_after: float | None
    """Seconds after the end of the episode, the mean; None for one that lasts to the end."""


class Report(BaseModel):
    """The day."""

    frames: int
    rows: list[Row]
    at_other_times: list[Cause]
    """What was raised while nothing was wrong."""


def report(episodes: Sequence[Episode], alerts: Sequence[AlertMessage], frames: int) -> Report:
    """Hold the alerts against the episodes.

    Args:
        episodes: when something was wrong.
        alerts: all revisions of all alerts, in order.
        frames: of the replay.
    """
    raised = [alert for alert in alerts if alert.status is AlertStatus.RAISED]
    cleared = {alert.alert_id: alert for alert in alerts if alert.status is AlertStatus.CLEARED}
    causes = list(dict.fromkeys(sorted((one.cause for one in episodes), key=list(Cause).index)))
    rows = [_row(cause, [one for one in episodes if one.cause is cause], raised, cleared) for cause in reversed(causes)]
    outside = [alert for alert in raised if not any(_within(alert, one) for one in episodes)]
    return Report(frames=frames, rows=rows, at_other_times=[alert.cause for alert in outside])


def table(day: Report) -> str:
    """As Markdown."""
    lines = ["| what is wrong | episodes | named so | what else is raised | raised after | cleared after its end |"]
    lines.append("|---|---|---|---|---|---|")
    lines += [
        f"| {row.cause.value} | {row.episodes} | **{row.named}** | {_causes(row.otherwise)} "
        f"| {_seconds(row.raised_after)} | {_seconds(row.cleared_after)} |"
        for row in day.rows
    ]
    return "\n".join(lines) + (
        f"\n\n{day.frames:,} frames, one a second; while nothing was wrong: {_causes(day.at_other_times)}.\n"
    )


def _row(cause: Cause, episodes: list[Episode], raised: list[AlertMessage], cleared: dict[str, AlertMessage]) -> Row:
    within = [(one, alert) for one in episodes for alert in raised if _within(alert, one)]
    right = [(one, alert) for one, alert in within if alert.cause is cause]
    over = [(one, cleared[alert.alert_id]) for one, alert in right if alert.alert_id in cleared]
    return Row(
        cause=cause,
        episodes=len(episodes),
        named=len({one.start for one, _ in right}),
        otherwise=[alert.cause for _, alert in within if alert.cause is not cause],
        raised_after=_mean([alert.recorded_at - one.start for one, alert in right]),
        cleared_after=_mean([alert.recorded_at - one.end for one, alert in over]),
    )


def _within(alert: AlertMessage, one: Episode) -> bool:
    return one.start <= alert.raised_at < one.end


def _mean(seconds: list[float]) -> float | None:
    return round(float(np.mean(seconds)), 1) if seconds else None


def _causes(causes: Sequence[Cause]) -> str:
    return ", ".join(cause.value for cause in causes) or "nothing"


def _seconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.0f} s"
