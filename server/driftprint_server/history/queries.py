"""What is asked of the history."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import BigInteger, ColumnElement, Row, Select, cast, exists, false, func, select

from driftprint.messages import CAMERA_FAULTS, AlertStatus, BundleRef, Cause
from driftprint_server.history.database import Database
from driftprint_server.history.decisions import AlertDecisions, AlertKey
from driftprint_server.history.tables import ALERTS, BITS, REVISIONS, STREAMS, THUMBNAILS, WINDOWS, unpack_instance
from driftprint_server.history.views import AlertRecord, AlertRecords, AlertStory, Point, Revision, Series, StreamNames

_MOST_STREAMS = 100


@dataclass(frozen=True, slots=True)
class Filters:
    """What is asked for; None: all of them.

    Attributes:
        site: a site's id.
        device: a device's id.
        stream: a stream's id.
        start: only what was so at this Unix time or later.
        end: only what was so before this Unix time.
        statuses: only alerts that are in one of these now; all where it is empty.
    """

    site: str | None = None
    device: str | None = None
    stream: str | None = None
    start: float | None = None
    end: float | None = None
    statuses: Sequence[AlertStatus] = ()

    def of_streams(self) -> list[ColumnElement[bool]]:
        """Conditions on the streams."""
        named = {"site": self.site, "device": self.device, "stream": self.stream}
        return [STREAMS.c[column] == name for column, name in named.items() if name is not None]

    def of_windows(self) -> list[ColumnElement[bool]]:
        """Conditions on the windows themselves."""
        conditions: list[ColumnElement[bool]] = []
        if self.start is not None:
            conditions.append(WINDOWS.c.at >= self.start)
        if self.end is not None:
            conditions.append(WINDOWS.c.at < self.end)
        return conditions

    def of_alerts(self) -> list[ColumnElement[bool]]:
        """Conditions on the alerts themselves: those that were raised at any time in between."""
        conditions: list[ColumnElement[bool]] = []
        if self.start is not None:
            conditions.append(ALERTS.c.cleared_at.is_(None) | (ALERTS.c.cleared_at >= self.start))
        if self.end is not None:
            conditions.append(ALERTS.c.raised_at < self.end)
        if self.start is not None and self.end is not None and self.start >= self.end:
            conditions.append(false())  # else one that lasts longer would be found
        if self.statuses:
            conditions.append(ALERTS.c.status.in_([status.value for status in self.statuses]))
        return conditions


class Queries:
    """Answers, from the database and what operators have decided.

    Args:
        database: keeps the history.
        decisions: keeps acknowledgements and mutes.
        current: whether an alert is raised still.
    """

    def __init__(self, database: Database, decisions: AlertDecisions, *, current: Callable[[AlertKey], bool]) -> None:
        self._database = database
        self._decisions = decisions
        self._current = current

    def streams(self, *, site: str, device: str) -> StreamNames:
        """The streams of a device that anything is on record of."""
        on_record = exists().where(WINDOWS.c.stream_id == STREAMS.c.id) | exists().where(
            ALERTS.c.stream_id == STREAMS.c.id
        )
        names = (
            select(STREAMS.c.stream)
            .where(STREAMS.c.site == site, STREAMS.c.device == device, on_record)
            .order_by(STREAMS.c.stream)
            .limit(_MOST_STREAMS)
        )
        with self._database.reading() as db:
            return StreamNames(streams=tuple(db.execute(names).scalars()))

    def series(self, *, site: str, device: str, stream: str, start: float, end: float, points: int) -> Series:
        """A stream between two Unix times, as at most so many points.

        Buckets begin at multiples of their length, so that a chart that moves on keeps the points it has.

        Args:
            site: the site's id.
            device: the device's id.
            stream: the stream's id.
            start: the first moment.
            end: the moment after the last; later than `start`.
            points: at least 2.

        Raises:
            StoreError: where the database refuses or is away, as all other answers.
        """
        width = (end - start) / (points - 1)
        asked = Filters(site, device, stream, start, end)
        share = WINDOWS.c.at / width
        # PostgreSQL rounds in a cast, and SQLite may have no floor().
        bucket = cast(share, BigInteger) if self._database.is_sqlite else func.floor(share)
        buckets = (
            select(
                func.max(WINDOWS.c.at).label("latest"),
                func.avg(WINDOWS.c.outlier_ratio).label("mean_ratio"),
                func.max(WINDOWS.c.evidence).label("most_evidence"),
                func.avg(WINDOWS.c.frames_per_second).label("mean_rate"),
                *(func.max(WINDOWS.c.alarms.op("&")(bit)).label(cause.value) for cause, bit in BITS.items()),
            )
            .where(WINDOWS.c.stream_id == _stream_id(asked), *asked.of_windows())
            .group_by(bucket)
            .subquery()
        )
        rows = (
            select(buckets, WINDOWS.c.frames_total, WINDOWS.c.outliers_total, WINDOWS.c.classes)
            .join(buckets, WINDOWS.c.at == buckets.c.latest)
            .where(WINDOWS.c.stream_id == _stream_id(asked))
            .order_by(WINDOWS.c.at, WINDOWS.c.seq)
        )
        with self._database.reading() as db:
            # Of windows of the very same moment the one with the highest number is the latest.
            latest = {row.latest: row for row in db.execute(rows)}
        return Series(bucket_seconds=width, points=tuple(_point(row) for row in latest.values()))

    def alerts(self, asked: Filters, *, limit: int, offset: int) -> AlertRecords:
        """Alerts, the one that was raised last first."""
        conditions = [*asked.of_streams(), *asked.of_alerts()]
        count = select(func.count()).select_from(ALERTS.join(STREAMS, STREAMS.c.id == ALERTS.c.stream_id))
        some = alert_rows().where(*conditions).order_by(ALERTS.c.raised_at.desc(), ALERTS.c.alert_id)
        with self._database.reading() as db:
            total = db.execute(count.where(*conditions)).scalar_one()
            rows = db.execute(some.limit(limit).offset(offset)).all()
        return AlertRecords(total=total, alerts=tuple(self._records(rows)))

    def alert(self, alert_id: str) -> AlertStory | None:
        """One alert with its revisions; None where it is unknown."""
        revisions = select(REVISIONS).where(REVISIONS.c.alert_id == alert_id).order_by(REVISIONS.c.revision)
        with self._database.reading() as db:
            row = db.execute(alert_rows().where(ALERTS.c.alert_id == alert_id)).one_or_none()
            if row is None:
                return None
            said = db.execute(revisions).all()
        (record,) = self._records([row])
        story = tuple(
            Revision(
                revision=one.revision,
                status=one.status,
                at=one.at,
                outlier_ratio=one.outlier_ratio,
                summary=one.summary,
            )
            for one in said
        )
        return AlertStory(**dict(record), revisions=story)

    def key(self, alert_id: str) -> AlertKey | None:
        """Which stream an alert is of; None where it is unknown."""
        with self._database.reading() as db:
            row = db.execute(alert_rows().where(ALERTS.c.alert_id == alert_id)).one_or_none()
        return None if row is None else AlertKey(row.site, row.device, row.stream, alert_id)

    def thumbnail(self, alert_id: str, number: int) -> bytes | None:
        """A JPEG file, the most outlying frame's being number 0; None where there is none."""
        found = (
            select(THUMBNAILS.c.jpeg)
            .where(THUMBNAILS.c.alert_id == alert_id, THUMBNAILS.c.number == number)
            .order_by(THUMBNAILS.c.revision.desc())
            .limit(1)
        )
        with self._database.reading() as db:
            return db.execute(found).scalar_one_or_none()

    def _records(self, rows: Sequence[Row[Any]]) -> list[AlertRecord]:
        keys = [AlertKey(row.site, row.device, row.stream, row.alert_id) for row in rows]
        taken, muted = self._decisions.of(keys)
        return [
            AlertRecord(
                site=row.site,
                device=row.device,
                stream=row.stream,
                alert_id=row.alert_id,
                instance=unpack_instance(row.instance),
                revision=row.revision,
                status=row.status,
                current=self._current(key),
                cause=row.cause,
                raised_at=row.raised_at,
                suspected_at=row.suspected_at,
                cleared_at=row.cleared_at,
                updated_at=row.updated_at,
                frames_total=row.frames_total,
                outlier_ratio=row.outlier_ratio,
                p0=row.p0,
                frames_per_false_alarm=row.frames_per_false_alarm,
                layers=json.loads(row.layers),
                classes=json.loads(row.classes),
                summary=row.summary,
                bundle=BundleRef(name=row.bundle_name, version=row.bundle_version),
                thumbnails=row.thumbnails,
                acknowledged=taken.get(row.alert_id),
                muted=muted.get(key.of_stream),
            )
            for row, key in zip(rows, keys, strict=True)
        ]


def alert_rows() -> Select[Any]:
    """Alerts with the names of their streams and the numbers of their thumbnails."""
    thumbnails = (
        select(func.count()).select_from(THUMBNAILS).where(THUMBNAILS.c.alert_id == ALERTS.c.alert_id).scalar_subquery()
    )
    return select(STREAMS.c.site, STREAMS.c.device, STREAMS.c.stream, ALERTS, thumbnails.label("thumbnails")).join_from(
        ALERTS, STREAMS, STREAMS.c.id == ALERTS.c.stream_id
    )


def read_classes(text: str | None) -> dict[str, tuple[int, float]]:
    """Frames and outlier ratio by predicted class, of the text in a window's row."""
    return {} if text is None else {label: (frames, ratio) for label, (frames, ratio) in json.loads(text).items()}


def _stream_id(asked: Filters) -> ColumnElement[int]:
    return select(STREAMS.c.id).where(*asked.of_streams()).scalar_subquery()


def _point(row: Row[Any]) -> Point:
    raised = row._mapping
    return Point(
        at=row.latest,
        outlier_ratio=row.mean_ratio,
        evidence=row.most_evidence,
        alarm=bool(raised[Cause.DRIFT.value]),
        class_mix_alarm=bool(raised[Cause.CLASS_MIX.value]),
        camera_faults=tuple(cause for cause in CAMERA_FAULTS if raised[cause.value]),
        frames_per_second=row.mean_rate,
        frames_total=row.frames_total,
        outliers_total=row.outliers_total,
        classes={label: ratio for label, (_, ratio) in read_classes(row.classes).items()},
    )
