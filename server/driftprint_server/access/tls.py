"""TLS for the page, the API and the metrics."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Any

from driftprint.errors import ConfigError

_MAKE_ONE = "`driftprint certificates broker HOST` makes one, with its key"


class ServerTls:
    """A certificate with its key, read again when it has been renewed.

    TLS 1.2 is the oldest version spoken.

    Args:
        cert_file: the certificate, then those of the authorities between, as PEM.
        key_file: its key, as PEM without a passphrase.

    Raises:
        ConfigError: where they cannot be used.
    """

    def __init__(self, cert_file: Path, key_file: Path) -> None:
        self._cert_file = cert_file
        self._key_file = key_file
        self._context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self._context.minimum_version = ssl.TLSVersion.TLSv1_2
        self._context.set_alpn_protocols(["http/1.1"])
        self._state = self._look()
        self._load(self._context)

    @property
    def arguments(self) -> dict[str, Any]:
        """For `uvicorn.Config`."""
        return {"ssl_context_factory": lambda *_: self._context}

    def refresh(self) -> bool:
        """Take a renewed certificate for the connections that are yet to come; cheap where nothing has changed.

        Returns:
            whether it has been renewed.

        Raises:
            ConfigError: once, where the new one cannot be used; the former one then stays.
        """
        state = self._look()
        if state == self._state:
            return False
        self._state = state
        # A pair of which one file is not there yet would leave the context in use without a key.
        self._load(ssl.create_default_context(ssl.Purpose.CLIENT_AUTH))
        self._load(self._context)
        return True

    def _look(self) -> tuple[tuple[int, int, int], ...]:
        try:
            states = [path.stat() for path in (self._cert_file, self._key_file)]
        except OSError as error:
            raise ConfigError(
                f"cannot be read ({error.strerror})", where=str(error.filename), fix=f"check [http]; {_MAKE_ONE}"
            ) from None
        return tuple((state.st_mtime_ns, state.st_size, state.st_ino) for state in states)

    def _load(self, context: ssl.SSLContext) -> None:
        try:
            # Without a callback a key with a passphrase would ask the terminal.
            context.load_cert_chain(self._cert_file, self._key_file, password=lambda: b"")
        except ssl.SSLError as error:
            mismatch = error.reason == "KEY_VALUES_MISMATCH"
            what = f"is no key of {self._cert_file}" if mismatch else f"no certificate and key in PEM ({error.reason})"
            raise ConfigError(
                what, where=str(self._key_file), fix=f"give both as they were issued; {_MAKE_ONE}"
            ) from None
        except OSError as error:
            raise ConfigError(
                f"cannot be read ({error.strerror or error})",
                where=f"{self._cert_file}, {self._key_file}",
                fix="let the service's user read both",
            ) from None


def make_tls(cert_file: Path | None, key_file: Path | None) -> ServerTls | None:
    """TLS as `[http]` asks for it; None where it does not.

    Raises:
        ConfigError: where one file is named without the other, or they cannot be used.
    """
    if cert_file is None and key_file is None:
        return None
    if cert_file is None or key_file is None:
        missing = "cert_file" if cert_file is None else "key_file"
        raise ConfigError("missing", where=f"http.{missing}", fix=f"name both files, or neither; {_MAKE_ONE}")
    return ServerTls(cert_file, key_file)
