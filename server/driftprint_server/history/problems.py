"""What a request gets that cannot be served: the right status, and a sentence."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import HTTPException, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute

from driftprint.errors import MissingExtraError, StoreError
from driftprint_server.history.views import Problem

_MEANINGS = {
    400: "The body cannot be read.",
    401: "Nobody is logged in.",
    403: "Whoever is logged in may look, not act.",
    404: "There is no such thing.",
    422: "The query or the body is wrong.",
    501: "This server lacks a package for it.",
    503: "The database is away; try again.",
}


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Statuses for a route's ``responses``. They are JSON even where the route's own answers are not."""
    content = {"application/json": {"schema": Problem.model_json_schema()}}
    return {status: {"description": _MEANINGS[status], "content": content} for status in statuses}


class ProblemRoute(APIRoute):
    """A route whose errors all have a sentence as their ``detail``."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The handler, with our errors made into answers."""
        handle = super().get_route_handler()

        async def handle_with_problems(request: Request) -> Response:
            try:
                return await handle(request)
            except RequestValidationError as error:
                raise HTTPException(422, _sentence(error)) from None
            except MissingExtraError as error:
                raise HTTPException(501, str(error)) from None
            except StoreError as error:
                raise HTTPException(503, f"{error.what}; try again") from None

        return handle_with_problems


def _sentence(error: RequestValidationError) -> str:
    first = error.errors()[0]
    place = ".".join(str(part) for part in first["loc"][1:]) or str(first["loc"][0])
    return f"{place}: {first['msg'].removeprefix('Value error, ')}"
