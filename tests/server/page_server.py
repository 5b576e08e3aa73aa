"""The page's server within the test: real parts over real HTTP, fed with messages by hand, at any time."""

from __future__ import annotations

import socket
import threading
from collections.abc import Sequence
from pathlib import Path

import uvicorn
from sqlalchemy.engine import URL
from starlette.middleware import Middleware

import driftprint_server
from driftprint.clock import Clock, SystemClock
from driftprint.messages import DeviceMessage
from driftprint_server.access.gate import Gate
from driftprint_server.access.identity import Role
from driftprint_server.access.middleware import AccessControl
from driftprint_server.access.routes import make_router as make_access_router
from driftprint_server.access.settings import AccessSettings
from driftprint_server.audit import Audit
from driftprint_server.enrolment.decisions import EnrolmentDecisions
from driftprint_server.enrolment.gate import Enrolment
from driftprint_server.enrolment.router import make_router as make_enrolment_router
from driftprint_server.enrolment.settings import EnrolmentSettings, Mode
from driftprint_server.enrolment.waiting import WaitingList
from driftprint_server.fleet import Fleet
from driftprint_server.fleet_api import make_fleet_router
from driftprint_server.history.current import current_in
from driftprint_server.history.database import Database
from driftprint_server.history.decisions import AlertDecisions
from driftprint_server.history.history import History
from driftprint_server.history.routes import make_router as make_history_router
from driftprint_server.history.settings import HistorySettings
from driftprint_server.listing import Listing
from driftprint_server.operators import OperatorStore
from driftprint_server.records import kept
from driftprint_server.sinks import Accepted, Sink
from driftprint_server.sparklines import Sparklines
from driftprint_server.views import ServerView, fleet_view
from driftprint_server.web import make_app
from tests.brokers import wait_for

PASSWORD = "correct horse battery staple"
STALE_AFTER_SECONDS = 60.0


class PageServer:
    """The page and its data, without a broker.

    Args:
        folder: for its databases.
        login: whether one must log in; there are then the users ``ann``, an operator, and ``bob``, a viewer.
        history: whether it keeps one.
        approve: whether new devices wait for an operator.
    """

    def __init__(
        self,
        folder: Path,
        *,
        login: bool = False,
        history: bool = True,
        approve: bool = False,
        clock: Clock | None = None,
    ) -> None:
        self.clock = clock or SystemClock()
        self.problems: list[str] = []
        self.fleet = Fleet(max_devices=200_000, forget_after_seconds=30 * 86_400)
        store = OperatorStore(folder / "operators.db")
        audit = Audit(store, self.clock)
        gate = Gate(AccessSettings(login=login), store=store, audit=audit, clock=self.clock)
        if login:
            gate.users.add("ann", Role.OPERATOR, PASSWORD, who="server")
            gate.users.add("bob", Role.VIEWER, PASSWORD, who="server")
        sparklines = Sparklines(most_streams=1000)
        self._sinks: list[Sink] = [sparklines]
        self.enrolment = Enrolment(
            EnrolmentSettings(mode=Mode.APPROVE if approve else Mode.OPEN),
            decisions=EnrolmentDecisions(store, audit, self.clock),
            waiting=WaitingList(),
        )
        routers = [
            make_fleet_router(
                listing=Listing(
                    self.fleet, clock=self.clock, stale_after_seconds=STALE_AFTER_SECONDS, least_age_seconds=0.2
                ),
                sparklines=sparklines,
                view=lambda: fleet_view(self.fleet, self.clock.now().wall, stale_after_seconds=STALE_AFTER_SECONDS),
                server=lambda: ServerView(
                    problems=tuple(self.problems), waiting=len(self.enrolment.waiting), changes=audit.written
                ),
                clock=self.clock,
                stopping=lambda: self._http.should_exit,
            ),
            make_access_router(
                gate=gate, audit=audit, login_page=Path(driftprint_server.__file__).parent / "static" / "login.html"
            ),
            make_enrolment_router(self.enrolment),
        ]
        if history:
            settings = HistorySettings(thumbnails=True)
            database = Database(URL.create("sqlite", database=str(folder / "history.db")))
            self._sinks.append(History(database, settings))
            self.decisions = AlertDecisions(store, audit, self.clock)
            routers.append(
                make_history_router(database, self.decisions, current=current_in(self.fleet), clock=self.clock)
            )
        self.app = make_app(
            metrics=lambda: iter(()),
            fleet_metrics=lambda: iter(()),
            problems=lambda: self.problems,
            routers=routers,
            middleware=[Middleware(AccessControl, gate=gate)],
        )
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._http = uvicorn.Server(
            uvicorn.Config(self.app, lifespan="off", log_level="warning", timeout_graceful_shutdown=1)
        )
        self._thread = threading.Thread(target=self._http.run, kwargs={"sockets": [self._listener]}, daemon=True)
        self._thread.start()
        wait_for(lambda: self._http.started, what="the page's server")

    def take(self, *messages: DeviceMessage, ago: float = 0.0) -> None:
        """What the server's worker does with messages that were recorded some seconds ago."""
        self.take_all([(message, ago) for message in messages])

    def take_all(self, messages: Sequence[tuple[DeviceMessage, float]]) -> None:
        """The same for many, each with its age."""
        now = self.clock.now().wall
        accepted = []
        for message, ago in messages:
            body = kept(message)
            self.fleet.apply(body, now - ago)
            accepted.append(Accepted(body, now - ago))
        for sink in self._sinks:
            sink.write(accepted)

    def close(self) -> None:
        self._http.should_exit = True
        self._thread.join(10)
        self._listener.close()
