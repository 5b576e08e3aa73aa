"""Puts the server together: link -> inbox -> worker -> fleet and store, and the web beside it.

Four threads, each with one job: paho's puts what it hears into the inbox; the worker takes it in, stores it
and acknowledges; the web thread reads the fleet; the main thread waits for the end.
"""

from __future__ import annotations

import queue
import socket
import threading

import structlog
import uvicorn

from driftprint.clock import Clock
from driftprint.errors import ConfigError
from driftprint_server.aggregates import AggregateCollector
from driftprint_server.config import HttpSettings, ServerSettings
from driftprint_server.counts import Counts
from driftprint_server.fleet import Fleet
from driftprint_server.link import Link, Received
from driftprint_server.metrics import FleetCollector, ServerCollector, make_registry
from driftprint_server.store import Store
from driftprint_server.views import FleetView, fleet_view
from driftprint_server.web import make_app
from driftprint_server.worker import Worker

_MOST_RECEIVED = 4096  # messages in the inbox
_CLOSE_SECONDS = 5.0
_SUPERVISE_SECONDS = 0.5


class Server:
    """The whole daemon.

    Args:
        settings: server.toml.
        clock: dates everything.

    Raises:
        DriftprintError: where the store or a certificate cannot be used.
    """

    def __init__(self, settings: ServerSettings, *, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock
        self._ending = threading.Event()
        self._log = structlog.get_logger()
        inbox: queue.Queue[Received] = queue.Queue(_MOST_RECEIVED)
        counts = Counts()
        self._link = Link(settings.mqtt, client_id=settings.mqtt.client_id, inbox=inbox, counts=counts, clock=clock)
        self._store = Store(settings.store.path)
        self._fleet = Fleet(
            self._store.load(),
            max_devices=settings.fleet.max_devices,
            forget_after_seconds=settings.fleet.forget_after_seconds,
            enrolled=settings.fleet.enrolled,
        )
        self._worker = Worker(
            inbox, fleet=self._fleet, store=self._store, publish=self._link.publish, counts=counts, clock=clock
        )
        stale_after_seconds = settings.fleet.stale_after_seconds
        of_server = ServerCollector(
            self._fleet,
            counts=counts,
            clock=clock,
            stale_after_seconds=stale_after_seconds,
            connected=lambda: self._link.connected,
            queue_length=inbox.qsize,
        )
        of_devices = FleetCollector(
            self._fleet,
            clock=clock,
            stale_after_seconds=stale_after_seconds,
            max_classes=settings.fleet.max_classes,
        )
        of_fleet = AggregateCollector(self._fleet, clock=clock, stale_after_seconds=stale_after_seconds)
        app = make_app(
            registry=make_registry(of_devices, of_server),
            fleet_registry=make_registry(of_fleet, of_server),
            view=self.view,
            problems=self.problems,
            stopping=self._ending.is_set,
        )
        self._http = uvicorn.Server(
            uvicorn.Config(
                app,
                lifespan="off",
                access_log=False,
                log_config=None,
                server_header=False,
                timeout_graceful_shutdown=2,
            )
        )

    def run(self, stop: threading.Event) -> None:
        """Serve until `stop` is set; what has been received by then is stored first.

        Raises:
            ConfigError: where the HTTP address cannot be listened on.
            RuntimeError: where a part ended that must not.
        """
        listener = _listen(self._settings.http)
        web = threading.Thread(target=self._http.run, kwargs={"sockets": [listener]}, name="web", daemon=True)
        worker = threading.Thread(target=self._worker.run, args=(self._ending.is_set,), name="worker", daemon=True)
        self._link.start()
        worker.start()
        web.start()
        host, port = listener.getsockname()[:2]
        self._log.info("serving", url=f"http://{f'[{host}]' if ':' in host else host}:{port}/")
        while not stop.wait(_SUPERVISE_SECONDS):
            for thread in (web, worker):
                if not thread.is_alive():
                    raise RuntimeError(f"the {thread.name} thread has ended")
        self._log.info("stopping")
        self._link.stop()
        self._ending.set()
        self._http.should_exit = True
        web.join(_CLOSE_SECONDS)
        worker.join(_CLOSE_SECONDS)
        listener.close()
        self.close()

    def close(self) -> None:
        """Close the store. `run` does so itself."""
        self._store.close()

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
        return problems


def _listen(settings: HttpSettings) -> socket.socket:
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    try:
        return socket.create_server((settings.host, settings.port), family=family)
    except OSError as error:
        raise ConfigError(
            f"cannot listen on {settings.host}:{settings.port} ({error.strerror or error})",
            where="http",
            fix="choose another host or port",
        ) from None
