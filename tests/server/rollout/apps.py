"""The routes of rollouts for tests, with somebody logged in."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from fastapi import FastAPI, Request
from fastapi.staticfiles import StaticFiles
from starlette.responses import Response

from driftprint_server.access.identity import Identity, Role
from driftprint_server.headers import SecurityHeaders
from driftprint_server.refusals import add_refusals
from driftprint_server.rollout.api import make_router
from driftprint_server.web import STATIC
from tests.server.rollout.fleets import Scene

UPLOAD_BYTES = 1_000_000


def make_app(scene: Scene, role: Role | None = Role.OPERATOR) -> FastAPI:
    """The application; without a role nobody is logged in."""
    app = FastAPI()
    add_refusals(app)

    @app.middleware("http")
    async def log_in(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
        if role is not None:
            request.state.identity = Identity("ann", role)
        return await call_next(request)

    app.add_middleware(SecurityHeaders)
    app.include_router(
        make_router(
            rollouts=scene.rollouts,
            catalogue=scene.catalogue,
            links=scene.links,
            store=scene.store,
            audit=scene.audit,
            clock=scene.clock,
            upload_bytes=UPLOAD_BYTES,
        )
    )

    @app.get("/api/session")
    def session() -> dict[str, str | bool | None]:
        return {"name": "ann", "role": role.value if role else None, "csrf": "c5", "login": True}

    app.mount("/static", StaticFiles(directory=STATIC), name="static")
    return app
