"""What an application answers to a request that is wrong, or that the disk refuses."""

from __future__ import annotations

import json

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError

from driftprint.errors import StoreError


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
