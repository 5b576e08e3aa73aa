"""Fetches a bundle over HTTP."""

from __future__ import annotations

import ssl
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import IO

from driftprint.bundle_files import GOLDEN, MANIFEST, MODEL, SIGNATURE, SUFFIX, Limits
from driftprint.errors import SourceError

TIMEOUT_SECONDS = 30.0
"""Without a byte."""

_CHUNK = 256 * 1024

Open = Callable[[str], IO[bytes]]
"""Opens an address."""


def over_http(ca_file: Path | None) -> Open:
    """Opens ``http://`` and ``https://`` addresses.

    Args:
        ca_file: certificate authority of the server; None for the system's.
    """
    context = ssl.create_default_context(cafile=None if ca_file is None else str(ca_file))
    opener = urllib.request.build_opener(urllib.request.HTTPSHandler(context=context), urllib.request.HTTPHandler())

    def open_address(url: str) -> IO[bytes]:
        response: IO[bytes] = opener.open(url, timeout=TIMEOUT_SECONDS)
        return response

    return open_address


def fetch(url: str, folder: Path, bundle_id: str, open_address: Open) -> Path:
    """Bring a bundle, as a zip file, into a folder. Nothing in it is looked at.

    Args:
        url: where it is.
        folder: made where it is missing.
        bundle_id: what to call it.
        open_address: opens the address.

    Returns:
        The file. It is there as a whole or not at all.

    Raises:
        SourceError: where it cannot be fetched, or is larger than any bundle.
    """
    limits = Limits()
    most = sum(limits.of(name) for name in (MANIFEST, MODEL, GOLDEN, SIGNATURE))
    path = folder / f"{bundle_id}{SUFFIX}"
    part = path.with_name(f"{path.name}.part")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with open_address(url) as response, part.open("wb") as file:
            while chunk := response.read(_CHUNK):
                file.write(chunk)
                if file.tell() > most:
                    raise SourceError(f"larger than {most} bytes", where=url)
        part.replace(path)
    except (OSError, ValueError) as error:  # urllib's errors are OSErrors
        raise SourceError(f"cannot be fetched ({error})", where=url) from None
    finally:
        part.unlink(missing_ok=True)
    return path
