"""TLS towards those that we connect to."""

from __future__ import annotations

import ssl
from pathlib import Path

from driftprint.errors import ConfigError


def client_context(
    ca_file: Path | None, cert_file: Path | None = None, key_file: Path | None = None, *, where: str
) -> ssl.SSLContext:
    """Trusts an authority, and shows our certificate to those that ask for one.

    Args:
        ca_file: the authority; None for those of the system.
        cert_file: our certificate, if any.
        key_file: its key.
        where: the setting, for the error.

    Raises:
        ConfigError: where a file cannot be read.
    """
    try:
        context = ssl.create_default_context(cafile=ca_file)
        if cert_file is not None:
            context.load_cert_chain(cert_file, key_file)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(f"cannot load the TLS certificates: {error}", where=where) from None
    return context
