"""What every daemon of ours has: a link, a worker, something over HTTP, and work that comes round again and again."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import structlog
import uvicorn
from fastapi import FastAPI

from driftprint.errors import ConfigError
from driftprint.logs import is_news
from driftprint_server.access.tls import ServerTls
from driftprint_server.config import HttpSettings
from driftprint_server.link import Link
from driftprint_server.worker import Worker

_CLOSE_SECONDS = 5.0
_SUPERVISE_SECONDS = 0.5
_RENEWAL_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Background:
    """Work for a thread of its own.

    Attributes:
        name: the thread's.
        run: does it until the event is set.
    """

    name: str
    run: Callable[[threading.Event], object]


def every(seconds: float, name: str, work: Callable[[], object]) -> Background:
    """Work that comes round again and again. Where it fails, that is logged; it may go right the next time."""

    def run(ending: threading.Event) -> None:
        failures = 0
        while not ending.wait(seconds):
            try:
                work()
                failures = 0
            except Exception as error:
                failures += 1
                if is_news(failures):
                    structlog.get_logger().error(f"{name} failed", what=str(error), total=failures)

    return Background(name, run)


class Daemon:
    """Runs the parts until it is told to stop.

    Args:
        link: hears messages.
        worker: takes them in.
        app: answers over HTTP.
        http: where.
        tls: a certificate; without it HTTP is spoken.
        background: what else is to be done.
        ending: set while the daemon ends; the parts ask it, too.
    """

    def __init__(
        self,
        *,
        link: Link,
        worker: Worker,
        app: FastAPI,
        http: HttpSettings,
        tls: ServerTls | None = None,
        background: Sequence[Background] = (),
        ending: threading.Event,
    ) -> None:
        self._link = link
        self._worker = worker
        self._settings = http
        self._scheme = "https" if tls is not None else "http"
        self._background = [*background]
        if tls is not None:
            self._background.append(every(_RENEWAL_SECONDS, "reading the certificate again", tls.refresh))
        self._ending = ending
        self._http = uvicorn.Server(
            uvicorn.Config(
                app,
                lifespan="off",
                access_log=False,
                log_config=None,
                server_header=False,
                timeout_graceful_shutdown=2,
                **(tls.arguments if tls is not None else {}),
            )
        )
        self._log = structlog.get_logger()

    def run(self, stop: threading.Event) -> None:
        """Serve until `stop` is set; what has been received by then is kept first.

        Raises:
            ConfigError: where the HTTP address cannot be listened on.
            RuntimeError: where a part ended that must not.
        """
        listener = listen(self._settings)
        web = _thread("web", self._http.run, [listener])
        worker = _thread("worker", self._worker.run, self._ending.is_set)
        others = [_thread(other.name, other.run, self._ending) for other in self._background]
        self._link.start()
        for thread in (worker, web, *others):
            thread.start()
        host, port = listener.getsockname()[:2]
        self._log.info("serving", url=f"{self._scheme}://{f'[{host}]' if ':' in host else host}:{port}/")
        while not stop.wait(_SUPERVISE_SECONDS):
            for thread in (web, worker):
                if not thread.is_alive():
                    raise RuntimeError(f"the {thread.name} thread has ended")
            if self._link.ended:
                raise RuntimeError("the mqtt thread has ended")
        self._log.info("stopping")
        self._link.stop()
        self._ending.set()
        self._http.should_exit = True
        for thread in (web, worker, *others):
            thread.join(_CLOSE_SECONDS)
        listener.close()


def listen(settings: HttpSettings) -> socket.socket:
    """A socket that listens.

    Raises:
        ConfigError: where that is not possible.
    """
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    try:
        return socket.create_server((settings.host, settings.port), family=family)
    except OSError as error:
        raise ConfigError(
            f"cannot listen on {settings.host}:{settings.port} ({error.strerror or error})",
            where="http",
            fix="choose another host or port",
        ) from None


def _thread(name: str, target: Callable[..., object], *arguments: object) -> threading.Thread:
    return threading.Thread(target=target, args=arguments, name=name, daemon=True)
