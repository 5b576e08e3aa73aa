"""Where devices fetch bundles: addresses that nobody can guess, so that no device needs a password of the server."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import secrets

from driftprint.bundle_files import SUFFIX
from driftprint_server.operators import OperatorStore
from driftprint_server.rollout.model import BundleId

PREFIX = "/bundles"
"""What is served under it asks for no log-in."""

_SCHEMA = "CREATE TABLE IF NOT EXISTS rollout_secret (secret BLOB NOT NULL)"


class BundleLinks:
    """Makes and checks addresses. They stay the same over restarts.

    Args:
        secret: known to nobody else.
        public_url: how devices reach the server.
    """

    def __init__(self, secret: bytes, public_url: str) -> None:
        self._secret = secret
        self._public_url = public_url.rstrip("/")

    def url(self, bundle: BundleId) -> str:
        """A bundle's address, whether it is there or not."""
        return f"{self._public_url}{PREFIX}/{self._token(bundle)}/{bundle}{SUFFIX}"

    def allows(self, token: str, bundle: BundleId) -> bool:
        """Whether a token is the bundle's."""
        return hmac.compare_digest(token.encode(), self._token(bundle).encode())

    def _token(self, bundle: BundleId) -> str:
        return hmac.new(self._secret, str(bundle).encode(), hashlib.sha256).hexdigest()[:40]


def kept_secret(store: OperatorStore) -> bytes:
    """The server's secret, made once.

    Raises:
        StoreError: where the disk refuses.
    """
    with store.transaction() as db:
        db.execute(_SCHEMA)
        row = db.execute("SELECT secret FROM rollout_secret").fetchone()
        if row is None:
            row = (secrets.token_bytes(32),)
            db.execute("INSERT INTO rollout_secret VALUES (?)", row)
    return bytes(row[0])


def reaches_devices(host: str) -> bool:
    """Whether a host that the server listens on is an address that other machines may reach it by.

    >>> [reaches_devices(host) for host in ("127.0.0.1", "::", "localhost", "10.0.0.7", "fleet.example")]
    [False, False, False, True, True]
    """
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host != "localhost"
    return not (address.is_loopback or address.is_unspecified)


def default_public_url(host: str, port: int, *, tls: bool = False) -> str:
    """The address that the server listens on, for want of a better one.

    >>> default_public_url("::1", 8466)
    'http://[::1]:8466'
    """
    return f"{'https' if tls else 'http'}://{f'[{host}]' if ':' in host else host}:{port}"
