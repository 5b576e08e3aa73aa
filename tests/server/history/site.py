"""The history's routes in an application, with whoever a test logs in."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
from fastapi import FastAPI, Request, Response
from starlette.middleware.base import RequestResponseEndpoint

from driftprint_server.access.identity import Identity, Role
from driftprint_server.audit import Audit
from driftprint_server.history.database import Database
from driftprint_server.history.decisions import AlertDecisions
from driftprint_server.history.history import History
from driftprint_server.history.routes import make_router
from driftprint_server.refusals import ANYWHERE, add_refusals
from tests.server.clocks import FakeClock

ANNA = Identity("anna", Role.OPERATOR)
BEN = Identity("ben", Role.OPERATOR)
VERA = Identity("vera", Role.VIEWER)


class Site:
    """The application over a history, and a client of it.

    Attributes:
        who: is logged in; None: nobody.
        current: ids of the alerts that are raised still.
    """

    def __init__(
        self, database: Database, history: History, decisions: AlertDecisions, audit: Audit, clock: FakeClock
    ) -> None:
        self.database = database
        self.history = history
        self.decisions = decisions
        self.audit = audit
        self.clock = clock
        self.who: Identity | None = ANNA
        self.current: set[str] = set()
        self.app = FastAPI()
        add_refusals(self.app)

        @self.app.middleware("http")
        async def log_in(request: Request, call_next: RequestResponseEndpoint) -> Response:
            request.state.identity = self.who
            return await call_next(request)

        self.app.include_router(
            make_router(database, decisions, current=lambda alert: alert.alert_id in self.current, clock=clock),
            responses=ANYWHERE,
        )

    def get(self, path: str, /, **query: Any) -> httpx.Response:
        """Ask."""
        return self._send("GET", path, params=query)

    def put(self, path: str, body: Any = None) -> httpx.Response:
        """Decide."""
        return self._send("PUT", path, json=body)

    def delete(self, path: str) -> httpx.Response:
        """Take back."""
        return self._send("DELETE", path)

    def _send(self, method: str, path: str, **request: Any) -> httpx.Response:
        async def send() -> httpx.Response:
            transport = httpx.ASGITransport(self.app)
            async with httpx.AsyncClient(transport=transport, base_url="http://server") as client:
                return await client.request(method, path, **request)

        return asyncio.run(send())
