"""How long a receiver asks to be left alone."""

from __future__ import annotations

import math
from datetime import timezone
from email.utils import parsedate_to_datetime


def retry_after(text: str | None, *, now: float, most: float) -> float:
    """Seconds to wait by the header ``Retry-After`` (RFC 9110, 10.2.3); nought where it is missing, or says nothing.

    Args:
        text: seconds, or a date.
        now: Unix time.
        most: longer is not waited.

    >>> [retry_after(text, now=0.0, most=3600.0) for text in ("50", "Thu, 01 Jan 1970 00:30:00 GMT", "nan", "99999")]
    [50.0, 1800.0, 0.0, 3600.0]
    """
    seconds = _seconds(text or "", now)
    return min(max(seconds, 0.0), most) if math.isfinite(seconds) else 0.0


def _seconds(text: str, now: float) -> float:
    try:
        return float(text)
    except ValueError:
        pass
    try:
        date = parsedate_to_datetime(text)
        # One without a zone is in UTC, as all of HTTP is.
        return (date if date.tzinfo is not None else date.replace(tzinfo=timezone.utc)).timestamp() - now
    except (ValueError, OverflowError, TypeError, IndexError):
        return 0.0
