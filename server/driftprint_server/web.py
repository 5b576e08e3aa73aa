"""The server over HTTP: the page, its data, ``/metrics`` and ``/healthz``."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Annotated

from fastapi import FastAPI, Header, Response
from fastapi.responses import FileResponse, JSONResponse, StreamingResponse
from fastapi.staticfiles import StaticFiles
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder
from pydantic import BaseModel

from driftprint.version import VERSION
from driftprint_server.headers import SecurityHeaders
from driftprint_server.views import FleetView

STATIC = Path(__file__).parent / "static"

EVENT_SECONDS = 0.5
"""The page is told of changes this often at most."""
HEARTBEAT_SECONDS = 10.0


class Health(BaseModel):
    """Whether the server does its work."""

    ok: bool
    problems: tuple[str, ...]


def make_app(
    *,
    registry: CollectorRegistry,
    fleet_registry: CollectorRegistry,
    view: Callable[[], FleetView],
    problems: Callable[[], list[str]],
    stopping: Callable[[], bool],
) -> FastAPI:
    """The application.

    Args:
        registry: what ``/metrics`` shows.
        fleet_registry: what ``/metrics/fleet`` shows.
        view: the fleet at this moment.
        problems: what keeps the server from its work; empty where all is well.
        stopping: whether the server is about to end; streams of events then end too.
    """
    # Its own documentation pages would load scripts from elsewhere.
    app = FastAPI(title="driftprint server", version=VERSION, docs_url=None, redoc_url=None)

    app.add_middleware(SecurityHeaders)

    @app.get("/", include_in_schema=False)
    def page() -> FileResponse:
        return FileResponse(STATIC / "index.html", media_type="text/html")

    @app.get("/metrics", include_in_schema=False)
    def metrics(accept: Annotated[str, Header()] = "") -> Response:
        return _exposed(registry, accept)

    @app.get("/metrics/fleet", include_in_schema=False)
    def fleet_metrics(accept: Annotated[str, Header()] = "") -> Response:
        return _exposed(fleet_registry, accept)

    @app.get("/healthz", responses={503: {"model": Health}})
    def healthz() -> JSONResponse:
        found = problems()
        health = Health(ok=not found, problems=tuple(found))
        return JSONResponse(health.model_dump(), status_code=503 if found else 200)

    @app.get("/api/fleet")
    def fleet() -> FleetView:
        return view()

    @app.get("/api/fleet/events", response_class=StreamingResponse)
    async def events() -> StreamingResponse:
        return StreamingResponse(fleet_events(view, stopping), media_type="text/event-stream")

    app.mount("/static", StaticFiles(directory=STATIC), name="static")
    return app


def _exposed(registry: CollectorRegistry, accept: str) -> Response:
    """All metrics, in the format that is asked for."""
    encode, media_type = choose_encoder(accept)
    return Response(encode(registry), headers={"Content-Type": media_type})


async def fleet_events(
    view: Callable[[], FleetView],
    stopping: Callable[[], bool],
    *,
    event_seconds: float = EVENT_SECONDS,
    heartbeat_seconds: float = HEARTBEAT_SECONDS,
) -> AsyncIterator[bytes]:
    """Server-sent events: ``fleet`` whenever it has changed, ``heartbeat`` where it has not for a while."""
    sent: FleetView | None = None
    sent_at = float("-inf")
    loop = asyncio.get_running_loop()
    while not stopping():
        current = await asyncio.to_thread(view)
        if sent is None or (current.devices, current.alerts) != (sent.devices, sent.alerts):
            sent, sent_at = current, loop.time()
            yield f"event: fleet\ndata: {current.model_dump_json()}\n\n".encode()
        elif loop.time() - sent_at >= heartbeat_seconds:
            sent_at = loop.time()
            yield f'event: heartbeat\ndata: {{"now": {current.now}}}\n\n'.encode()
        await asyncio.sleep(event_seconds)
