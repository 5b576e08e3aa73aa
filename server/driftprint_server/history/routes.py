"""The history over HTTP: ``/api/history/...``, and what operators decide about alerts: ``/api/alerts/...``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

from fastapi import APIRouter, Depends, HTTPException, Path, Query, Response

from driftprint.clock import Clock
from driftprint_server.access.identity import Operator, viewer
from driftprint_server.history.database import Database
from driftprint_server.history.decisions import AlertDecisions, AlertKey
from driftprint_server.history.downloads import add_downloads
from driftprint_server.history.parameters import AlertFilters, AlertId, Name, Time
from driftprint_server.history.queries import Queries
from driftprint_server.history.views import (
    Acknowledgement,
    AlertRecords,
    AlertStory,
    Mute,
    MuteNote,
    Note,
    Series,
    StreamNames,
)
from driftprint_server.refusals import refusals

MOST_POINTS = 5000
MOST_ALERTS = 1000
_DEFAULT_SECONDS = 86_400.0


def make_router(
    database: Database, decisions: AlertDecisions, *, current: Callable[[AlertKey], bool], clock: Clock
) -> APIRouter:
    """The routes.

    Args:
        database: keeps the history.
        decisions: keeps acknowledgements and mutes.
        current: whether an alert is raised still.
        clock: the present, where a query names no end.
    """
    queries = Queries(database, decisions, current=current)
    router = APIRouter(tags=["history"], dependencies=[Depends(viewer)])
    _add_answers(router, queries, clock)
    add_downloads(router, database)
    _add_decisions(router, queries, decisions)
    return router


def _add_answers(router: APIRouter, queries: Queries, clock: Clock) -> None:
    @router.get("/api/history/series")
    def series(
        site: Name,
        device: Name,
        stream: Name,
        start: Time | None = None,
        end: Time | None = None,
        points: Annotated[int, Query(ge=2, le=MOST_POINTS)] = 300,
    ) -> Series:
        """A stream over time, the last day where no times are given, as at most so many points.

        Where start is not before end, which is the present where it is left out, there are none.
        """
        end = clock.now().wall if end is None else end
        start = max(end - _DEFAULT_SECONDS, 0.0) if start is None else start
        if start >= end:
            return Series(bucket_seconds=0.0, points=())
        return queries.series(site=site, device=device, stream=stream, start=start, end=end, points=points)

    @router.get("/api/history/streams")
    def streams(site: Name, device: Name) -> StreamNames:
        """The streams of a device that anything is on record of, be they run still or not."""
        return queries.streams(site=site, device=device)

    @router.get("/api/history/alerts")
    def alerts(
        asked: AlertFilters,
        limit: Annotated[int, Query(ge=1, le=MOST_ALERTS)] = 100,
        offset: Annotated[int, Query(ge=0, le=10_000_000)] = 0,
    ) -> AlertRecords:
        """Alerts that were raised at any time between start and end, the latest first."""
        return queries.alerts(asked, limit=limit, offset=offset)

    @router.get("/api/history/alerts/{alert_id}", responses=refusals(404))
    def alert(alert_id: AlertId) -> AlertStory:
        """One alert, from raise to clear."""
        found = queries.alert(alert_id)
        if found is None:
            raise _unknown(alert_id)
        return found

    @router.get(
        "/api/history/alerts/{alert_id}/thumbnails/{number}.jpg",
        response_class=Response,
        responses={200: {"content": {"image/jpeg": {}}}, **refusals(404)},
    )
    def thumbnail(alert_id: AlertId, number: Annotated[int, Path(ge=0, le=99)]) -> Response:
        """One of the most outlying frames of an alert, numbered from 0."""
        jpeg = queries.thumbnail(alert_id, number)
        if jpeg is None:
            raise HTTPException(404, f"alert {alert_id} has no thumbnail {number}")
        # A device made it: a browser must take it for nothing but a picture.
        return Response(jpeg, media_type="image/jpeg", headers={"X-Content-Type-Options": "nosniff"})


def _add_decisions(router: APIRouter, queries: Queries, decisions: AlertDecisions) -> None:
    def known(alert_id: str) -> AlertKey:
        key = queries.key(alert_id)
        if key is None:
            raise _unknown(alert_id)
        return key

    @router.put("/api/alerts/{alert_id}/acknowledgement", responses=refusals(404))
    def acknowledge(who: Operator, alert_id: AlertId, said: Note | None = None) -> Acknowledgement:
        """Take an alert on, in place of whoever has done so before."""
        return decisions.acknowledge(known(alert_id), who=who.name, note=said.note if said else "")

    @router.delete("/api/alerts/{alert_id}/acknowledgement", status_code=204, responses=refusals(404))
    def unacknowledge(who: Operator, alert_id: AlertId) -> None:
        """Take that back."""
        if not decisions.unacknowledge(known(alert_id), who=who.name):
            raise HTTPException(404, f"nobody has acknowledged alert {alert_id}")

    @router.put("/api/alerts/{alert_id}/mute", responses=refusals(404))
    def mute(who: Operator, alert_id: AlertId, said: MuteNote) -> Mute:
        """Silence the stream of an alert for a while, in place of what held for that stream before."""
        return decisions.mute(known(alert_id), who=who.name, seconds=said.seconds, note=said.note)

    @router.delete("/api/alerts/{alert_id}/mute", status_code=204, responses=refusals(404))
    def unmute(who: Operator, alert_id: AlertId) -> None:
        """Take that back."""
        if not decisions.unmute(known(alert_id), who=who.name):
            raise HTTPException(404, f"the stream of alert {alert_id} is not muted now")


def _unknown(alert_id: str) -> HTTPException:
    return HTTPException(404, f"there is no alert {alert_id} on record")
