"""Lets nobody past who may not: stands before every route."""

from __future__ import annotations

import asyncio
import hmac
from urllib.parse import quote

from starlette.datastructures import Headers
from starlette.requests import HTTPConnection
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from driftprint.errors import StoreError
from driftprint_server.access.doorkeeper import TooManyError
from driftprint_server.access.gate import Gate, Means, Sender
from driftprint_server.access.identity import ASK_FOR_TOKEN, LOG_IN
from driftprint_server.access.origins import is_from_elsewhere, is_ours
from driftprint_server.access.sessions import csrf_token
from driftprint_server.refusals import not_kept, refuse
from driftprint_server.rollout.links import PREFIX

CHECK_SECONDS = 10.0

MOST_LOGIN_BYTES = 16 * 1024
"""A stranger may send no more than this."""

_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
_SESSION = "/api/session"

# Goes to the same address again, now from a page of ours.
_AGAIN = '<!doctype html><meta charset="utf-8"><meta http-equiv="refresh" content="0"><title>driftprint</title>'


class _EndedError(OSError):
    """A response was ended before the application was done with it."""


class AccessControl:
    """Asks for at least a viewer, and for an operator where something is changed; says who it is to `app`.

    Without a session a page leads to ``/login``, and all else is refused with a sentence in ``detail``. Sets
    ``request.state.identity`` and ``request.state.sender``.

    Args:
        app: what is protected.
        gate: knows everybody.
        check_seconds: a stream of events is looked at this often, when it next sends something: who has been logged
            out meanwhile is sent no more.
    """

    def __init__(self, app: ASGIApp, *, gate: Gate, check_seconds: float = CHECK_SECONDS) -> None:
        self._app = app
        self._gate = gate
        self._check_seconds = check_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] == "websocket":  # we have none
            await send({"type": "websocket.close", "code": 1008})
            return
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        connection = HTTPConnection(scope)
        try:
            sender, refusal = await self._judge(scope, connection)
            if refusal is None and sender is None and scope["method"] == "POST":
                receive = await _within_limit(receive)
        except StoreError as error:
            refusal = not_kept(error)
        except _TooLargeError:
            refusal = refuse(413, f"more than {MOST_LOGIN_BYTES} bytes")
        if refusal is not None:
            await refusal(scope, receive, send)
            return
        state = scope.setdefault("state", {})
        state["sender"] = sender
        state["identity"] = sender.identity if sender else None
        if sender is None or sender.means is Means.OPEN:
            await self._app(scope, receive, send)
        else:
            await self._while_welcome(scope, receive, send, connection, sender)

    async def _judge(self, scope: Scope, connection: HTTPConnection) -> tuple[Sender | None, Response | None]:
        """Who it is, and why not, if not."""
        headers, settings = connection.headers, self._gate.settings
        path, safe = scope["path"], scope["method"] in _SAFE
        # Devices may call the server otherwise than browsers do, and nobody guesses a bundle's address.
        if path == "/healthz" or (path.startswith(f"{PREFIX}/") and scope["method"] == "GET"):
            return None, None
        if not is_ours(headers.get("host", ""), login=settings.login, allowed=settings.allowed_hosts):
            return None, refuse(421, "this server is not called so; add the name to allowed_hosts in [access]")
        if not safe and is_from_elsewhere(headers, allowed=settings.allowed_hosts):
            said = (
                "sent by a page of another site; a proxy must hand on the Host header, or allowed_hosts name its host"
            )
            return None, refuse(403, said)
        if self._is_open(path, scope["method"]) and path != "/login":
            return None, None
        try:
            sender = await self._gate.sender(connection)
        except TooManyError as error:
            return None, too_many(error)
        if sender is None:
            return None, None if self._is_open(path, scope["method"]) else _unknown(scope, headers)
        return sender, self._objection(path, headers, safe=safe, sender=sender)

    def _objection(self, path: str, headers: Headers, *, safe: bool, sender: Sender) -> Response | None:
        """Why somebody we know may not change anything."""
        if safe:
            return None
        if sender.means is Means.BASIC:
            # A browser sends it by itself, whichever site makes it.
            return refuse(403, "a name and password are for reading; to act send Authorization: Bearer TOKEN")
        if sender.means is Means.SESSION:
            given = headers.get("x-csrf-token", "").encode()
            if not hmac.compare_digest(given, csrf_token(sender.secret).encode()):
                return refuse(403, f"the header X-CSRF-Token must be what GET {_SESSION} says")
        if path != _SESSION and (objection := sender.identity.may_not_act):
            return refuse(403, objection)
        return None

    def _is_open(self, path: str, method: str) -> bool:
        """Whether a request is for everybody to make."""
        if path == _SESSION:
            return method == "POST"
        safe = method in _SAFE
        if path in ("/metrics", "/metrics/fleet"):
            return safe and self._gate.settings.metrics == "open"
        return safe and (path == "/login" or path.startswith("/static/"))

    async def _while_welcome(
        self, scope: Scope, receive: Receive, send: Send, connection: HTTPConnection, sender: Sender
    ) -> None:
        """Serve, and end a stream of events that goes on for longer than its reader may read it."""
        loop = asyncio.get_running_loop()
        checked_at = loop.time()
        endless = ended = False

        async def send_while_welcome(message: Message) -> None:
            nonlocal checked_at, endless, ended
            if message["type"] == "http.response.start":
                endless = Headers(raw=message["headers"]).get("content-type", "").startswith("text/event-stream")
            elif endless and loop.time() - checked_at >= self._check_seconds:
                checked_at = loop.time()
                if not await self._still_welcome(connection, sender):
                    ended = True
                    await send({"type": "http.response.body", "body": b"", "more_body": False})
                    raise _EndedError
            await send(message)

        try:
            await self._app(scope, receive, send_while_welcome)
        except Exception:
            if not ended:
                raise

    async def _still_welcome(self, connection: HTTPConnection, sender: Sender) -> bool:
        try:
            current = await self._gate.sender(connection)
        except (TooManyError, StoreError):
            return True  # not known; the next look will tell
        return current is not None and current.identity == sender.identity


class _TooLargeError(Exception):
    pass


async def _within_limit(receive: Receive) -> Receive:
    """The same body, read already: no more of it than a stranger may send.

    Raises:
        _TooLargeError: where there is more.
    """
    body, more = b"", True
    while more:
        message = await receive()
        if message["type"] != "http.request":
            break
        body += message.get("body", b"")
        more = message.get("more_body", False)
        if len(body) > MOST_LOGIN_BYTES:
            raise _TooLargeError
    replayed = False

    async def replay() -> Message:
        nonlocal replayed
        if replayed:
            return await receive()
        replayed = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replay


def _unknown(scope: Scope, headers: Headers) -> Response:
    """What somebody is told whom we do not know."""
    path = scope["path"]
    if path.startswith("/metrics"):
        said = "send a token, or a name and password, as Prometheus does with basic_auth or authorization"
        return refuse(401, said, {"WWW-Authenticate": 'Basic realm="driftprint"'})
    if scope["method"] != "GET" or path.startswith("/api/") or "text/html" not in headers.get("accept", ""):
        return refuse(401, LOG_IN, ASK_FOR_TOKEN)
    if headers.get("sec-fetch-site") in ("cross-site", "same-site"):
        # By a link from elsewhere a browser sends no SameSite=Strict cookie, though it may have one.
        return HTMLResponse(_AGAIN)
    query = scope.get("query_string", b"").decode("latin-1")
    wanted = f"{path}?{query}" if query else path
    return RedirectResponse("/login" if wanted == "/" else f"/login?next={quote(wanted, safe='')}", 303)


def too_many(error: TooManyError) -> Response:
    """What somebody is told who tries too often."""
    said = f"too many attempts; try again in {error.seconds} s"
    return refuse(429, said, {"Retry-After": str(error.seconds)})
