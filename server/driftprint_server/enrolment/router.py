"""Enrolment over HTTP: who waits, and an operator's decision."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, HTTPException, Path
from pydantic import BaseModel, ConfigDict

from driftprint.topics import ID_PATTERN
from driftprint_server.access.identity import Operator, Viewer
from driftprint_server.enrolment.decisions import Decision
from driftprint_server.enrolment.gate import Enrolment
from driftprint_server.enrolment.settings import Mode
from driftprint_server.enrolment.waiting import WaitingDevice
from driftprint_server.refusals import refusals

_Id = Annotated[str, Path(pattern=ID_PATTERN)]


class EnrolmentView(BaseModel):
    """Who waits, and what has been decided."""

    mode: Mode
    waiting: list[WaitingDevice]
    without_room: int
    """Messages of devices that the list of those who wait had no room for."""
    decided: list[Decision]


class Verdict(BaseModel):
    """A decision to be made."""

    model_config = ConfigDict(extra="forbid", strict=True)

    approved: bool


def make_router(enrolment: Enrolment) -> APIRouter:
    """``/api/enrolment``.

    Args:
        enrolment: is shown, and changed.
    """
    router = APIRouter(prefix="/api/enrolment", tags=["enrolment"])

    @router.get("")
    def show(_who: Viewer) -> EnrolmentView:
        return EnrolmentView(
            mode=enrolment.mode,
            waiting=enrolment.waiting,
            without_room=enrolment.without_room,
            decided=enrolment.decided,
        )

    @router.put("/{site}/{device}")
    def decide(site: _Id, device: _Id, verdict: Verdict, who: Operator) -> Decision:
        return enrolment.decide(site, device, approved=verdict.approved, who=who.name)

    @router.delete("/{site}/{device}", status_code=204, responses=refusals(404))
    def forget(site: _Id, device: _Id, who: Operator) -> None:
        if not enrolment.forget(site, device, who=who.name):
            raise HTTPException(404, f"nothing has been decided about {site}/{device}; see GET /api/enrolment")

    return router
