"""Rollouts over HTTP: bundles for devices, and what operators and the page ask for."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path as FilePath
from typing import Annotated

from fastapi import APIRouter, HTTPException, Path, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import FileResponse
from pydantic import BaseModel, ConfigDict, Field, model_validator

from driftprint.bundle_files import SUFFIX
from driftprint.clock import Clock
from driftprint.errors import BundleError, StoreError
from driftprint.topics import Id, StreamName
from driftprint_server.access.identity import Operator, Viewer
from driftprint_server.audit import Audit
from driftprint_server.operators import OperatorStore
from driftprint_server.refusals import refusals
from driftprint_server.rollout.bundles import BundleExistsError, Catalogue, Listed, explain, parse_id
from driftprint_server.rollout.links import PREFIX, BundleLinks
from driftprint_server.rollout.model import BundleId, Rollout
from driftprint_server.rollout.orders import (
    ConflictError,
    Order,
    UnknownBundleError,
    UnknownRolloutError,
    UnusableError,
)
from driftprint_server.rollout.service import Rollouts
from driftprint_server.rollout.views import (
    BundlesView,
    BundleView,
    RolloutDetail,
    RolloutsView,
    RolloutView,
    bundle_view,
    rollout_detail,
    rollout_view,
    streams_of,
)

Percent = Annotated[int, Field(ge=1, le=100)]
_PAGE = FilePath(__file__).parent.parent / "static" / "rollouts.html"
_RolloutId = Annotated[str, Path(pattern=r"^[0-9a-f]{1,32}$")]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class StartBody(_Body):
    """A rollout to be begun. Without site and device it is the whole fleet's."""

    bundle: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{1,64}-[0-9]{1,10}$")]
    """Name and version, as in ``parts-2``."""
    stream: StreamName | None = None
    """Only streams of this name, whatever they run; else all that run a bundle of the same name."""
    site: Id | None = None
    device: Id | None = None
    """Unique within its site, so it takes the site too."""
    stages: Annotated[list[Percent], Field(min_length=1, max_length=20)] = Field(default=[10, 50, 100])
    """Per cent of the devices, ascending."""
    soak_seconds: Annotated[float, Field(ge=0, le=30 * 86_400, allow_inf_nan=False)] = 3600.0
    """How long each stage must have run on all its devices that are online."""

    @model_validator(mode="after")
    def _consistent(self) -> StartBody:
        if self.device is not None and self.site is None:
            raise ValueError("a device is named together with its site")
        if sorted(set(self.stages)) != self.stages:
            raise ValueError("stages must ascend")
        return self


class RevisionBody(_Body):
    """A change, to a rollout as it was seen."""

    revision: Annotated[int, Field(ge=1, le=2**53)] | None = None
    """Refused where the rollout is at another one by now."""


class StopBody(RevisionBody):
    """To stop a rollout."""

    back: bool = True
    """Whether devices that run its bundle are to go back to what they ran before."""


class WidenBody(RevisionBody):
    """To reach more devices now."""

    percent: Percent


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

    @router.get("/api/bundles")
    def bundles(_: Viewer) -> BundlesView:
        with _answers():
            listed = catalogue.listed()
        return BundlesView(
            signatures=catalogue.asks_for_signatures, bundles=tuple(bundle_view(each) for each in listed)
        )

    @router.post(
        "/api/bundles",
        status_code=201,
        responses=refusals(409, 413, 422, 503) | {200: {"model": BundleView, "description": "It was here already."}},
        openapi_extra={
            "requestBody": {
                "description": "A bundle as a zip file.",
                "required": True,
                "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
            }
        },
    )
    async def upload(who: Operator, request: Request, response: Response) -> BundleView:
        path = await _received(request, catalogue, upload_bytes)

        def adopt() -> tuple[Listed, bool]:
            with _answers(path):
                listed, is_new = catalogue.adopt(path)
                if is_new:
                    note(listed, who.name)
            return listed, is_new

        listed, is_new = await run_in_threadpool(adopt)
        response.status_code = 201 if is_new else 200
        return bundle_view(listed)

    def note(listed: Listed, who: str) -> None:
        detail = {"sha256": listed.digest, "signed_by": listed.signed_by}
        try:
            with store.transaction() as db:
                audit.write(db, who=who, action="bundle.upload", target=str(listed.bundle), detail=detail)
        except StoreError:
            listed.path.unlink(missing_ok=True)  # nothing half-done
            raise

    @router.get(f"{PREFIX}/{{token}}/{{file}}", include_in_schema=False)
    def fetch(token: str, file: str) -> FileResponse:
        bundle = parse_id(file.removesuffix(SUFFIX)) if file.endswith(SUFFIX) else None
        with _answers():
            # Whoever has no token does not learn which bundles there are.
            path = catalogue.zip_file(bundle) if bundle is not None and links.allows(token, bundle) else None
        if path is None:
            raise HTTPException(404, "there is no such bundle")
        return FileResponse(path, media_type="application/octet-stream", filename=file)

    @router.get("/api/rollouts")
    def all_rollouts(_: Viewer) -> RolloutsView:
        now = clock.now().wall
        with _answers():
            at_hand = _at_hand(catalogue)
            views = [_view(each, at_hand, now) for each in rollouts.all()]
        return RolloutsView(now=now, rollouts=tuple(views))

    @router.post("/api/rollouts", status_code=201, responses=refusals(404, 409, 422, 503))
    def start(body: StartBody, who: Operator) -> RolloutView:
        bundle = parse_id(body.bundle)
        if bundle is None:
            raise HTTPException(422, f"{body.bundle} is no NAME-VERSION of a bundle")
        order = Order(bundle, body.stream, body.site, body.device, tuple(body.stages), body.soak_seconds)
        with _answers():
            return _view(rollouts.start(order, who.name))

    @router.get("/api/rollouts/{rollout_id}", responses=refusals(404, 503))
    def one_rollout(rollout_id: _RolloutId, _: Viewer) -> RolloutDetail:
        now = clock.now().wall
        with _answers():
            rollout = rollouts.find(rollout_id)
            streams = streams_of(rollout, rollouts.facts(rollout_id), rollouts.seen(), now, rollouts.patience)
            view = rollout_view(rollout, streams, _at_hand(catalogue))
            return rollout_detail(view, streams, rollouts.steps(rollout_id), now)

    @router.post("/api/rollouts/{rollout_id}/stop", responses=refusals(404, 409, 503))
    def stop(rollout_id: _RolloutId, body: StopBody, who: Operator) -> RolloutView:
        with _answers():
            return _view(rollouts.stop(rollout_id, who.name, back=body.back, revision=body.revision))

    @router.post("/api/rollouts/{rollout_id}/resume", responses=refusals(404, 409, 503))
    def resume(rollout_id: _RolloutId, body: RevisionBody, who: Operator) -> RolloutView:
        with _answers():
            return _view(rollouts.resume(rollout_id, who.name, revision=body.revision))

    @router.post("/api/rollouts/{rollout_id}/widen", responses=refusals(404, 409, 503))
    def widen(rollout_id: _RolloutId, body: WidenBody, who: Operator) -> RolloutView:
        with _answers():
            return _view(rollouts.widen(rollout_id, who.name, percent=body.percent, revision=body.revision))

    def _view(rollout: Rollout, at_hand: frozenset[BundleId] | None = None, now: float | None = None) -> RolloutView:
        now = clock.now().wall if now is None else now
        streams = streams_of(rollout, rollouts.facts(rollout.id), rollouts.seen(), now, rollouts.patience)
        return rollout_view(rollout, streams, _at_hand(catalogue) if at_hand is None else at_hand)

    return router


def _at_hand(catalogue: Catalogue) -> frozenset[BundleId]:
    return frozenset(listed.bundle for listed in catalogue.listed() if not listed.problem)


async def _received(request: Request, catalogue: Catalogue, most: int) -> FilePath:
    """The request's body in a file beside the bundles.

    Raises:
        HTTPException: where it is too large, or cannot be kept.
    """
    too_large = HTTPException(413, f"larger than {most} bytes; [rollout] upload_megabytes says how large it may be")
    announced = request.headers.get("content-length", "")
    if announced.isdecimal() and int(announced) > most:
        raise too_large
    with _answers():
        path = catalogue.room_for_upload()
    try:
        with path.open("wb") as file:
            async for chunk in request.stream():
                if file.tell() + len(chunk) > most:
                    raise too_large
                file.write(chunk)
    except OSError as error:
        path.unlink(missing_ok=True)
        raise HTTPException(503, f"the bundle cannot be kept ({error.strerror}); make room on the server") from None
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    return path


@contextmanager
def _answers(upload: FilePath | None = None) -> Iterator[None]:
    """Turns errors into answers."""
    try:
        yield
    except (UnknownRolloutError, UnknownBundleError) as error:
        raise HTTPException(404, str(error)) from None
    except (ConflictError, BundleExistsError) as error:
        raise HTTPException(409, str(error)) from None
    except UnusableError as error:
        raise HTTPException(422, str(error)) from None
    except BundleError as error:
        if upload is not None:
            raise HTTPException(422, explain(error, upload)) from None
        raise HTTPException(503, str(error)) from None
