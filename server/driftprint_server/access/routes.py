"""Logging in and out over HTTP, and who did what."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from anyio import to_thread
from fastapi import APIRouter, HTTPException, Query, Request, Response
from fastapi.responses import FileResponse, RedirectResponse
from pydantic import BaseModel, ConfigDict, Field

from driftprint_server.access.doorkeeper import TooManyError
from driftprint_server.access.gate import Gate, Means, Sender, address_of, cookie_name, is_secure
from driftprint_server.access.identity import Identity, Role, Viewer
from driftprint_server.access.middleware import too_many
from driftprint_server.access.origins import safe_path
from driftprint_server.access.sessions import csrf_token
from driftprint_server.access.users import LONGEST_NAME, LONGEST_PASSWORD
from driftprint_server.audit import Audit, AuditLine
from driftprint_server.refusals import refusals

_MOST_LINES = 1000


class NamePassword(BaseModel):
    """What somebody logs in with."""

    model_config = ConfigDict(extra="forbid")

    name: Annotated[str, Field(min_length=1, max_length=LONGEST_NAME)]
    password: Annotated[str, Field(min_length=1, max_length=LONGEST_PASSWORD)]


class SessionView(BaseModel):
    """Who is logged in."""

    name: str
    role: Role
    csrf: str
    """To be sent as the header ``X-CSRF-Token`` with every request that is not GET or HEAD; empty where none is
    asked for."""
    login: bool
    """Whether there is a login at all."""


class AuditView(BaseModel):
    """Who did what, the newest first."""

    lines: list[AuditLine]


def make_router(*, gate: Gate, audit: Audit, login_page: Path) -> APIRouter:
    """``/login``, ``/api/session`` and ``/api/audit``, behind `AccessControl`.

    Args:
        gate: knows everybody.
        audit: shows its lines.
        login_page: an HTML file.
    """
    router = APIRouter()

    @router.get("/login", include_in_schema=False, response_model=None)
    def login(request: Request, next: str = "/") -> Response:
        if _sender(request) is not None:
            return RedirectResponse(safe_path(next), 303)
        return FileResponse(login_page, media_type="text/html")

    @router.get("/api/session", tags=["access"])
    def session(request: Request, who: Viewer) -> SessionView:
        sender = _sender(request)
        return _view(who, sender.secret if sender else "", login=gate.settings.login)

    @router.post("/api/session", tags=["access"], responses=refusals(409, 413), response_model=SessionView)
    async def log_in(request: Request, response: Response, given: NamePassword) -> SessionView | Response:
        """Log in: sets a cookie, which browsers then send by themselves."""
        if not gate.settings.login:
            raise HTTPException(409, "there is no login here: everybody may act")
        address = address_of(request)
        try:
            known = await gate.doorkeeper.check(given.name, given.password, address=address)
        except TooManyError as error:
            return too_many(error)
        secret = None
        if known is not None:
            former = request.cookies.get(cookie_name(request))
            if former:
                await to_thread.run_sync(gate.sessions.end, former)
            secret = await to_thread.run_sync(lambda: gate.sessions.start(given.name, known.password, address=address))
        if known is None or secret is None:
            raise HTTPException(
                401, "no such name with this password; a lost one is replaced by: driftprint users password NAME"
            )
        response.set_cookie(
            cookie_name(request),
            secret,
            max_age=int(gate.settings.session_hours * 3600),
            path="/",
            secure=is_secure(request),
            httponly=True,
            samesite="strict",
        )
        return _view(known.identity, secret, login=True)

    @router.delete("/api/session", tags=["access"], status_code=204, responses=refusals(409))
    async def log_out(request: Request, response: Response, who: Viewer) -> None:  # noqa: ARG001
        """Log out: the session is good for nothing any more."""
        sender = _sender(request)
        if sender is None or sender.means is not Means.SESSION:
            raise HTTPException(409, "there is no session to end")
        await to_thread.run_sync(gate.sessions.end, sender.secret)
        response.delete_cookie(
            cookie_name(request), path="/", secure=is_secure(request), httponly=True, samesite="strict"
        )

    @router.get("/api/audit", tags=["access"])
    def audit_lines(
        who: Viewer,  # noqa: ARG001
        limit: Annotated[int, Query(ge=1, le=_MOST_LINES)] = 100,
        before: Annotated[int | None, Query(ge=1, lt=2**63, description="Only lines with a smaller number.")] = None,
    ) -> AuditView:
        """Who did what, the newest first."""
        return AuditView(lines=audit.lines(limit=limit, before=before))

    return router


def _sender(request: Request) -> Sender | None:
    sender = getattr(request.state, "sender", None)
    return sender if isinstance(sender, Sender) else None


def _view(who: Identity, secret: str, *, login: bool) -> SessionView:
    return SessionView(name=who.name, role=who.role, csrf=csrf_token(secret) if secret else "", login=login)
