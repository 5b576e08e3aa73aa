"""What all alerts are, whatever they are about: one id from raise to clear, and a revision that counts up."""

from __future__ import annotations

from typing import TypeVar

from pydantic import BaseModel, ConfigDict

from driftprint.clock import Instant
from driftprint.messages import AlertStatus

A = TypeVar("A", bound="AlertLife")


class AlertLife(BaseModel):
    """One alert, as of its latest revision."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    alert_id: str
    """Made once, 32 hexadecimal digits."""
    revision: int = 0
    status: AlertStatus = AlertStatus.RAISED
    raised_at: float
    """Unix time in seconds."""
    cleared_at: float | None = None

    @property
    def active(self) -> bool:
        """Whether it is still raised."""
        return self.status is not AlertStatus.CLEARED

    def updated(self: A, **changes: object) -> A:
        """The same alert, still raised, with these fields changed."""
        return self.model_copy(update={"revision": self.revision + 1, "status": AlertStatus.UPDATED, **changes})

    def cleared(self: A, now: Instant, **changes: object) -> A:
        """The same alert, over, with these fields changed."""
        return self.updated(status=AlertStatus.CLEARED, cleared_at=now.wall, **changes)
