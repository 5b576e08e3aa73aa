"""A folder that other programs put images into."""

from __future__ import annotations

from pathlib import Path
from threading import Event
from typing import Any, Literal

from driftprint.clock import Clock
from driftprint.errors import MissingExtraError, SourceError
from driftprint.frames import IMAGE_SUFFIXES, FrameRef
from driftprint_edge.sources.live import POLL_SECONDS, LiveSettings, LiveSource, Put

QUIET_MS = 200
"""A file is read once nothing in the folder has changed for so long: by then it is whole."""


class FolderSettings(LiveSettings):
    """A ``[stream.source]`` of kind "folder"."""

    kind: Literal["folder"]
    path: Path
    """Every image that is written into this folder, or into one under it, is a frame. What is there already is not."""

    def open(self, clock: Clock) -> LiveSource:
        """The source.

        Raises:
            MissingExtraError: without watchfiles.
        """
        return self.source_of(FolderFeed(self.path, _import_watchfiles()), clock)


class FolderFeed:
    """Watches a folder.

    Args:
        path: of the folder.
        watchfiles: the module.
    """

    def __init__(self, path: Path, watchfiles: Any) -> None:
        self._path = path
        self._watchfiles = watchfiles

    def run(self, put: Put, stop: Event) -> None:
        """See `Feed.run`."""
        deleted = self._watchfiles.Change.deleted
        poll = int(POLL_SECONDS * 1000)
        try:
            batches = self._watchfiles.watch(
                self._path, step=QUIET_MS, stop_event=stop, rust_timeout=poll, yield_on_timeout=True
            )
            for batch in batches:
                if not self._path.is_dir():
                    raise SourceError("the folder is gone", where=str(self._path))
                written = {Path(path) for change, path in batch if change != deleted}
                for path in sorted(path for path in written if path.suffix.lower() in IMAGE_SUFFIXES):
                    put(FrameRef(path.name, path))
        except OSError as error:
            raise SourceError(f"cannot be watched ({error})", where=str(self._path)) from None


def _import_watchfiles() -> Any:
    try:
        import watchfiles
    except ImportError:
        raise MissingExtraError("watched folders need watchfiles", extra="camera") from None
    return watchfiles
