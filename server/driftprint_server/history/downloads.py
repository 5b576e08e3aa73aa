"""The history as files: ``windows.csv``, ``windows.parquet``, ``alerts.csv``, ``alerts.parquet``."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain

from fastapi import APIRouter
from fastapi.responses import StreamingResponse

from driftprint_server.history.database import Database
from driftprint_server.history.export import export_alerts, export_windows
from driftprint_server.history.formats import as_csv, as_parquet
from driftprint_server.history.parameters import AlertFilters, WindowFilters
from driftprint_server.refusals import refusals


class _Csv(StreamingResponse):
    media_type = "text/csv"


class _Parquet(StreamingResponse):
    media_type = "application/vnd.apache.parquet"


def add_downloads(router: APIRouter, database: Database) -> None:
    """Add the routes, which read from `database`."""

    @router.get("/api/history/windows.csv", response_class=_Csv)
    def windows_csv(asked: WindowFilters) -> _Csv:
        """Windows as CSV, with a line of names at the top."""
        return _Csv(_begun(as_csv(export_windows(database, asked))), headers=_as_file("windows.csv"))

    @router.get("/api/history/windows.parquet", response_class=_Parquet, responses=refusals(501))
    def windows_parquet(asked: WindowFilters) -> _Parquet:
        """Windows as a Parquet file."""
        return _Parquet(_begun(as_parquet(export_windows(database, asked))), headers=_as_file("windows.parquet"))

    @router.get("/api/history/alerts.csv", response_class=_Csv)
    def alerts_csv(asked: AlertFilters) -> _Csv:
        """Alerts that were raised at any time between start and end, as CSV with a line of names at the top."""
        return _Csv(_begun(as_csv(export_alerts(database, asked))), headers=_as_file("alerts.csv"))

    @router.get("/api/history/alerts.parquet", response_class=_Parquet, responses=refusals(501))
    def alerts_parquet(asked: AlertFilters) -> _Parquet:
        """Alerts that were raised at any time between start and end, as a Parquet file."""
        return _Parquet(_begun(as_parquet(export_alerts(database, asked))), headers=_as_file("alerts.parquet"))


def _begun(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """The same, with the first rows at hand: what fails by then is an answer of its own, not half a file."""
    first = [chunk for _, chunk in zip(range(2), chunks)]  # noqa: B905 (there may be fewer)
    return chain(first, chunks)


def _as_file(name: str) -> dict[str, str]:
    return {"Content-Disposition": f'attachment; filename="driftprint-{name}"', "X-Content-Type-Options": "nosniff"}
