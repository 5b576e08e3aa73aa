"""Bundles that are brought over HTTP: received, looked at, noted in the audit, and only then taken in."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

from fastapi import HTTPException, Request
from fastapi.concurrency import run_in_threadpool

from driftprint_server.audit import Audit
from driftprint_server.operators import OperatorStore
from driftprint_server.rollout.answers import answers
from driftprint_server.rollout.bundles import Catalogue, Listed

_MOST_REASON = 500  # characters of why one is refused
_REFUSED = frozenset((409, 413, 422))
"""Said of what was brought, and so for the audit; anything else is said of the server."""


class Uploads:
    """Takes bundles in.

    Args:
        catalogue: where to.
        store: keeps the audit.
        audit: told of each that is taken in or refused.
        most_bytes: larger ones are refused.
    """

    def __init__(self, catalogue: Catalogue, *, store: OperatorStore, audit: Audit, most_bytes: int) -> None:
        self._catalogue = catalogue
        self._store = store
        self._audit = audit
        self._most_bytes = most_bytes

    async def take(self, request: Request, who: str) -> tuple[Listed, bool]:
        """Take a request's body in as a bundle.

        Args:
            request: of an operator.
            who: their name.

        Returns:
            The bundle, and whether it is new here.

        Raises:
            HTTPException: where it is refused.
            StoreError: where the disk refuses.
        """
        try:
            path = await self._receive(request)
            return await run_in_threadpool(self._adopt, path, who)
        except HTTPException as refusal:
            if refusal.status_code in _REFUSED:
                await run_in_threadpool(
                    self._note, who, "refuse", "upload", {"reason": str(refusal.detail)[:_MOST_REASON]}
                )
            raise

    def _adopt(self, path: Path, who: str) -> tuple[Listed, bool]:
        def note(new: Listed) -> None:
            # A kill from here on may leave a line without its bundle, but never a bundle that nobody has brought.
            self._note(who, "upload", str(new.bundle), {"sha256": new.digest, "signed_by": new.signed_by})

        with answers(path):
            return self._catalogue.adopt(path, note)

    def _note(self, who: str, action: str, target: str, detail: dict[str, str | None]) -> None:
        with self._store.transaction() as db:
            self._audit.write(db, who=who, action=f"bundle.{action}", target=target, detail={**detail})

    async def _receive(self, request: Request) -> Path:
        """The request's body in a file beside the bundles.

        Raises:
            HTTPException: where it is too large, or cannot be kept.
        """
        announced = request.headers.get("content-length", "")
        if announced.isdecimal() and int(announced) > self._most_bytes:
            raise self._too_large()
        with answers():
            path = self._catalogue.room_for_upload()
        try:
            await self._fill(path, request.stream())
        except OSError as error:
            path.unlink(missing_ok=True)
            raise HTTPException(503, f"the bundle cannot be kept ({error.strerror}); make room on the server") from None
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        return path

    async def _fill(self, path: Path, chunks: AsyncIterator[bytes]) -> None:
        with path.open("wb") as file:
            async for chunk in chunks:
                if file.tell() + len(chunk) > self._most_bytes:
                    raise self._too_large()
                file.write(chunk)

    def _too_large(self) -> HTTPException:
        most = self._most_bytes
        return HTTPException(413, f"larger than {most} bytes; [rollout] upload_megabytes says how large it may be")
