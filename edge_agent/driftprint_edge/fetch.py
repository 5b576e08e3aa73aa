"""Fetches a bundle over HTTP."""

from __future__ import annotations

import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from driftprint.bundle_files import GOLDEN, MANIFEST, MODEL, SIGNATURE, SUFFIX, Limits
from driftprint.errors import SourceError
from driftprint.tls import client_context

TIMEOUT_SECONDS = 30.0
"""Without a byte."""

_CHUNK = 256 * 1024

Open = Callable[[str], IO[bytes]]
"""Opens an address."""


def over_http(ca_file: Path | None) -> Open:
    """Opens ``http://`` and ``https://`` addresses.

    Args:
        ca_file: certificate authority of the server; None for the system's.

    Raises:
        ConfigError: where it cannot be read.
    """
    context = client_context(ca_file, where="bundles.ca_file")
    opener = urllib.request.build_opener(urllib.request.HTTPSHandler(context=context), urllib.request.HTTPHandler())

    def open_address(url: str) -> IO[bytes]:
        response: IO[bytes] = opener.open(url, timeout=TIMEOUT_SECONDS)
        return response

    return open_address


@contextmanager
def fetched(url: str, folder: Path, open_address: Open, *, go_on: Callable[[], bool]) -> Iterator[Path]:
    """Bring a bundle, as a zip file, into a folder. Nothing in it is looked at.

    Args:
        url: where it is.
        folder: made where it is missing.
        open_address: opens the address.
        go_on: whether it is still wanted.

    Yields:
        The whole file, to be moved to its place. What is left of it in the end is removed.

    Raises:
        SourceError: where it cannot be fetched, is larger than any bundle, or is not wanted any more.
    """
    part = folder / f"fetched{SUFFIX}"
    try:
        _bring(url, part, open_address, go_on)
        yield part
    finally:
        part.unlink(missing_ok=True)


def _bring(url: str, part: Path, open_address: Open, go_on: Callable[[], bool]) -> None:
    limits = Limits()
    most = sum(limits.of(name) for name in (MANIFEST, MODEL, GOLDEN, SIGNATURE))
    try:
        part.parent.mkdir(parents=True, exist_ok=True)
        with open_address(url) as response, part.open("wb") as file:
            while chunk := response.read(_CHUNK):
                if not go_on():
                    raise SourceError("is not wanted any more", where=url)
                file.write(chunk)
                if file.tell() > most:
                    raise SourceError(f"larger than {most} bytes", where=url)
    except (OSError, ValueError) as error:  # urllib's errors are OSErrors
        raise SourceError(f"cannot be fetched ({error})", where=url) from None
