"""The table ``[history]`` of server.toml."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

MEGABYTE = 1_000_000


class HistorySettings(BaseModel):
    """What is kept of the past, where, and for how long."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    enabled: bool = True
    """Without it there are no charts over time and no list of past alerts."""
    url: str | None = None
    """``postgresql://user@host/database`` or ``sqlite:////folder/history.db``. Without it: history.db beside the
    store."""
    password: SecretStr | None = None
    """For PostgreSQL; better in the environment: ``DRIFTPRINT_HISTORY__PASSWORD``."""
    keep_days: Annotated[float, Field(gt=0, le=36_500)] = 30.0
    """Windows are kept this long."""
    keep_alerts_days: Annotated[float, Field(gt=0, le=36_500)] = 365.0
    """Alerts are kept this long after they were last heard of."""
    max_bytes: Annotated[int, Field(ge=10 * MEGABYTE)] = 2_000 * MEGABYTE
    """The SQLite file stays under this size: the oldest windows go first, of the device that takes most if one takes
    more than others. PostgreSQL has no such limit."""
    thumbnails: bool = False
    """Whether the frames that alerts carry are kept; they may show people."""
    max_classes: Annotated[int, Field(ge=0, le=1024)] = 20
    """Predicted classes kept of each window: those with the most frames."""

    @field_validator("url")
    @classmethod
    def _known(cls, url: str | None) -> str | None:
        if url is None:
            return None
        try:
            parsed = make_url(url)
        except ArgumentError:
            raise ValueError("a URL is expected, like postgresql://user@host/database") from None
        if parsed.drivername not in ("sqlite", "postgresql"):
            raise ValueError("the history is kept in sqlite or postgresql")
        if parsed.drivername == "sqlite" and not parsed.database:
            raise ValueError("the path of a file is expected, like sqlite:////var/lib/driftprint/history.db")
        if parsed.password is not None:
            raise ValueError("leave the password out: it goes into password, or DRIFTPRINT_HISTORY__PASSWORD")
        return url

    def database_url(self, folder: Path) -> URL:
        """Where the history is, with its password.

        Args:
            folder: of the store; history.db is put there where no URL is set.
        """
        if self.url is None:
            return URL.create("sqlite", database=str(folder / "history.db"))
        url = make_url(self.url)
        return url if self.password is None else url.set(password=self.password.get_secret_value())
