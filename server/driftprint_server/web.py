"""The server over HTTP: the page, ``/metrics``, ``/healthz``, and whatever else is routed to it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Sequence
from html import escape
from http import HTTPStatus
from pathlib import Path

from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.responses import FileResponse, HTMLResponse, JSONResponse, StreamingResponse
from fastapi.staticfiles import StaticFiles
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.routing import BaseRoute, Match, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from driftprint.version import VERSION
from driftprint_server.headers import SecurityHeaders
from driftprint_server.refusals import ANYWHERE, add_refusals, refuse
from driftprint_server.text_format import CONTENT_TYPE

STATIC = Path(__file__).parent / "static"

_NOTHING_HERE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{title} - driftprint</title>
<link rel="icon" href="/static/icon.svg" type="image/svg+xml">
<link rel="stylesheet" href="/static/app.css">
</head>
<body>
<main>
<section class="card empty">
<h2>{title}</h2>
<p>{detail}</p>
<p><a href="/">To the fleet</a></p>
</section>
</main>
</body>
</html>
"""


class Health(BaseModel):
    """Whether the server does its work."""

    ok: bool
    problems: tuple[str, ...]


def add_metrics_and_health(
    app: FastAPI, *, metrics: Callable[[], Iterator[bytes]], problems: Callable[[], list[str]]
) -> None:
    """Add ``/metrics`` and ``/healthz``.

    Args:
        app: where to.
        metrics: what is shown, in the text format.
        problems: what keeps us from our work; empty where all is well.
    """

    @app.get("/metrics", include_in_schema=False)
    def exposed() -> Response:
        return StreamingResponse(metrics(), media_type=CONTENT_TYPE)

    @app.get("/healthz", responses={503: {"model": Health}})
    def healthz() -> JSONResponse:
        found = problems()
        health = Health(ok=not found, problems=tuple(found))
        return JSONResponse(health.model_dump(), status_code=503 if found else 200)


def make_app(
    *,
    metrics: Callable[[], Iterator[bytes]],
    fleet_metrics: Callable[[], Iterator[bytes]],
    problems: Callable[[], list[str]],
    routers: Sequence[APIRouter] = (),
    middleware: Sequence[Middleware] = (),
) -> FastAPI:
    """The application.

    Args:
        metrics: what ``/metrics`` shows, in the text format.
        fleet_metrics: what ``/metrics/fleet`` shows.
        problems: what keeps the server from its work; empty where all is well.
        routers: further routes.
        middleware: what a request goes through first, the first of them first of all.
    """
    # Its own documentation pages would load scripts from elsewhere.
    app = FastAPI(
        title="driftprint server",
        version=VERSION,
        docs_url=None,
        redoc_url=None,
        middleware=[Middleware(SecurityHeaders), Middleware(HeadIsGet), *middleware],
    )

    @app.get("/", include_in_schema=False)
    def page() -> FileResponse:
        return FileResponse(STATIC / "index.html", media_type="text/html")

    @app.get("/metrics/fleet", include_in_schema=False)
    def of_fleet() -> Response:
        return StreamingResponse(fleet_metrics(), media_type=CONTENT_TYPE)

    add_metrics_and_health(app, metrics=metrics, problems=problems)

    for router in routers:
        app.include_router(router, responses=ANYWHERE)
    app.mount("/static", StaticFiles(directory=STATIC), name="static")
    routes = [*app.routes, *(route for router in routers for route in router.routes)]
    app.add_exception_handler(HTTPException, _make_refuse(routes))
    add_refusals(app)
    return app


class HeadIsGet:
    """Answers HEAD as `app` answers GET, without the body (RFC 9110, section 9.3.2)."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http" or scope["method"] != "HEAD":
            await self._app(scope, receive, send)
            return
        ended = False

        async def send_head(message: Message) -> None:
            nonlocal ended
            if message["type"] == "http.response.start":
                await send(message)
                await send({"type": "http.response.body"})
                ended = True
            raise _EndedError  # nobody waits for the rest, and a stream of events has no end

        try:
            await self._app({**scope, "method": "GET"}, receive, send_head)
        except Exception:
            if not ended:
                raise


class _EndedError(Exception):
    """All that was asked for has been answered."""


def _make_refuse(routes: Sequence[BaseRoute]) -> Callable[[Request, Exception], Awaitable[Response]]:
    """Answers with a sentence as JSON; a person who has gone astray is shown a page."""

    async def answer(request: Request, error: Exception) -> Response:
        if not isinstance(error, HTTPException):
            raise error
        status, detail, path, headers = error.status_code, str(error.detail), request.url.path, error.headers
        if detail == HTTPStatus(status).phrase:  # it is the router's, which knows no more
            if status == 404:
                detail = f"there is nothing at {path}; GET /openapi.json says what there is"
            elif status == 405:
                takes = ", ".join(_methods(routes, request.scope))
                detail = f"{request.method} does nothing at {path}; it takes {takes}"
                headers = {"Allow": takes}
        if "text/html" in request.headers.get("accept", "") and not path.startswith("/api/"):
            return HTMLResponse(_page(status, detail, path), status_code=status, headers=headers)
        return refuse(status, detail, headers)

    return answer


def _page(status: int, detail: str, path: str) -> str:
    title = HTTPStatus(status).phrase
    if status == 404:
        title, detail = "There is no such page", f"Nothing is found at {path}."
    return _NOTHING_HERE.format(title=title, detail=escape(detail))


def _methods(routes: Sequence[BaseRoute], scope: Scope) -> list[str]:
    """What may be done at a path, by all routes that lead there."""
    leading = [one for one in routes if isinstance(one, Route) and one.matches(scope)[0] is not Match.NONE]
    methods = {method for route in leading for method in route.methods or ()} or {"GET"}  # of files
    return sorted(methods | ({"HEAD"} if "GET" in methods else set()))
