"""Puts the server together: link -> inbox -> worker -> fleet, store and sinks, and the web beside it.

Each thread has one job: the link's puts what it hears into the inbox; the worker takes it in, stores it and
acknowledges; the web's reads the fleet; the main one waits for the end. Others look after rollouts, the history and
webhooks.
"""

from __future__ import annotations

import threading
from random import Random

import structlog
from fastapi import APIRouter, FastAPI
from starlette.middleware import Middleware

from driftprint.clock import Clock
from driftprint.keys import TrustedKeys
from driftprint_server.access.gate import Gate
from driftprint_server.access.middleware import AccessControl
from driftprint_server.access.routes import make_router as make_access_router
from driftprint_server.access.settings import check_open
from driftprint_server.access.tables import operators_path
from driftprint_server.access.tls import make_tls
from driftprint_server.aggregates import AggregateCollector
from driftprint_server.audit import Audit
from driftprint_server.caps import RateLimiter, SeriesCaps
from driftprint_server.config import ServerSettings
from driftprint_server.counts import Counts
from driftprint_server.daemon import Background, Daemon, every
from driftprint_server.enrolment.decisions import EnrolmentDecisions
from driftprint_server.enrolment.gate import Enrolment
from driftprint_server.enrolment.router import make_router as make_enrolment_router
from driftprint_server.enrolment.waiting import WaitingList
from driftprint_server.fleet import Fleet
from driftprint_server.fleet_api import make_fleet_router
from driftprint_server.history.current import current_in
from driftprint_server.history.database import Database
from driftprint_server.history.decisions import AlertDecisions
from driftprint_server.history.history import History
from driftprint_server.history.routes import make_router as make_history_router
from driftprint_server.inbox import Inbox
from driftprint_server.keepers import FleetKeeper
from driftprint_server.link import Link
from driftprint_server.listing import Listing
from driftprint_server.metrics import DeviceMetrics, ServerCollector, exposition
from driftprint_server.operator_metrics import OperatorCollector
from driftprint_server.operators import OperatorStore
from driftprint_server.remote_write.counts import WriteCollector
from driftprint_server.remote_write.sink import make_sinks
from driftprint_server.rollout.api import make_router as make_rollout_router
from driftprint_server.rollout.bundles import Catalogue
from driftprint_server.rollout.links import BundleLinks, default_public_url, kept_secret, reaches_devices
from driftprint_server.rollout.service import Rollouts
from driftprint_server.sinks import Sink
from driftprint_server.sparklines import Sparklines
from driftprint_server.store import Store
from driftprint_server.times import Settling
from driftprint_server.views import FleetView, ServerView, fleet_view
from driftprint_server.web import STATIC, make_app
from driftprint_server.webhooks.sink import Webhooks
from driftprint_server.worker import Worker

_TIDY_SECONDS = 60.0


class Server:
    """The whole daemon.

    Args:
        settings: server.toml.
        clock: dates everything.

    Raises:
        DriftprintError: where a store, a certificate or a folder cannot be used.
    """

    def __init__(self, settings: ServerSettings, *, clock: Clock) -> None:
        check_open(settings.access, settings.http.host)
        self._settings = settings
        self._clock = clock
        self._ending = threading.Event()
        self._counts = Counts()
        self._inbox = Inbox()
        self._routers: list[APIRouter] = []
        self._sinks: list[Sink] = []
        self._background: list[Background] = []
        self._store = Store(settings.store.path)
        self._operators = OperatorStore(operators_path(settings.store.path))
        self._audit = Audit(self._operators, clock)

        enrolment = self._make_enrolment()
        self._fleet = self._make_fleet(enrolment)
        rates = RateLimiter(settings.caps, known=self._fleet.knows)
        self._link = Link(
            settings.mqtt,
            client_id=settings.mqtt.client_id,
            inbox=self._inbox,
            counts=self._counts,
            clock=clock,
            admits=rates.admits,
        )
        self._gate = self._make_access()
        self._make_page(enrolment)
        decisions = AlertDecisions(self._operators, self._audit, clock)
        self._history = self._make_history(decisions)
        self._remote_write, write_counts = make_sinks(
            settings.remote_write, clock=clock, wait=self._ending.wait, max_classes=settings.fleet.max_classes
        )
        self._webhooks = Webhooks(
            settings.webhook,
            store=self._operators,
            clock=clock,
            random=Random(),
            muted=decisions.muted_streams,
        )
        rollouts = self._make_rollouts()
        self._sinks += [*self._remote_write, self._webhooks]
        self._keeper = FleetKeeper(self._fleet, self._store, sinks=self._sinks, now=clock.now())
        self._worker = Worker(
            self._inbox,
            keeper=self._keeper,
            publish=self._link.publish,
            counts=self._counts,
            clock=clock,
            acknowledge=settings.mqtt.acknowledge,
        )
        self.app = self._make_app(
            OperatorCollector(
                muted=lambda: decisions.muted_streams(clock.now().wall),
                waiting=lambda: len(enrolment.waiting),
                webhooks=self._webhooks,
                rollouts=None if rollouts is None else rollouts.standings,
            ),
            WriteCollector(write_counts),
        )
        """What answers over HTTP."""
        self._daemon = Daemon(
            link=self._link,
            worker=self._worker,
            app=self.app,
            http=settings.http,
            tls=make_tls(settings.http.cert_file, settings.http.key_file),
            background=self._background,
            ending=self._ending,
        )

    def first_password(self) -> str | None:
        """The password of the first user, who is made now; None where there are users, or where none is needed.

        Raises:
            StoreError: where the disk refuses.
        """
        return self._gate.users.first() if self._settings.access.login else None

    def run(self, stop: threading.Event) -> None:
        """Serve until `stop` is set; what has been received by then is stored first.

        Raises:
            ConfigError: where the HTTP address cannot be listened on.
            RuntimeError: where a part ended that must not.
        """
        self._webhooks.start()
        self._daemon.run(stop)
        self._webhooks.stop()
        self.close()

    def close(self) -> None:
        """Close the stores. `run` does so itself."""
        for sink in self._remote_write:
            sink.close()
        if self._history is not None:
            self._history.close()
        self._store.close()
        self._operators.close()

    def view(self) -> FleetView:
        """The fleet as the page shows it now."""
        stale_after_seconds = self._settings.fleet.stale_after_seconds
        return fleet_view(self._fleet, self._clock.now().wall, stale_after_seconds=stale_after_seconds)

    def problems(self) -> list[str]:
        """What keeps the server from its work."""
        problems = []
        if not self._link.connected:
            problems.append(f"not connected to the broker at {self._settings.broker}")
        if self._worker.store_problem is not None:
            problems.append(self._worker.store_problem)
        problems += [sink.problem for sink in self._remote_write if sink.problem is not None]
        return list(dict.fromkeys(problems))

    def _make_enrolment(self) -> Enrolment:
        enrolment = Enrolment(
            self._settings.enrolment,
            decisions=EnrolmentDecisions(self._operators, self._audit, self._clock),
            waiting=WaitingList(),
            on_rejected=lambda site, device: self._keeper.forget_later(site, device),
        )
        self._routers.append(make_enrolment_router(enrolment))
        return enrolment

    def _make_fleet(self, enrolment: Enrolment) -> Fleet:
        rejected = set(enrolment.rejected)
        devices = [device for device in self._store.load() if (device.site, device.name) not in rejected]
        settings = self._settings
        return Fleet(
            devices,
            max_devices=settings.fleet.max_devices,
            forget_after_seconds=settings.fleet.forget_after_seconds,
            admit=enrolment.check,
            caps=SeriesCaps(settings.caps, max_classes=settings.fleet.max_classes, devices=devices),
        )

    def _make_access(self) -> Gate:
        gate = Gate(self._settings.access, store=self._operators, audit=self._audit, clock=self._clock)
        self._routers.append(make_access_router(gate=gate, audit=self._audit, login_page=STATIC / "login.html"))
        return gate

    def _make_page(self, enrolment: Enrolment) -> None:
        fleet = self._settings.fleet
        sparklines = Sparklines(most_streams=2 * fleet.max_devices)
        self._sinks.append(sparklines)
        self._routers.append(
            make_fleet_router(
                listing=Listing(self._fleet, clock=self._clock, stale_after_seconds=fleet.stale_after_seconds),
                sparklines=sparklines,
                view=self.view,
                server=lambda: ServerView(
                    problems=tuple(self.problems()), waiting=len(enrolment.waiting), changes=self._audit.written
                ),
                clock=self._clock,
                stopping=self._ending.is_set,
            )
        )

    def _make_history(self, decisions: AlertDecisions) -> Database | None:
        settings = self._settings.history
        if not settings.enabled:
            return None
        database = Database(settings.database_url(self._settings.store.path.parent))
        history = History(database, settings)
        self._sinks.append(history)
        self._routers.append(
            make_history_router(database, decisions, current=current_in(self._fleet), clock=self._clock)
        )
        settling = Settling(self._clock.now())

        def tidy() -> None:
            now = self._clock.now()
            history.tidy(now.wall, settled=settling.over(now))

        self._background.append(every(_TIDY_SECONDS, "tidying the history", tidy))
        return database

    def _make_rollouts(self) -> Rollouts | None:
        settings, http = self._settings.rollout, self._settings.http
        if settings.bundles is None:
            return None
        catalogue = Catalogue(
            settings.bundles,
            cache=self._settings.store.path.parent / "bundle-zips",
            trusted=None if settings.trusted_keys is None else TrustedKeys(settings.trusted_keys),
        )
        catalogue.forget_uploads()
        address = default_public_url(http.host, http.port, tls=http.cert_file is not None)
        if settings.public_url is None and not reaches_devices(http.host):
            structlog.get_logger().warning(
                "other machines cannot fetch bundles", url=address, fix="set public_url in [rollout]"
            )
        links = BundleLinks(kept_secret(self._operators), settings.public_url or address)
        rollouts = Rollouts(
            store=self._operators,
            audit=self._audit,
            catalogue=catalogue,
            links=links,
            devices=self._fleet.devices,
            publish=self._link.command,
            clock=self._clock,
            settings=settings,
            stale_after_seconds=self._settings.fleet.stale_after_seconds,
            news=self._webhooks,
        )
        self._routers.append(
            make_rollout_router(
                rollouts=rollouts,
                catalogue=catalogue,
                links=links,
                store=self._operators,
                audit=self._audit,
                clock=self._clock,
                upload_bytes=int(settings.upload_megabytes * 1e6),
            )
        )
        self._background.append(Background("rollouts", rollouts.run))
        return rollouts

    def _make_app(self, of_operators: OperatorCollector, of_writing: WriteCollector) -> FastAPI:
        """All routes, and the metrics of everything."""
        clock, fleet = self._clock, self._settings.fleet
        of_devices = DeviceMetrics(
            self._fleet, clock=clock, stale_after_seconds=fleet.stale_after_seconds, max_classes=fleet.max_classes
        )
        of_fleet = AggregateCollector(self._fleet, clock=clock, stale_after_seconds=fleet.stale_after_seconds)
        of_server = ServerCollector(
            counts=self._counts,
            connected=lambda: self._link.connected,
            queue_length=self._inbox.qsize,
            devices=lambda: self._fleet.by_state(clock.now().wall, stale_after_seconds=fleet.stale_after_seconds),
        )
        return make_app(
            metrics=lambda: exposition(of_devices.text(), of_operators, of_writing, of_server),
            fleet_metrics=lambda: exposition((), of_fleet, of_operators, of_writing, of_server),
            problems=self.problems,
            routers=self._routers,
            middleware=[Middleware(AccessControl, gate=self._gate)],
        )
