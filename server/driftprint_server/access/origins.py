"""Which names a browser may call us by, and which sites may make it do something."""

from __future__ import annotations

from collections.abc import Collection
from urllib.parse import urlsplit

from starlette.datastructures import Headers

from driftprint_server.access.settings import is_loopback


def host_of(header: str) -> str:
    """The name in a Host header, without its port.

    >>> host_of("Fleet.example:8466"), host_of("[::1]:8466")
    ('fleet.example', '::1')
    """
    try:
        return (urlsplit(f"//{header}").hostname or "").rstrip(".")
    except ValueError:
        return ""


def is_ours(header: str, *, login: bool, allowed: Collection[str]) -> bool:
    """Whether a Host header names this server.

    Without a login a page of a stranger could have its own name lead to 127.0.0.1 and read what the browser can reach
    (DNS rebinding), so there it must be a name of the loopback, or an allowed one. With a login that page has no
    session, since cookies belong to a name.

    Args:
        header: of the request.
        login: whether there is a login.
        allowed: names without port; empty allows any where there is a login.
    """
    host = host_of(header)
    if is_loopback(host) or host in {name.lower() for name in allowed}:
        return True
    return login and not allowed


def is_from_elsewhere(headers: Headers, *, allowed: Collection[str]) -> bool:
    """Whether another site's page made the browser send this.

    Programs send neither header and are not browsers. See OWASP's Cross-Site Request Forgery Prevention Cheat Sheet,
    "Fetch Metadata" and "Standard Headers".
    """
    if headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
        return True
    origin = headers.get("origin")
    if origin is None:
        return False
    try:
        place = urlsplit(origin)
    except ValueError:
        return True
    if place.netloc and place.netloc.lower() == headers.get("host", "").lower():
        return False
    # A proxy may not hand on the name it is called by.
    return place.hostname not in {name.lower() for name in allowed}


def safe_path(wanted: str) -> str:
    """Where to go after log-in: a path on this server, or the start page where `wanted` is anything else.

    >>> safe_path("/?site=north"), safe_path("//evil.example"), safe_path("https://evil.example")
    ('/?site=north', '/', '/')
    """
    # Browsers take a backslash for a slash, and drop tabs and line ends.
    bad = not wanted.startswith("/") or wanted[1:2] in ("/", "\\") or any(ord(sign) < 32 for sign in wanted)
    return "/" if bad else wanted
