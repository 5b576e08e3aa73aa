"""What a query may ask with."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

from fastapi import Depends, Path, Query

from driftprint.messages import AlertStatus
from driftprint.topics import Id
from driftprint_server.history.queries import Filters

_YEAR_9999 = 253_402_300_799.0

Time = Annotated[float, Query(ge=0, le=_YEAR_9999, allow_inf_nan=False, description="Unix time in seconds")]
Name = Annotated[Id, Query()]
AlertId = Annotated[str, Path(pattern=r"^[0-9a-f]{32}$", description="32 hexadecimal digits")]


def window_filters(
    site: Name | None = None,
    device: Name | None = None,
    stream: Name | None = None,
    start: Time | None = None,
    end: Time | None = None,
) -> Filters:
    """Which windows are asked for."""
    return Filters(site, device, stream, start, end)


WindowFilters = Annotated[Filters, Depends(window_filters)]


def alert_filters(
    asked: WindowFilters, status: Annotated[list[AlertStatus] | None, Query(max_length=3)] = None
) -> Filters:
    """Which alerts are asked for."""
    return replace(asked, statuses=tuple(status or ()))


AlertFilters = Annotated[Filters, Depends(alert_filters)]
