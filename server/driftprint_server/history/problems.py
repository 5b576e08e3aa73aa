"""What a request gets that cannot be served: the right status, and a sentence."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import HTTPException, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute

from driftprint.errors import MissingExtraError, StoreError


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
