"""A replica over HTTP: ``/metrics`` and ``/healthz``."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from fastapi import FastAPI

from driftprint.version import VERSION
from driftprint_server.headers import SecurityHeaders
from driftprint_server.web import add_metrics_and_health


def make_replica_app(*, metrics: Callable[[], Iterator[bytes]], problems: Callable[[], list[str]]) -> FastAPI:
    """The application.

    Args:
        metrics: what ``/metrics`` shows, in the text format.
        problems: what keeps the replica from its work; empty where all is well.
    """
    app = FastAPI(title="driftprint replica", version=VERSION, docs_url=None, redoc_url=None)
    app.add_middleware(SecurityHeaders)
    add_metrics_and_health(app, metrics=metrics, problems=problems)
    return app
