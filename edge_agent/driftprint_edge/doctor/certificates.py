"""How long a certificate holds."""

from __future__ import annotations

import re
import ssl
from datetime import datetime, timezone
from pathlib import Path

from driftprint_edge.doctor.finding import Finding, fine, problem, warning

RENEW_DAYS = 30.0
_SECONDS_PER_DAY = 86_400

_SEQUENCE, _VERSION, _UTC_TIME = 0x30, 0xA0, 0x17


def check_own_certificate(name: str, path: Path, wall: float) -> Finding:
    """Whether the certificate that the device shows holds for some time yet.

    Args:
        name: of the finding.
        path: of the PEM file.
        wall: now, Unix time in seconds.
    """
    try:
        until = valid_until(read_certificate(path))
    except (OSError, ValueError) as error:
        return problem(name, f"{path}: {error}", "give a PEM file that begins with the device's own certificate")
    return check_expiry(name, str(path), until, wall)


def check_expiry(name: str, whose: str, until: float, wall: float) -> Finding:
    """Whether a certificate holds for some time yet.

    Args:
        name: of the finding.
        whose: in words.
        until: when it expires, Unix time in seconds.
        wall: now, Unix time in seconds.
    """
    days = (until - wall) / _SECONDS_PER_DAY
    if days < 0:
        return problem(name, f"{whose} expired {-days:.0f} days ago", "renew it; if it should hold, set the clock")
    what = f"{whose} expires in {days:.0f} days"
    return warning(name, what, "renew it before then") if days < RENEW_DAYS else fine(name, what)


def read_certificate(path: Path) -> bytes:
    """The first certificate of a PEM file, as DER.

    Raises:
        OSError: where the file cannot be read.
        ValueError: where there is none in it.
    """
    text = path.read_text(errors="replace")
    found = re.search(f"{ssl.PEM_HEADER}.*?{ssl.PEM_FOOTER}", text, re.DOTALL)
    if found is None:
        raise ValueError("there is no certificate in it")
    return ssl.PEM_cert_to_DER_cert(found[0])


def valid_until(der: bytes) -> float:
    """When a certificate expires, as Unix time in seconds.

    The standard library tells this only of a certificate that it has verified against a connection. The layout is
    that of RFC 5280, section 4.1.

    Args:
        der: the certificate.

    Raises:
        ValueError: where it is none.
    """
    try:
        [(_, certificate)] = _elements(der)
        fields = _elements(_elements(certificate)[0][1])
        # Serial number, signature, issuer, validity; before them the version, which may be left out.
        validity = fields[4 if fields[0][0] == _VERSION else 3][1]
        tag, not_after = _elements(validity)[1]
        text = not_after.decode("ascii")
        if tag == _UTC_TIME:
            text = ("20" if text < "50" else "19") + text
        return datetime.strptime(text, "%Y%m%d%H%M%SZ").replace(tzinfo=timezone.utc).timestamp()
    except (IndexError, ValueError):
        raise ValueError("not a certificate") from None


def _elements(data: bytes) -> list[tuple[int, bytes]]:
    """The elements that DER strings together, each with its tag and contents."""
    elements, at = [], 0
    while at < len(data):
        tag, length, at = data[at], data[at + 1], at + 2
        if length & 0x80:  # so many bytes hold the length
            size = length & 0x7F
            length, at = int.from_bytes(data[at : at + size], "big"), at + size
        elements.append((tag, data[at : at + length]))
        at += length
    return elements
