"""The history as the page and other programs read it. All times are Unix seconds by the server's clock."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from driftprint.messages import AlertStatus, BundleRef, Cause


class _View(BaseModel):
    model_config = ConfigDict(frozen=True)


class Point(_View):
    """The windows of a stretch of time, as one."""

    at: float
    """When the latest of them was recorded."""
    outlier_ratio: float | None
    """Their mean, of the windows by count; None where there was no frame."""
    evidence: float
    """The largest; 1 and more is an alarm."""
    alarm: bool
    """Whether an alert of drift was raised in any of them, as for the next two."""
    class_mix_alarm: bool
    camera_faults: tuple[Cause, ...]
    frames_per_second: float
    """Their mean."""
    frames_total: int
    """Of the latest, as are the next two."""
    outliers_total: int
    classes: dict[str, float]
    """By predicted class: the outlier ratio."""


class Series(_View):
    """A stream over time, the oldest first. Where nothing was heard there is no point."""

    bucket_seconds: float
    """What a point stands for. Points much farther apart than this, and than most are, have a gap between them."""
    points: tuple[Point, ...]


class StreamNames(_View):
    """The streams of a device that anything is on record of, be they run still or not."""

    streams: tuple[str, ...]
    """By name; 100 at most."""


class Acknowledgement(_View):
    """Who has taken an alert on."""

    who: str
    at: float
    note: str


class Mute(_View):
    """Who has silenced a stream, and until when."""

    who: str
    at: float
    until: float
    note: str


class AlertRecord(_View):
    """An alert as its latest revision has it."""

    site: str
    device: str
    stream: str
    alert_id: str
    instance: str
    revision: int
    status: AlertStatus
    current: bool
    """Whether it is raised still; an alert of a device that has since been reset is not, though never cleared."""
    cause: Cause
    raised_at: float
    suspected_at: float | None
    """Since when there has been evidence; for drift alone."""
    cleared_at: float | None
    updated_at: float
    frames_total: int
    """Scored frames of the stream at the latest revision."""
    outlier_ratio: float | None
    p0: float | None
    frames_per_false_alarm: float | None
    layers: dict[str, float]
    classes: dict[str, float]
    summary: str
    bundle: BundleRef
    thumbnails: int
    """How many there are, numbered from 0."""
    acknowledged: Acknowledgement | None
    muted: Mute | None
    """What holds for its stream now, whichever alert it was made by."""


class AlertRecords(_View):
    """Some of the alerts that were asked for, the latest first."""

    total: int
    """How many there are in all."""
    alerts: tuple[AlertRecord, ...]


class Revision(_View):
    """What was said of an alert at one time."""

    revision: int
    status: AlertStatus
    at: float
    outlier_ratio: float | None
    summary: str


class AlertStory(AlertRecord):
    """An alert from raise to clear."""

    revisions: tuple[Revision, ...]


class Note(BaseModel):
    """What an operator says on acknowledging."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    note: Annotated[str, Field(max_length=500)] = ""


class MuteNote(Note):
    """For how long an operator mutes."""

    seconds: Annotated[float, Field(ge=1, le=90 * 86_400)]
