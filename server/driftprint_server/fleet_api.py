"""The fleet over HTTP: as a whole, a page of its table, one device, which bundles run where, and what changes."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from typing import Annotated

from fastapi import APIRouter, Depends, HTTPException, Path, Query
from fastapi.responses import StreamingResponse

from driftprint.clock import Clock
from driftprint_server.access.identity import viewer
from driftprint_server.listing import Condition, Index, Listing, Row, Sort
from driftprint_server.listing import Query as Wanted
from driftprint_server.refusals import refusals
from driftprint_server.sparklines import Sparklines
from driftprint_server.views import (
    BundleSpreadView,
    DetailedDeviceView,
    FleetView,
    RowsView,
    RowView,
    ServerView,
    SiteView,
    SummaryView,
    detailed_view,
    stream_view,
)

EVENT_SECONDS = 0.5
"""The page is told of changes this often at most."""
HEARTBEAT_SECONDS = 10.0

_MOST_ROWS = 500
_MOST_SITES = 1000

Text = Annotated[str, Query(max_length=200)]
OptionalText = Annotated[str | None, Query(max_length=200)]
Offset = Annotated[int, Query(ge=0, le=2**31)]
Name = Annotated[str, Path(max_length=200)]


def make_fleet_router(
    *,
    listing: Listing,
    sparklines: Sparklines,
    view: Callable[[], FleetView],
    server: Callable[[], ServerView],
    clock: Clock,
    stopping: Callable[[], bool],
) -> APIRouter:
    """The routes under ``/api/fleet``.

    Args:
        listing: what is searched and counted.
        sparklines: the latest outlier ratios.
        view: the whole fleet at this moment.
        server: how the server itself is at this moment.
        clock: tells the time.
        stopping: whether the server is about to end; streams of events then end too.
    """
    router = APIRouter(prefix="/api/fleet", tags=["fleet"], dependencies=[Depends(viewer)])

    @router.get("")
    def fleet() -> FleetView:
        """The whole fleet; large where the fleet is."""
        return view()

    @router.get("/streams")
    def streams(
        search: Text = "",
        site: OptionalText = None,
        state: Condition | None = None,
        bundle: OptionalText = None,
        sort: Sort = Sort.NAME,
        descending: bool = False,
        offset: Offset = 0,
        limit: Annotated[int, Query(ge=1, le=_MOST_ROWS)] = 50,
    ) -> RowsView:
        """A page of the fleet's streams, searched and sorted."""
        index = listing.index()
        found = index.select(
            Wanted(search=search, site=site, condition=state, bundle=bundle, sort=sort, descending=descending)
        )
        return RowsView(
            now=clock.now().wall,
            version=index.version,
            total=len(found),
            all=len(index),
            rows=tuple(_row(row, sparklines) for row in found[offset : offset + limit]),
        )

    @router.get("/bundles")
    def bundles(
        search: Text = "", offset: Offset = 0, limit: Annotated[int, Query(ge=1, le=_MOST_SITES)] = 200
    ) -> BundleSpreadView:
        """Which bundles run where; `search` is for words in a site's name."""
        by_site = listing.index().bundles()
        words = search.lower().split()
        sites = [site for site in by_site if all(word in site.lower() for word in words)]
        return BundleSpreadView(
            now=clock.now().wall,
            bundles=sum(by_site.values(), Counter()),
            total=len(sites),
            sites=tuple(
                SiteView(site=site, streams=by_site[site].total(), bundles=by_site[site])
                for site in sites[offset : offset + limit]
            ),
        )

    @router.get("/devices/{site}/{device}", responses=refusals(404))
    def device(site: Name, device: Name) -> DetailedDeviceView:
        """One device, with its health and its alerts."""
        found = listing.index().device(site, device)
        if found is None:
            raise HTTPException(
                404, f"no device {device} at site {site} is known; it appears once it has reported to the broker"
            )
        return detailed_view(*found, clock.now().wall)

    @router.get("/events", response_class=StreamingResponse)
    async def events() -> StreamingResponse:
        """Server-sent events: `fleet` with a summary whenever anything has changed, else `heartbeat`."""
        return StreamingResponse(fleet_events(listing.index, server, clock, stopping), media_type="text/event-stream")

    return router


def summary_view(index: Index, server: ServerView, now: float) -> SummaryView:
    """What the page shows at a glance."""
    return SummaryView(
        now=now,
        version=index.version,
        figures=index.figures,
        current_alerts=index.current_alerts,
        recent_alerts=index.recent_alerts,
        server=server,
    )


async def fleet_events(
    index: Callable[[], Index],
    server: Callable[[], ServerView],
    clock: Clock,
    stopping: Callable[[], bool],
    *,
    event_seconds: float = EVENT_SECONDS,
    heartbeat_seconds: float = HEARTBEAT_SECONDS,
) -> AsyncIterator[bytes]:
    """Server-sent events: ``fleet`` whenever it, or the server, has changed, ``heartbeat`` where nothing has."""
    seen: Index | None = None
    sent: SummaryView | None = None
    sent_at = float("-inf")
    loop = asyncio.get_running_loop()
    while not stopping():
        current, itself = await asyncio.to_thread(lambda: (index(), server()))
        changed = False
        if current is not seen or sent is None or itself != sent.server:
            summary = summary_view(current, itself, current.now)
            changed = sent is None or sent.model_copy(update={"now": summary.now}) != summary
            seen = current
        if changed:
            sent, sent_at = summary, loop.time()
            yield f"event: fleet\ndata: {summary.model_dump_json()}\n\n".encode()
        elif loop.time() - sent_at >= heartbeat_seconds:
            sent_at = loop.time()
            yield f'event: heartbeat\ndata: {{"now": {clock.now().wall}}}\n\n'.encode()
        await asyncio.sleep(event_seconds)


def _row(row: Row, sparklines: Sparklines) -> RowView:
    device, stream = row.device, row.stream
    return RowView(
        site=device.site,
        device=device.name,
        state=row.liveness,
        last_seen=device.last_seen,
        stream=stream_view(device, stream, row.liveness) if stream is not None else None,
        outlier_ratios=sparklines.latest(device.site, device.name, stream.name) if stream is not None else (),
    )
