"""The table ``[enrolment]`` of server.toml."""

from __future__ import annotations

from enum import Enum
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, model_validator

DevicePattern = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.*-]{1,64}/[A-Za-z0-9_.*-]{1,64}$")]
"""``site/device``, where a star stands for anything."""


class Mode(str, Enum):
    """What becomes of a device that is not on the list, and that no operator has decided about."""

    OPEN = "open"
    """It is taken in."""
    LIST = "list"
    """It is refused."""
    APPROVE = "approve"
    """It is refused until an operator approves it."""


class EnrolmentSettings(BaseModel):
    """The table ``[enrolment]``: which devices are taken in. What an operator has decided of a device goes first."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    mode: Mode = Mode.OPEN
    """``open``: all devices; ``list``: those of the list; ``approve``: those of the list at once, others wait for an
    operator's approval. Messages of the others are rejected and counted."""
    devices: tuple[DevicePattern, ...] = ()
    """The list: ``site/device``, where a star stands for anything."""

    @model_validator(mode="after")
    def _consistent(self) -> EnrolmentSettings:
        if self.mode is Mode.OPEN and self.devices:
            raise ValueError('devices are a list, so mode must be "list" or "approve"')
        return self
