"""The tables ``[[remote_write]]`` of server.toml."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, SecretStr, model_validator

_OWN_HEADERS = frozenset(
    ("authorization", "content-encoding", "content-type", "content-length", "x-prometheus-remote-write-version")
)

HeaderName = Annotated[str, Field(pattern=r"^[A-Za-z0-9-]{1,64}$")]


class RemoteWriteSettings(BaseModel):
    """One target that samples are written to, by Prometheus remote write 1.0."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    url: Annotated[str, Field(pattern=r"^https?://[^/]", max_length=2048)]
    """``/api/v1/write`` of VictoriaMetrics and Prometheus, ``/api/v1/push`` of Mimir."""
    username: str | None = None
    password: SecretStr | None = None
    bearer_token: SecretStr | None = None
    """Instead of a user name."""
    headers: dict[HeaderName, SecretStr] = Field(default_factory=dict, max_length=16)
    """Further ones, such as Mimir's ``X-Scope-OrgID``."""
    ca_file: Path | None = None
    """The certificate authority of an ``https`` address; without it the machine's own ones are trusted."""
    cert_file: Path | None = None
    """Our certificate, where one is asked for."""
    key_file: Path | None = None
    timeout_seconds: Annotated[float, Field(ge=0.1, le=300)] = 10.0
    """For an answer."""
    give_up_after_seconds: Annotated[float, Field(ge=0, le=300)] = 5.0
    """A request that fails for this long is given up: devices are not answered, and send again."""
    max_samples: Annotated[int, Field(ge=500, le=100_000)] = 10_000
    """In a request."""

    @property
    def target(self) -> str:
        """Host and port, as the name of the target."""
        return urlsplit(self.url).netloc

    @model_validator(mode="after")
    def _consistent(self) -> RemoteWriteSettings:
        if "@" in urlsplit(self.url).netloc:
            raise ValueError("no user name in url; there are username and password")
        if (self.username is None) != (self.password is None):
            raise ValueError("username and password go together")
        if self.bearer_token is not None and self.username is not None:
            raise ValueError("either bearer_token or username")
        if (self.cert_file is None) != (self.key_file is None):
            raise ValueError("cert_file and key_file go together")
        if taken := sorted(name for name in self.headers if name.lower() in _OWN_HEADERS):
            raise ValueError(f"the header {taken[0]} is set by us")
        return self
