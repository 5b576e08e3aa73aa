"""What an application answers to a request that it does not serve: a status and a sentence, whatever the reason."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel

from driftprint.errors import MissingExtraError, StoreError

_MEANINGS = {
    400: "The body cannot be read.",
    401: "Nobody is logged in.",
    403: "Whoever is logged in may look, not act; or another site's page has sent this.",
    404: "There is no such thing.",
    409: "It cannot be done as things stand.",
    413: "It is too large.",
    421: "The server is not called by this name.",
    422: "The path, the query or the body is wrong.",
    429: "A name and password have been tried too often.",
    501: "This server lacks a package for it.",
    503: "The disk refuses, or the database is away; try again.",
}
_JSON_WANTED = "send the body as JSON, with the header Content-Type: application/json"
_AGAIN_SECONDS = 5
_MOST_COMPLAINTS = 3


class Refusal(BaseModel):
    """Why a request was not served."""

    detail: str
    """What is wrong, and what to do about it."""


def refusals(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Statuses for the ``responses`` of a route or router. They are JSON even where the route's own answers are not."""
    content = {"application/json": {"schema": Refusal.model_json_schema()}}
    return {status: {"description": _MEANINGS[status], "content": content} for status in statuses}


ANYWHERE = refusals(400, 401, 403, 421, 422, 429, 503)
"""What a route need not say of itself: it comes of what stands before all routes, or of what all of them share."""


def add_refusals(app: FastAPI) -> None:
    """Have `app` answer 422 without saying what was sent, which may be a password; 503 where the disk refuses; and 501
    where a package is missing.
    """
    app.add_exception_handler(RequestValidationError, _not_valid)
    app.add_exception_handler(StoreError, _not_kept)
    app.add_exception_handler(MissingExtraError, _not_installed)


def refuse(status: int, detail: str, headers: Mapping[str, str] | None = None) -> Response:
    """A refusal."""
    # In ASCII: a field's name may hold half a surrogate pair, which is no UTF-8.
    text = json.dumps({"detail": detail})
    return Response(text, status_code=status, headers=headers, media_type="application/json")


def not_kept(error: StoreError) -> Response:
    """The refusal of a disk or a database."""
    return refuse(503, f"{error}; try again", {"Retry-After": str(_AGAIN_SECONDS)})


def _not_valid(_: Request, error: Exception) -> Response:
    return refuse(422, _sentence(error.errors() if isinstance(error, RequestValidationError) else []))


def _not_kept(_: Request, error: Exception) -> Response:
    return not_kept(error if isinstance(error, StoreError) else StoreError(str(error)))


def _not_installed(_: Request, error: Exception) -> Response:
    return refuse(501, str(error))


def _sentence(complaints: Sequence[Mapping[str, Any]]) -> str:
    told = [_complaint(one) for one in complaints[:_MOST_COMPLAINTS]]
    if more := len(complaints) - len(told):
        told.append(f"and {more} more")
    return "; ".join(told)


def _complaint(one: Mapping[str, Any]) -> str:
    """What is wrong with a field, which is named; or with a body as a whole."""
    source, *field = one["loc"]
    said = str(one["msg"]).removeprefix("Value error, ")
    if one["type"] == "json_invalid":
        return f"the body is no JSON: {one['ctx']['error']}, at character {field[0]}"
    if field:
        return f"{'.'.join(map(str, field))}: {said}"
    if one["type"] == "value_error":
        return said
    # What came without a name of JSON is bytes to FastAPI.
    return _JSON_WANTED if one["type"] == "missing" or isinstance(one["input"], bytes) else f"{source}: {said}"
