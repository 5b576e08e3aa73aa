"""One HTTP request to a receiver."""

from __future__ import annotations

import http.client
import math
import ssl
import urllib.error
import urllib.request
from dataclasses import dataclass
from datetime import datetime, timezone

from standardwebhooks.webhooks import Webhook

from driftprint.tls import client_context
from driftprint.version import VERSION
from driftprint_server.retry_after import retry_after
from driftprint_server.webhooks.counts import Failure
from driftprint_server.webhooks.settings import WebhookSettings

MOST_RETRY_AFTER_SECONDS = 3600.0

_GONE = 410
_BUSY = frozenset({429, 502, 503, 504})


@dataclass(frozen=True, slots=True)
class Answer:
    """How an attempt ended.

    Attributes:
        failure: why it failed; None: delivered.
        detail: for the log.
        away: whether other messages would fail as well, now.
        gone: whether the receiver wants no more, ever.
        retry_after: seconds to wait at least, as the receiver says.
    """

    failure: Failure | None = None
    detail: str = ""
    away: bool = False
    gone: bool = False
    retry_after: float = 0.0


class Receiver:
    """Somebody who is told of alerts, as a webhook's settings say.

    Redirects are not followed: what is posted stays with whom it was meant for. A proxy is used where the environment
    names one, as in ``https_proxy``.

    Args:
        settings: of the webhook.

    Raises:
        ConfigError: where the authority's file cannot be used.
    """

    def __init__(self, settings: WebhookSettings) -> None:
        self._settings = settings
        self._signer = Webhook(settings.secret.get_secret_value()) if settings.secret else None
        context = client_context(settings.ca_file, where=f"webhook.{settings.name}.ca_file")
        # The usual opener would follow redirects, and open files.
        self._opener = urllib.request.OpenerDirector()
        for handler in (
            urllib.request.ProxyHandler(),
            urllib.request.HTTPHandler(),
            urllib.request.HTTPSHandler(context=context),
            urllib.request.HTTPDefaultErrorHandler(),
            urllib.request.HTTPErrorProcessor(),
        ):
            self._opener.add_handler(handler)

    def post(self, message: str, payload: bytes, *, now: float) -> Answer:
        """Send once.

        Args:
            message: its id.
            payload: JSON in UTF-8.
            now: Unix time in seconds, part of what is signed.
        """
        request = urllib.request.Request(
            self._settings.url.get_secret_value(), payload, self._headers(message, payload, now), method="POST"
        )
        try:
            with self._opener.open(request, timeout=self._settings.timeout_seconds):
                return Answer()
        except urllib.error.HTTPError as error:
            with error:
                return _answer(error.code, error.headers.get("Retry-After"), now)
        except urllib.error.URLError as error:
            return _lost(error.reason)
        except (OSError, UnicodeError, http.client.HTTPException) as error:
            return _lost(error)

    def _headers(self, message: str, payload: bytes, now: float) -> dict[str, str]:
        """With the three of Standard Webhooks 1.0 (https://www.standardwebhooks.com)."""
        headers = {name: value.get_secret_value() for name, value in self._settings.headers.items()}
        headers |= {"Content-Type": "application/json", "User-Agent": f"driftprint/{VERSION}", "webhook-id": message}
        headers["webhook-timestamp"] = str(math.floor(now))
        if self._signer is not None:
            at = datetime.fromtimestamp(math.floor(now), timezone.utc)
            headers["webhook-signature"] = self._signer.sign(message, at, payload.decode())
        return headers


def _answer(status: int, asked: str | None, now: float) -> Answer:
    """What a status other than 2xx means, and a header ``Retry-After``."""
    failure = Failure.BROKEN if status >= 500 else Failure.REFUSED if status >= 400 else Failure.REDIRECT
    return Answer(
        failure,
        f"status {status}",
        away=status in _BUSY,
        gone=status == _GONE,
        retry_after=retry_after(asked, now=now, most=MOST_RETRY_AFTER_SECONDS),
    )


def _lost(error: object) -> Answer:
    """What it means that there was no answer."""
    if isinstance(error, TimeoutError):
        failure = Failure.TIMEOUT
    elif isinstance(error, ssl.SSLError):
        failure = Failure.TLS
    elif isinstance(error, http.client.HTTPException) and not isinstance(error, OSError):  # as a lost connection is
        failure = Failure.BROKEN
    else:
        failure = Failure.UNREACHABLE
    return Answer(failure, str(error), away=True)
