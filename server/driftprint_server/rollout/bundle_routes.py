"""Bundles over HTTP: for operators, and for the devices that fetch them."""

from __future__ import annotations

from fastapi import APIRouter, HTTPException, Request, Response
from fastapi.responses import FileResponse

from driftprint.bundle_files import SUFFIX
from driftprint_server.access.identity import Operator, Viewer
from driftprint_server.refusals import refusals
from driftprint_server.rollout.answers import answers
from driftprint_server.rollout.bundles import Catalogue, parse_id
from driftprint_server.rollout.links import PREFIX, BundleLinks
from driftprint_server.rollout.service import Rollouts
from driftprint_server.rollout.uploads import Uploads
from driftprint_server.rollout.views import BundleFolderView, BundleView, bundle_view


def add_bundles(router: APIRouter, catalogue: Catalogue, uploads: Uploads) -> None:
    """The routes under ``/api/bundles``.

    Args:
        router: gets them.
        catalogue: the bundles.
        uploads: takes further ones in.
    """

    @router.get("/api/bundles")
    def bundles(_: Viewer) -> BundleFolderView:
        with answers():
            listed = catalogue.listed()
        return BundleFolderView(
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
        listed, is_new = await uploads.take(request, who.name)
        response.status_code = 201 if is_new else 200
        return bundle_view(listed)


def add_fetching(router: APIRouter, catalogue: Catalogue, links: BundleLinks, rollouts: Rollouts) -> None:
    """Where devices fetch bundles.

    Args:
        router: gets the route.
        catalogue: the bundles.
        links: knows their addresses.
        rollouts: know with which contents each has been rolled out.
    """

    @router.get(f"{PREFIX}/{{token}}/{{file}}", include_in_schema=False)
    def fetch(token: str, file: str) -> FileResponse:
        bundle = parse_id(file.removesuffix(SUFFIX)) if file.endswith(SUFFIX) else None
        # Whoever has no token does not learn which bundles there are.
        if bundle is None or not links.allows(token, bundle):
            raise HTTPException(404, "there is no such bundle")
        with answers():
            path = catalogue.zip_file(bundle, digest=rollouts.digest(bundle))
        if path is None:
            raise HTTPException(404, "there is no such bundle")
        return FileResponse(path, media_type="application/octet-stream", filename=file)
