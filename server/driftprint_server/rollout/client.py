"""Asks a server about rollouts, and for them, over HTTP: what ``driftprint rollout`` does all else with."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import IO, TypeVar
from urllib.parse import quote

import urllib3
from pydantic import BaseModel, JsonValue, ValidationError

from driftprint.bundle_files import Limits, read_files, zip_files
from driftprint.errors import BundleError, ConfigError, DriftprintError
from driftprint.tls import client_context
from driftprint.version import VERSION
from driftprint_server.rollout.views import BundleView, RolloutDetail, RolloutsView, RolloutView

TIMEOUT_SECONDS = 60.0
"""Without an answer."""

_MOST_TEXT = 300  # characters of an answer that is none of ours

_View = TypeVar("_View", bound=BaseModel)


class RefusedError(DriftprintError):
    """The server says no."""


class AwayError(DriftprintError):
    """The server cannot be reached, or cannot do it now."""

    retryable = True


class RolloutClient:
    """A server's rollouts.

    Redirects are not followed: a token goes to nobody else.

    Args:
        server: its address, as in ``https://driftprint.example:8466``.
        token: an operator's; None where the server asks for none.
        ca_file: the authority of its certificate; None for the system's.

    Raises:
        ConfigError: where the file holds no certificate.
    """

    def __init__(self, server: str, *, token: str | None = None, ca_file: Path | None = None) -> None:
        self._server = server.rstrip("/")
        self._headers = {"Accept": "application/json", "User-Agent": f"driftprint/{VERSION}"}
        if token is not None:
            self._headers["Authorization"] = f"Bearer {token}"
        context = client_context(ca_file, where="--ca-file")
        self._pool = urllib3.PoolManager(num_pools=1, retries=False, timeout=TIMEOUT_SECONDS, ssl_context=context)

    def all(self) -> RolloutsView:
        """All rollouts, the latest first.

        Raises:
            DriftprintError: as all methods here: `AwayError` where it may go well later, `RefusedError` where not.
        """
        return self._ask(RolloutsView, "GET", "/api/rollouts")

    def find(self, name: str | None) -> str:
        """A rollout's id.

        Args:
            name: the id itself, or a bundle, as in ``parts-2``: the latest rollout of it; None for the latest of all.
        """
        for rollout in self.all().rollouts:
            if name in (None, rollout.id, rollout.bundle):
                return rollout.id
        raise RefusedError(
            "there is no rollout" if name is None else f"there is no rollout {name}, and none of such a bundle",
            where=self._server,
            fix="driftprint rollout status lists all; a bundle is named with its version, as in parts-2",
        )

    def get(self, rollout_id: str) -> RolloutDetail:
        """A rollout with its streams and its history."""
        return self._ask(RolloutDetail, "GET", f"/api/rollouts/{quote(rollout_id, safe='')}")

    def start(self, order: Mapping[str, JsonValue]) -> RolloutView:
        """Begin one.

        Args:
            order: as `driftprint_server.rollout.api.StartBody`.
        """
        return self._ask(RolloutView, "POST", "/api/rollouts", json.dumps(dict(order)).encode())

    def act(self, rollout_id: str, action: str, **body: JsonValue) -> RolloutView:
        """``stop`` it, ``resume`` it or ``widen`` it."""
        path = f"/api/rollouts/{quote(rollout_id, safe='')}/{action}"
        return self._ask(RolloutView, "POST", path, json.dumps(body).encode())

    def upload(self, bundle: Path) -> BundleView:
        """Put a bundle into the server's folder.

        Args:
            bundle: a zip file, or a folder.

        Raises:
            BundleError: where it cannot be read.
        """
        if bundle.is_dir():
            return self._upload(zip_files(read_files(bundle, Limits())))
        try:
            with bundle.open("rb") as file:
                return self._upload(file, size=bundle.stat().st_size)
        except OSError as error:
            raise BundleError(f"cannot be read ({error.strerror})", where=str(bundle)) from None

    def _upload(self, contents: bytes | IO[bytes], *, size: int | None = None) -> BundleView:
        headers = {"Content-Type": "application/octet-stream"}
        if size is not None:
            headers["Content-Length"] = str(size)
        return self._ask(BundleView, "POST", "/api/bundles", contents, headers)

    def _ask(
        self,
        view: type[_View],
        method: str,
        path: str,
        body: bytes | IO[bytes] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> _View:
        kind = {} if body is None else {"Content-Type": "application/json"}
        try:
            answer = self._pool.request(
                method,
                self._server + path,
                body=body,
                headers={**self._headers, **kind, **(headers or {})},
                redirect=False,
            )
        except (urllib3.exceptions.LocationValueError, UnicodeError) as error:
            raise ConfigError(f"is no address of a server ({error})", where=self._server) from None
        except urllib3.exceptions.SSLError as error:
            raise RefusedError(
                f"its certificate is not trusted ({error})", where=self._server, fix="name its authority: --ca-file"
            ) from None
        except urllib3.exceptions.HTTPError as error:
            raise AwayError(f"cannot be reached ({error})", where=self._server) from None
        if not 200 <= answer.status < 300:
            raise self._refusal(answer.status, answer.data)
        try:
            return view.model_validate_json(answer.data)
        except ValidationError:
            raise RefusedError(
                f"answers {path} with what is no {view.__name__}",
                where=self._server,
                fix="is it a driftprint server, and of this version?",
            ) from None

    def _refusal(self, status: int, data: bytes) -> DriftprintError:
        said = _detail(data)
        if status >= 500 or status == 429:
            return AwayError(said or f"answers {status}", where=self._server)
        fix = None
        if status == 401:
            said, fix = "asks who you are", "give an operator's token: --token-file FILE, or DRIFTPRINT_TOKEN"
        elif status == 404 and said == "Not Found":
            said, fix = "has no rollouts", "name a folder of bundles in [rollout] of server.toml"
        return RefusedError(said or f"answers {status}", where=self._server, fix=fix)


def _detail(data: bytes) -> str:
    """What an answer says is wrong."""
    try:
        return str(json.loads(data)["detail"])
    except (ValueError, LookupError, TypeError):  # a proxy's, perhaps
        return data[:_MOST_TEXT].decode(errors="replace").strip()
