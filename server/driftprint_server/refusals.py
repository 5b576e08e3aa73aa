"""What an application answers to a request that it does not serve."""

from __future__ import annotations

import json
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel

from driftprint.errors import StoreError

_MEANINGS = {
    400: "The body cannot be read.",
    401: "Nobody is logged in.",
    403: "Whoever is logged in may look, not act; or another site's page has sent this.",
    404: "There is no such thing.",
    409: "It cannot be done as things stand.",
    413: "It is too large.",
    421: "The server is not called by this name.",
    422: "The query or the body is wrong.",
    429: "A name and password have been tried too often.",
    501: "This server lacks a package for it.",
    503: "The disk refuses, or the database is away; try again.",
}


class Refusal(BaseModel):
    """Why a request was not served."""

    detail: str | list[dict[str, Any]]
    """A sentence; or what is wrong with which field."""


def refusals(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Statuses for the ``responses`` of a route or router. They are JSON even where the route's own answers are not."""
    content = {"application/json": {"schema": Refusal.model_json_schema()}}
    return {status: {"description": _MEANINGS[status], "content": content} for status in statuses}


def add_refusals(app: FastAPI) -> None:
    """Have `app` answer 422 without saying what was sent, which may be a password, and 503 where the disk refuses."""
    app.add_exception_handler(RequestValidationError, _not_valid)
    app.add_exception_handler(StoreError, _not_kept)


def _not_valid(_: Request, error: Exception) -> Response:
    complaints = error.errors() if isinstance(error, RequestValidationError) else []
    return _answer(422, [{name: one[name] for name in ("type", "loc", "msg")} for one in complaints])


def _not_kept(_: Request, error: Exception) -> Response:
    return _answer(503, str(error), {"Retry-After": "5"})


def _answer(status: int, detail: object, headers: dict[str, str] | None = None) -> Response:
    # In ASCII: a field's name may hold half a surrogate pair, which is no UTF-8.
    text = json.dumps({"detail": detail})
    return Response(text, status_code=status, headers=headers, media_type="application/json")
