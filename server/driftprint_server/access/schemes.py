"""How a request may say who sends it, as the OpenAPI document has it. `AccessControl` is what reads them."""

from __future__ import annotations

from fastapi.security import APIKeyCookie, HTTPBearer

COOKIE = "driftprint_session"
"""The session's; over TLS its name has the prefix ``__Host-``."""

TOKEN = HTTPBearer(
    scheme_name="token",
    description="A token for a program: `driftprint users token add NAME`.",
    auto_error=False,
)
SESSION = APIKeyCookie(
    name=COOKIE,
    scheme_name="session",
    description=f"Set by `POST /api/session`; over TLS it is called `__Host-{COOKIE}`. Whatever is not GET takes "
    "the header `X-CSRF-Token`, too, with what `GET /api/session` says.",
    auto_error=False,
)
