"""One request after another to a remote-write receiver, over a connection that is kept."""

from __future__ import annotations

from collections.abc import Callable
from http import HTTPStatus
from random import Random

import structlog
import urllib3

from driftprint.clock import Clock
from driftprint.errors import StoreError
from driftprint.logs import is_news
from driftprint.tls import client_context
from driftprint.version import VERSION
from driftprint_server.remote_write.counts import UNREACHABLE, WriteCounts
from driftprint_server.remote_write.settings import RemoteWriteSettings
from driftprint_server.remote_write.wire import NOTHING
from driftprint_server.retry_after import retry_after

FIRST_RETRY_SECONDS = 0.1
LONGEST_RETRY_SECONDS = 30.0
_MOST_TEXT = 300  # characters of an answer

_SAMPLES_REFUSED = frozenset((400, 409, 413, 422))
"""Said of the samples: by Prometheus and Mimir, by Thanos, of their size, by Mimir again; see `Sender.check`. Any other
refusal is said of us (a wrong address, token or tenant), and samples must not be lost for it."""
_TOO_OLD = "too old sample"
"""Of samples beyond its out-of-order window Prometheus 2.42 says so with status 500."""
_WRONG_ADDRESS = "nothing takes remote write there: see to the path of url, and whether it begins with http or https"


class RefusedError(Exception):
    """The receiver will not take these samples, however often it is asked.

    Args:
        status: of HTTP.
        text: what it said.
    """

    def __init__(self, status: int, text: str) -> None:
        super().__init__(f"{status}: {text}")
        self.status = status
        self.text = text


class Sender:
    """Sends requests and tries again where that can help: no answer, 429 and 5xx, by the specification.

    A receiver that stays away is tried ever more rarely, down to every `LONGEST_RETRY_SECONDS`; in between requests
    fail at once. So whoever writes is held up for `give_up_after_seconds` once, not for each request.

    Args:
        settings: where to.
        counts: counts requests.
        clock: times them.
        wait: sleeps for so many seconds; returns True at once where we are to stop.
        random: scatters attempts, lest all replicas come back in one moment.

    Raises:
        ConfigError: where a certificate file cannot be read.
    """

    def __init__(
        self,
        settings: RemoteWriteSettings,
        *,
        counts: WriteCounts,
        clock: Clock,
        wait: Callable[[float], bool],
        random: Random | None = None,
    ) -> None:
        self._settings = settings
        self._counts = counts
        self._clock = clock
        self._wait = wait
        self._random = random or Random()
        self._headers = _headers(settings)
        self._pool = urllib3.PoolManager(
            num_pools=1,
            retries=False,
            timeout=settings.timeout_seconds,
            ssl_context=client_context(settings.ca_file, settings.cert_file, settings.key_file, where="remote_write"),
        )
        self._failures = 0
        self._next_at = float("-inf")
        self._problem = ""
        self._log = structlog.get_logger().bind(url=settings.url)

    @property
    def problem(self) -> str | None:
        """Why the last request failed; None where it did not."""
        return str(self._error()) if self._problem else None

    def send(self, body: bytes) -> None:
        """Send a request.

        Args:
            body: as `wire.compress` makes it.

        Raises:
            RefusedError: where the receiver will never take it.
            StoreError: where it does not take it now.
        """
        begin = self._clock.now().monotonic
        if self._next_at > begin:
            raise self._error()
        while not self._try(body):
            now = self._clock.now().monotonic
            if self._next_at > begin + self._settings.give_up_after_seconds or self._wait(self._next_at - now):
                raise self._error()

    def check(self) -> None:
        """After a refusal, make sure that it was said of the samples, by a request without any.

        VictoriaMetrics answers 400 at any wrong path, and so does a server that speaks HTTPS to one who does not. What
        takes remote write takes such a request.

        Raises:
            StoreError: where that is refused as well, or not taken now.
        """
        self.send(NOTHING)

    def close(self) -> None:
        """Close the connection."""
        self._pool.clear()

    def _try(self, body: bytes) -> bool:
        """Whether the receiver has taken it; where not, trying again at `_next_at` may help."""
        begin = self._clock.now().monotonic
        try:
            answer = self._pool.request(
                "POST", self._settings.url, body=body, headers=self._headers, redirect=False, retries=False
            )
        except urllib3.exceptions.HTTPError as error:
            self._failed(UNREACHABLE, begin, str(error))
            return False
        status, text = answer.status, answer.data[:_MOST_TEXT].decode(errors="replace").strip()
        if 200 <= status < 300:
            self._took(status, begin)
            return True
        what = f"answers {status} {text}".strip()
        if status in _SAMPLES_REFUSED or (status >= 500 and _TOO_OLD in text):
            if body != NOTHING:
                if is_news(total := self._counts.request(str(status), self._clock.now().monotonic - begin)):
                    self._log.warning("samples refused", status=status, what=text, total=total)
                raise RefusedError(status, text)
            what += f"; {_WRONG_ADDRESS}"
        self._failed(str(status), begin, what, answer.headers.get("Retry-After"))
        if status == HTTPStatus.TOO_MANY_REQUESTS or status >= 500:
            return False
        raise self._error()

    def _took(self, status: int, begin: float) -> None:
        if self._problem:
            self._log.info("the target answers again")
        self._failures, self._problem = 0, ""
        self._counts.request(str(status), self._clock.now().monotonic - begin)

    def _failed(self, status: str, begin: float, what: str, retry_after_header: str | None = None) -> None:
        now = self._clock.now()
        total = self._counts.request(status, now.monotonic - begin)
        backoff = min(FIRST_RETRY_SECONDS * 2 ** min(self._failures, 20), LONGEST_RETRY_SECONDS)
        asked = retry_after(retry_after_header, now=now.wall, most=LONGEST_RETRY_SECONDS)
        self._next_at = now.monotonic + max(backoff * self._random.uniform(0.5, 1.0), asked)
        self._failures += 1
        begins, self._problem = not self._problem, what
        if begins or is_news(total):
            self._log.error("samples are not taken", status=status, what=what, total=total)

    def _error(self) -> StoreError:
        return StoreError(self._problem, where=self._settings.url)


def _headers(settings: RemoteWriteSettings) -> dict[str, str]:
    headers = {name: value.get_secret_value() for name, value in settings.headers.items()}
    if settings.username is not None and settings.password is not None:
        login = f"{settings.username}:{settings.password.get_secret_value()}"
        headers |= urllib3.make_headers(basic_auth=login)
    if settings.bearer_token is not None:
        headers["Authorization"] = f"Bearer {settings.bearer_token.get_secret_value()}"
    return headers | {
        "Content-Encoding": "snappy",
        "Content-Type": "application/x-protobuf",
        "User-Agent": f"driftprint/{VERSION}",
        "X-Prometheus-Remote-Write-Version": "0.1.0",  # the specification's 1.0 calls itself so
    }
