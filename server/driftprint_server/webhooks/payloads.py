"""An alert as receivers are told it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from datetime import datetime, timezone
from typing import Literal, TypeAlias

from driftprint.messages import AlertMessage, AlertStatus
from driftprint_server.sinks import Accepted

Format: TypeAlias = Literal["json", "slack", "discord"]
"""As in `WebhookSettings.format`."""

_MOST_DISCORD_SIGNS = 2000
_WORDS = {AlertStatus.RAISED: "Raised", AlertStatus.UPDATED: "Still raised", AlertStatus.CLEARED: "Cleared"}


def message_id(alert: AlertMessage) -> str:
    """The same for each attempt to tell a revision, and for no other, so that receivers can drop what they have."""
    return id_of(f"{alert.site}/{alert.device}/{alert.stream}/{alert.alert_id}/{alert.revision}")


def id_of(named: str) -> str:
    """The id of a message that has a name of its own."""
    return f"msg_{hashlib.sha256(named.encode()).hexdigest()[:32]}"


def payload(accepted: Accepted, alert: AlertMessage, form: Format) -> bytes:
    """The body of a request.

    Args:
        accepted: when what it says was so.
        alert: its message.
        form: as in `WebhookSettings.format`.
    """
    return encoded(_full(accepted, alert), _plain(alert), form)


def encoded(full: Mapping[str, object], line: str, form: Format) -> bytes:
    """The body of a request.

    Args:
        full: for programs; see `structure`.
        line: for people. Whatever it says may ring nobody's bell, so an @ is followed by a space of no width.
        form: as in `WebhookSettings.format`.
    """
    text = " ".join(line.split()).replace("@", "@\u200b")
    body: Mapping[str, object] = full
    if form == "slack":
        body = {"text": text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")}
    elif form == "discord":
        body = {"content": text[:_MOST_DISCORD_SIGNS], "allowed_mentions": {"parse": []}}
    return json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()


def structure(kind: str, at: float, data: Mapping[str, object]) -> dict[str, object]:
    """Type, timestamp and data, as Standard Webhooks recommends.

    Args:
        kind: the type.
        at: Unix time.
        data: all that is told.
    """
    return {"type": kind, "timestamp": datetime.fromtimestamp(at, timezone.utc).isoformat(), "data": data}


def _full(accepted: Accepted, alert: AlertMessage) -> dict[str, object]:
    """All of it; docs/webhooks.md has an example."""
    said = alert.model_dump(mode="json", exclude={"schema_", "seq", "recorded_at", "age_seconds", "thumbnails"})
    # Of the device's clock only differences are used.
    for name in ("raised_at", "cleared_at", "suspected_at"):
        moment = getattr(alert, name)
        said[name] = None if moment is None else accepted.at - max(0.0, alert.recorded_at - moment)
    data = {**said, "updated_at": accepted.at, "thumbnails": len(alert.thumbnails)}
    return structure(f"alert.{alert.status.value}", accepted.at, data)


def _plain(alert: AlertMessage) -> str:
    """A line for people."""
    origin = f"{alert.site}/{alert.device}/{alert.stream}"
    return f"{_WORDS[alert.status]}: {origin}: {alert.cause.value.replace('_', ' ')}. {alert.summary}"
