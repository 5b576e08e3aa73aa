"""A server behind the access control: real HTTP, a real store, and a clock that tests set."""

from __future__ import annotations

import asyncio
import socket
import ssl
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx
import uvicorn
from fastapi import FastAPI
from fastapi.responses import StreamingResponse
from fastapi.staticfiles import StaticFiles

from driftprint_server.access.gate import Gate
from driftprint_server.access.identity import Operator, Role, Viewer
from driftprint_server.access.middleware import AccessControl
from driftprint_server.access.routes import make_router
from driftprint_server.access.settings import AccessSettings
from driftprint_server.access.tls import ServerTls
from driftprint_server.audit import Audit
from driftprint_server.headers import SecurityHeaders
from driftprint_server.operators import OperatorStore
from driftprint_server.refusals import add_refusals
from driftprint_server.web import STATIC
from tests.brokers import wait_for
from tests.server.clocks import FakeClock

ANN = {"name": "ann", "password": "correct horse battery"}
VERA = {"name": "vera", "password": "only here to look"}
HTML = {"accept": "text/html,application/xhtml+xml"}


class Site:
    """The application, served. `ann` is an operator, `vera` a viewer."""

    def __init__(
        self,
        folder: Path,
        settings: AccessSettings | None = None,
        *,
        tls: Callable[[], ServerTls] | None = None,
        static: StaticFiles | None = None,
    ) -> None:
        self.clock = FakeClock()
        self.path = folder / "operators.db"
        self.store = OperatorStore(self.path)
        self.audit = Audit(self.store, self.clock)
        self.gate = Gate(settings or AccessSettings(), store=self.store, audit=self.audit, clock=self.clock)
        self.gate.users.add(ANN["name"], Role.OPERATOR, ANN["password"], who="test")
        self.gate.users.add(VERA["name"], Role.VIEWER, VERA["password"], who="test")
        self.acted: list[str] = []
        self._static = static
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        self.url = f"http{'s' if tls else ''}://127.0.0.1:{self.port}"
        arguments: dict[str, Any] = tls().arguments if tls else {}
        config = uvicorn.Config(self._app(), lifespan="off", log_config=None, timeout_graceful_shutdown=1, **arguments)
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, kwargs={"sockets": [self._socket]}, daemon=True)
        self._thread.start()
        wait_for(lambda: self._server.started, what="the server")
        self._clients: list[httpx.Client] = []

    def client(self, user: dict[str, str] | None = None, *, verify: ssl.SSLContext | bool = True) -> httpx.Client:
        """Somebody with a cookie jar of their own, logged in where `user` is given."""
        client = httpx.Client(base_url=self.url, verify=verify, timeout=60, trust_env=False)
        self._clients.append(client)
        if user is not None:
            answer = client.post("/api/session", json=user)
            assert answer.status_code == 200, answer.text
            client.headers["x-csrf-token"] = answer.json()["csrf"]
        return client

    def actions(self) -> list[tuple[str, str, str]]:
        """Who did what to what, the oldest first."""
        return [(line.who, line.action, line.target) for line in reversed(self.audit.lines(limit=1000))]

    def close(self) -> None:
        for client in self._clients:
            client.close()
        self._server.should_exit = True
        self._thread.join(10)
        self._socket.close()
        self.store.close()

    def _app(self) -> FastAPI:
        app = FastAPI()
        add_refusals(app)
        app.add_middleware(AccessControl, gate=self.gate, check_seconds=0.0)
        app.add_middleware(SecurityHeaders)
        app.include_router(make_router(gate=self.gate, audit=self.audit, login_page=STATIC / "login.html"))

        if self._static is not None:
            app.mount("/static", self._static)

        @app.get("/")
        def page() -> str:
            return "the page"

        @app.get("/healthz")
        @app.get("/metrics")
        @app.get("/metrics/fleet")
        @app.get("/static/some.css")
        @app.get("/bundles/capability/parts-1.driftprint")
        def open_to_all() -> str:
            return "here"

        @app.get("/api/fleet")
        def fleet(who: Viewer) -> str:
            return who.name

        @app.get("/api/unguarded")
        def unguarded() -> str:
            return "a route that has forgotten to ask"

        @app.post("/api/unguarded")
        def unguarded_action() -> None:
            self.acted.append("a route that has forgotten to ask")

        @app.put("/api/thing")
        def act(who: Operator) -> None:
            self.acted.append(who.name)

        @app.get("/api/fleet/events")
        async def events() -> StreamingResponse:
            async def beat() -> AsyncIterator[bytes]:
                while True:
                    yield b"event: heartbeat\ndata: {}\n\n"
                    await asyncio.sleep(0.02)

            return StreamingResponse(beat(), media_type="text/event-stream")

        return app
