"""The tables ``[[webhook]]`` of server.toml."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator, model_validator

from driftprint.errors import ConfigError
from driftprint.messages import Cause

SECRET_PREFIX = "whsec_"
_SECRET_BYTES = range(24, 65)
"""As the Standard Webhooks specification has it."""

_OURS = frozenset({"content-length", "content-type", "host", "transfer-encoding", "user-agent"})


class WebhookSettings(BaseModel):
    """A table ``[[webhook]]``: somebody who is told of alerts."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{1,64}$")]
    """For metrics and logs; unique. What waits for a name that is taken away is dropped."""
    url: SecretStr
    """Where to post to. It may itself be a secret, as those of chat services are, and is never logged."""
    format: Literal["json", "slack", "discord"] = "json"
    """"json" tells everything; "slack" (Mattermost and others take it, too) and "discord" a line of text."""
    secret: SecretStr | None = None
    """``whsec_`` and 24 to 64 bytes in base64: signs every request, as Standard Webhooks has it."""
    causes: tuple[Cause, ...] = ()
    """Only alerts of these; empty: all."""
    rollouts: bool = True
    """Tell of rollouts that have stopped by themselves, and of those that have been held for long."""
    updates: bool = False
    """Tell every revision of an alert, not only that it is raised and cleared."""
    headers: dict[Annotated[str, Field(pattern=r"^[A-Za-z0-9-]{1,64}$")], SecretStr] = Field(default={}, max_length=16)
    """Further ones, such as ``Authorization``."""
    ca_file: Path | None = None
    """An authority of your own that the receiver's certificate is checked against, in place of the system's."""
    timeout_seconds: Annotated[float, Field(ge=1, le=60)] = 10.0
    """How long to wait for the receiver."""

    @field_validator("url")
    @classmethod
    def _is_http(cls, url: SecretStr) -> SecretStr:
        try:
            parts = urlsplit(url.get_secret_value())
            fine = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
        except ValueError:
            fine = False
        if not fine or not url.get_secret_value().isascii() or any(sign <= " " for sign in url.get_secret_value()):
            raise ValueError("must be an address such as https://receiver.example/alerts")
        if parts.username is not None:
            raise ValueError("must have no name and password in it; give an Authorization header under headers")
        return url

    @field_validator("secret")
    @classmethod
    def _is_key(cls, secret: SecretStr | None) -> SecretStr | None:
        if secret is None:
            return None
        text = secret.get_secret_value()
        try:
            key = base64.b64decode(text.removeprefix(SECRET_PREFIX), validate=True)
        except (binascii.Error, ValueError):
            key = b""
        if not text.startswith(SECRET_PREFIX) or len(key) not in _SECRET_BYTES:
            raise ValueError('must be "whsec_" and 24 to 64 bytes in base64, as `openssl rand -base64 32` makes them')
        return secret

    @model_validator(mode="after")
    def _headers_are_theirs(self) -> WebhookSettings:
        for name, value in self.headers.items():
            if name.lower() in _OURS or name.lower().startswith("webhook-"):
                raise ValueError(f"headers: {name} is set by the server")
            text = value.get_secret_value()
            if not text.isascii() or not text.isprintable():
                raise ValueError(f"headers: {name} must be one line of ASCII")
        return self


def check_names(webhooks: Sequence[WebhookSettings]) -> None:
    """Whether every webhook has a name of its own.

    Raises:
        ConfigError: where two share one.
    """
    names = [webhook.name for webhook in webhooks]
    for name in names:
        if names.count(name) > 1:
            raise ConfigError("two have this name", where=f"webhook.{name}", fix="give each one of its own")
