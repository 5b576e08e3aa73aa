"""Rollouts over HTTP: what operators and the page ask for, and the bundles that devices fetch."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from fastapi import APIRouter
from fastapi.responses import FileResponse

from driftprint.clock import Clock
from driftprint_server.access.identity import Operator, Viewer
from driftprint_server.audit import Audit
from driftprint_server.operators import OperatorStore
from driftprint_server.refusals import refusals
from driftprint_server.rollout.answers import answers
from driftprint_server.rollout.bodies import RevisionBody, StartBody, StopBody, WidenBody
from driftprint_server.rollout.bundle_routes import add_bundles, add_fetching
from driftprint_server.rollout.bundles import Catalogue
from driftprint_server.rollout.links import BundleLinks
from driftprint_server.rollout.model import BundleId, Rollout
from driftprint_server.rollout.service import Rollouts
from driftprint_server.rollout.uploads import Uploads
from driftprint_server.rollout.views import (
    RolloutDetail,
    RolloutsView,
    RolloutView,
    StreamProgress,
    rollout_detail,
    rollout_view,
    streams_of,
)

_PAGE = Path(__file__).parent.parent / "static" / "rollouts.html"


def make_router(
    *,
    rollouts: Rollouts,
    catalogue: Catalogue,
    links: BundleLinks,
    store: OperatorStore,
    audit: Audit,
    clock: Clock,
    upload_bytes: int,
) -> APIRouter:
    """The routes.

    Args:
        rollouts: at work.
        catalogue: the bundles.
        links: where devices fetch them.
        store: keeps the audit.
        audit: told of uploads.
        clock: dates what is shown.
        upload_bytes: larger uploads are refused.
    """
    router = APIRouter()

    @router.get("/rollouts", include_in_schema=False)
    def page() -> FileResponse:
        return FileResponse(_PAGE, media_type="text/html")

    add_bundles(router, catalogue, Uploads(catalogue, store=store, audit=audit, most_bytes=upload_bytes))
    add_fetching(router, catalogue, links, rollouts)
    shown = _Shown(rollouts, catalogue, clock)
    _add_answers(router, rollouts, shown)
    _add_orders(router, rollouts, shown)
    return router


class _Shown:
    """Rollouts as they are shown now."""

    def __init__(self, rollouts: Rollouts, catalogue: Catalogue, clock: Clock) -> None:
        self._rollouts = rollouts
        self._catalogue = catalogue
        self._clock = clock

    def all(self) -> RolloutsView:
        now, at_hand = self._clock.now().wall, self._at_hand()
        views = [rollout_view(each, self._streams(each, now), at_hand) for each in self._rollouts.all()]
        return RolloutsView(now=now, rollouts=tuple(views))

    def one(self, rollout: Rollout) -> RolloutView:
        return rollout_view(rollout, self._streams(rollout, self._clock.now().wall), self._at_hand())

    def detail(self, rollout: Rollout) -> RolloutDetail:
        now = self._clock.now().wall
        streams = self._streams(rollout, now)
        view = rollout_view(rollout, streams, self._at_hand())
        return rollout_detail(view, streams, self._rollouts.steps(rollout.id), now)

    def _streams(self, rollout: Rollout, now: float) -> list[StreamProgress]:
        rollouts = self._rollouts
        return streams_of(rollout, rollouts.facts(rollout.id), rollouts.seen(), now, rollouts.patience)

    def _at_hand(self) -> Mapping[BundleId, str]:
        return {listed.bundle: listed.digest for listed in self._catalogue.listed() if not listed.problem}


def _add_answers(router: APIRouter, rollouts: Rollouts, shown: _Shown) -> None:
    @router.get("/api/rollouts")
    def all_rollouts(_: Viewer) -> RolloutsView:
        with answers():
            return shown.all()

    @router.get("/api/rollouts/{rollout_id}", responses=refusals(404, 503))
    def one_rollout(rollout_id: str, _: Viewer) -> RolloutDetail:
        with answers():
            return shown.detail(rollouts.find(rollout_id))


def _add_orders(router: APIRouter, rollouts: Rollouts, shown: _Shown) -> None:
    @router.post("/api/rollouts", status_code=201, responses=refusals(404, 409, 422, 503))
    def start(body: StartBody, who: Operator) -> RolloutView:
        with answers():
            return shown.one(rollouts.start(body.order(), who.name))

    @router.post("/api/rollouts/{rollout_id}/stop", responses=refusals(404, 409, 503))
    def stop(rollout_id: str, body: StopBody, who: Operator) -> RolloutView:
        with answers():
            return shown.one(rollouts.stop(rollout_id, who.name, back=body.back, revision=body.revision))

    @router.post("/api/rollouts/{rollout_id}/resume", responses=refusals(404, 409, 503))
    def resume(rollout_id: str, body: RevisionBody, who: Operator) -> RolloutView:
        with answers():
            return shown.one(rollouts.resume(rollout_id, who.name, revision=body.revision))

    @router.post("/api/rollouts/{rollout_id}/widen", responses=refusals(404, 409, 503))
    def widen(rollout_id: str, body: WidenBody, who: Operator) -> RolloutView:
        with answers():
            return shown.one(rollouts.widen(rollout_id, who.name, percent=body.percent, revision=body.revision))
