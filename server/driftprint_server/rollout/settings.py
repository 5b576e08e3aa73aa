"""The table ``[rollout]`` of server.toml."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field


class RolloutSettings(BaseModel):
    """The table ``[rollout]``: bundles for the devices, and when a rollout stops by itself."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    bundles: Path | None = None
    """A folder of bundles, which must be writable for uploads. Without it there are no rollouts."""
    trusted_keys: Path | None = None
    """A folder of public keys or certificates. With it no bundle is rolled out whose signature does not hold by one of
    them."""
    public_url: Annotated[str, Field(pattern=r"^https?://[^\s/?#]+(/[^\s?#]*)?$", max_length=1024)] | None = None
    """How devices reach this server; without it the address that it listens on, which no other machine reaches where
    that is the loopback or stands for all addresses."""
    upload_megabytes: Annotated[float, Field(gt=0, le=4096)] = 600.0
    """Larger uploads are refused."""
    tick_seconds: Annotated[float, Field(ge=0.1, le=60)] = 5.0
    """How often devices are looked at."""
    refused_after_seconds: Annotated[float, Field(ge=0, le=86_400)] = 30.0
    """A device that has said for so long why it does not run the bundle has refused it. That it cannot fetch it is no
    refusal."""
    overdue_after_seconds: Annotated[float, Field(ge=1, le=30 * 86_400)] = 1800.0
    """A device that has been told, is online, and after so long runs something else all the same has failed. A rollout
    that is held for so long is told of."""
