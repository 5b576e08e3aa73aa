"""Socket servers that run until they are told to stop, whatever their clients do."""

from __future__ import annotations

import sys
from collections.abc import Callable
from socketserver import BaseServer, ThreadingMixIn
from threading import Event, Thread
from typing import Any

import structlog

from driftprint.errors import SourceError
from driftprint_edge.sources.live import POLL_SECONDS

IDLE_SECONDS = 60.0
"""A connection that says nothing for so long is closed."""


class Forgiving(ThreadingMixIn):
    """A thread for each connection; one that breaks off is a line in the log."""

    daemon_threads = True

    def handle_error(self, _request: Any, client_address: Any) -> None:
        """Called within the exception that ended a connection."""
        structlog.get_logger().info("connection broken off", client=str(client_address), what=repr(sys.exc_info()[1]))


def serve(start: Callable[[], BaseServer], stop: Event, *, where: str) -> None:
    """Serve until `stop` is set.

    Args:
        start: binds the server to its address.
        stop: ends it.
        where: the address, for the error.

    Raises:
        SourceError: where the address cannot be had.
    """
    try:
        server = start()
    except OSError as error:
        raise SourceError(f"cannot listen there ({error})", where=where) from None
    with server:
        thread = Thread(target=server.serve_forever, args=(POLL_SECONDS,), name="server", daemon=True)
        thread.start()
        stop.wait()
        server.shutdown()
        thread.join()
