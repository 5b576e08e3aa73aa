"""An alert as receivers are told it."""

from __future__ import annotations

import hashlib
import json
from datetime import datetime, timezone
from typing import Literal

from driftprint.messages import AlertMessage, AlertStatus
from driftprint_server.sinks import Accepted

_MOST_DISCORD_SIGNS = 2000
_WORDS = {AlertStatus.RAISED: "Raised", AlertStatus.UPDATED: "Still raised", AlertStatus.CLEARED: "Cleared"}


def message_id(alert: AlertMessage) -> str:
    """The same for each attempt to tell a revision, and for no other, so that receivers can drop what they have."""
    named = f"{alert.site}/{alert.device}/{alert.stream}/{alert.alert_id}/{alert.revision}"
    return f"msg_{hashlib.sha256(named.encode()).hexdigest()[:32]}"


def payload(accepted: Accepted, alert: AlertMessage, form: Literal["json", "slack", "discord"]) -> bytes:
    """The body of a request.

    Args:
        accepted: when what it says was so.
        alert: its message.
        form: as in `WebhookSettings.format`.
    """
    if form == "json":
        body = _full(accepted, alert)
    elif form == "slack":
        body = {"text": _plain(alert).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")}
    else:
        body = {"content": _plain(alert)[:_MOST_DISCORD_SIGNS], "allowed_mentions": {"parse": []}}
    return json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()


def _full(accepted: Accepted, alert: AlertMessage) -> dict[str, object]:
    """With the type, timestamp and data that Standard Webhooks recommends; docs/webhooks.md has an example."""
    said = alert.model_dump(mode="json", exclude={"schema_", "seq", "recorded_at", "age_seconds", "thumbnails"})
    # Of the device's clock only differences are used.
    for name in ("raised_at", "cleared_at", "suspected_at"):
        moment = getattr(alert, name)
        said[name] = None if moment is None else accepted.at - max(0.0, alert.recorded_at - moment)
    return {
        "type": f"alert.{alert.status.value}",
        "timestamp": datetime.fromtimestamp(accepted.at, timezone.utc).isoformat(),
        "data": {**said, "updated_at": accepted.at, "thumbnails": len(alert.thumbnails)},
    }


def _plain(alert: AlertMessage) -> str:
    """A line for people. A device may not ring everybody's bell: an @ is followed by a space of no width."""
    origin = f"{alert.site}/{alert.device}/{alert.stream}"
    line = f"{_WORDS[alert.status]}: {origin}: {alert.cause.value.replace('_', ' ')}. {alert.summary}"
    return " ".join(line.split()).replace("@", "@\u200b")
