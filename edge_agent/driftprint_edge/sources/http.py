"""Frames that a program on the same machine posts over HTTP."""

from __future__ import annotations

from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Event
from typing import Annotated, Any, Literal

from pydantic import Field

from driftprint.clock import Clock
from driftprint.frames import FrameRef
from driftprint_edge.sources.live import LiveSettings, LiveSource, Put
from driftprint_edge.sources.serving import IDLE_SECONDS, Forgiving, serve

MAX_BYTES = 64 * 1024 * 1024
"""Of one request's body."""


class HttpSettings(LiveSettings):
    """A ``[stream.source]`` of kind "http"."""

    kind: Literal["http"]
    host: str = "127.0.0.1"
    """Only this machine by default. There is no authentication: let nobody else in but on purpose."""
    port: Annotated[int, Field(ge=0, le=65535)]
    """``curl --data-binary @frame.jpg http://127.0.0.1:PORT/``"""

    def open(self, clock: Clock) -> LiveSource:
        """The source."""
        return self.source_of(HttpFeed(self.host, self.port), clock)


class HttpFeed:
    """A server that takes an image file in the body of every POST, whatever its path.

    It answers 202 to all of them: whether the file can be decoded is found out later, and counted.

    Args:
        host: to listen on.
        port: to listen on; 0 for any that is free.
    """

    def __init__(self, host: str, port: int) -> None:
        self._address = (host, port)
        self.bound: Event = Event()
        """Set once `port` is known."""
        self.port = port

    def run(self, put: Put, stop: Event) -> None:
        """See `Feed.run`."""

        def start() -> HTTPServer:
            server = _Server(self._address, _handler(put))
            self.port = server.server_address[1]
            self.bound.set()
            return server

        serve(start, stop, where="{}:{}".format(*self._address))


class _Server(Forgiving, HTTPServer):
    pass


def _handler(put: Put) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        timeout = IDLE_SECONDS

        def do_POST(self) -> None:
            length = self.headers.get("Content-Length", "")
            if not length.isdecimal():
                self._answer(HTTPStatus.LENGTH_REQUIRED)
            elif int(length) > MAX_BYTES:
                self._answer(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
            else:
                put(FrameRef(f"{self.client_address[0]} {self.path}", self.rfile.read(int(length))))
                self._answer(HTTPStatus.ACCEPTED, close=False)

        def _answer(self, status: HTTPStatus, *, close: bool = True) -> None:
            self.close_connection = close
            self.send_response(status)
            self.send_header("Content-Length", "0")
            if close:
                self.send_header("Connection", "close")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Nothing: the log is for what matters."""

    return Handler
