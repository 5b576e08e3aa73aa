"""A folder of bundles: which are there, who signed them, and what is wrong with the others."""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from driftprint.bundle import read_bundle
from driftprint.bundle_files import SUFFIX, Limits, file_names, read_files, zip_files
from driftprint.errors import BundleError, DriftprintError, StoreError
from driftprint.keys import TrustedKeys
from driftprint_server.rollout.model import BundleId

_ID = re.compile(r"(?P<name>[A-Za-z0-9_.-]{1,64})-(?P<version>0|[1-9][0-9]{0,9})")
_MOST = Limits()
_UPLOAD = ".upload"


@dataclass(frozen=True, slots=True)
class Listed:
    """A bundle in the folder.

    Attributes:
        bundle: its name and version, by its file's name.
        path: the folder or zip file.
        bytes: of all its files.
        description: by itself.
        signed_by: whose signature holds; None where none is asked for.
        problem: why it cannot be rolled out; empty where it can.
        digest: the sha256 of its contents; empty where it cannot be read.
    """

    bundle: BundleId
    path: Path
    bytes: int
    description: str = ""
    signed_by: str | None = None
    problem: str = ""
    digest: str = ""


class BundleExistsError(DriftprintError):
    """A bundle of that name and version is there already, with other contents."""


def parse_id(text: str) -> BundleId | None:
    """Read ``NAME-VERSION``; None where it is none.

    >>> parse_id("parts-left-2")
    BundleId(name='parts-left', version=2)
    """
    match = _ID.fullmatch(text)
    return None if match is None else BundleId(match["name"], int(match["version"]))


class Catalogue:
    """The folder. Whoever may write to it adds bundles by copying them there. Safe to use from several threads.

    Nothing is believed of a bundle but what its signature, where one is asked for, and its checksums hold for.

    Args:
        folder: made where it is missing.
        cache: a folder for zip files of bundles that are folders; made when it is needed.
        trusted: whose signatures are asked for; None for nobody's.
    """

    def __init__(self, folder: Path, *, cache: Path, trusted: TrustedKeys | None) -> None:
        self._folder = folder
        self._cache = cache
        self._trusted = trusted
        self._known: dict[Path, tuple[tuple[object, ...], Listed]] = {}
        self._lock = threading.Lock()

    @property
    def asks_for_signatures(self) -> bool:
        """Whether only signed bundles are rolled out."""
        return self._trusted is not None

    def listed(self) -> list[Listed]:
        """All that the folder holds, by name and version. What has not changed is not read again.

        Raises:
            BundleError: where the folder cannot be read.
        """
        with self._lock:
            found = [self._look(path, bundle) for path, bundle in self._paths()]
            known = {listed.path for listed in found}
            self._known = {path: entry for path, entry in self._known.items() if path in known}
        return sorted(found, key=lambda listed: (listed.bundle, listed.path))

    def find(self, bundle: BundleId) -> Listed | None:
        """A bundle, be it good or not; None where there is none.

        Raises:
            BundleError: where the folder cannot be read.
        """
        path = self._folder / f"{bundle}{SUFFIX}"
        with self._lock:
            return self._look(path, bundle) if path.exists() else None

    def zip_file(self, bundle: BundleId, *, digest: str = "") -> Path | None:
        """A bundle as a zip file, for a device; None where there is none that could be rolled out.

        Args:
            bundle: which.
            digest: of its contents; with others there is none. Empty for any.

        Raises:
            BundleError: where it cannot be read.
            StoreError: where its zip file cannot be written.
        """
        listed = self.find(bundle)
        if listed is None or listed.problem or digest not in ("", listed.digest):
            return None
        if listed.path.is_file():
            return listed.path
        packed = self._cache / f"{bundle}.{listed.digest[:16]}{SUFFIX}"
        if not packed.exists():
            data = zip_files(read_files(listed.path, _MOST))
            part = packed.with_name(f".{packed.name}.{secrets.token_hex(4)}")
            try:
                self._cache.mkdir(parents=True, exist_ok=True)
                part.write_bytes(data)
                part.replace(packed)
            except OSError as error:
                raise StoreError(f"cannot be written ({error.strerror})", where=str(packed)) from None
            finally:
                part.unlink(missing_ok=True)
        return packed

    def room_for_upload(self) -> Path:
        """A new file beside the bundles, hidden until `adopt` gives it its name.

        Raises:
            StoreError: where it cannot be made.
        """
        path = self._folder / f".{secrets.token_hex(8)}{_UPLOAD}"
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            path.touch(exist_ok=False, mode=0o644)
        except OSError as error:
            raise StoreError(f"cannot be written ({error.strerror})", where=str(self._folder)) from None
        return path

    def forget_uploads(self) -> None:
        """Remove what is left of uploads that a kill has cut off. Only for when none is under way."""
        for path in self._folder.glob(f".*{_UPLOAD}"):
            with suppress(OSError):  # it takes room, and no more
                path.unlink()

    def adopt(self, upload: Path, note: Callable[[Listed], None] = lambda _new: None) -> tuple[Listed, bool]:
        """Take a file in under its bundle's name, as a whole or not at all.

        Args:
            upload: as `room_for_upload` gave it. It is gone afterwards.
            note: told of a new one before it is there.

        Returns:
            The bundle, and whether it is new here.

        Raises:
            BundleExistsError: where that name and version is there with other contents.
            BundleError: where it is none that could be rolled out.
            StoreError: where the disk refuses.
        """
        try:
            contents = _read(upload, self._trusted)
            target = self._folder / f"{contents.bundle}{SUFFIX}"
            with self._lock:
                if target.exists():
                    known = self._look(target, contents.bundle)
                    if known.digest == contents.digest and not known.problem:
                        return known, False
                    raise BundleExistsError(
                        f"{contents.bundle} is here already, with other contents",
                        fix="export it again with a higher version",
                    )
                note(contents.listed(contents.bundle, target))
                upload.replace(target)
                return self._look(target, contents.bundle), True
        except OSError as error:
            raise StoreError(f"cannot be kept ({error.strerror})", where=str(self._folder)) from None
        finally:
            upload.unlink(missing_ok=True)

    def _paths(self) -> list[tuple[Path, BundleId]]:
        try:
            paths = [path for path in self._folder.iterdir() if path.name.endswith(SUFFIX)]
        except FileNotFoundError:
            return []
        except OSError as error:
            raise BundleError(f"cannot be read ({error.strerror})", where=str(self._folder)) from None
        named = ((path, parse_id(path.name.removesuffix(SUFFIX))) for path in paths)
        return [(path, bundle) for path, bundle in named if bundle is not None]

    def _look(self, path: Path, bundle: BundleId) -> Listed:
        """What a path holds; read again only where it has changed."""
        try:
            stamp = _stamp(path)
        except (OSError, BundleError) as error:
            return Listed(bundle, path, 0, problem=explain(error, path))
        known = self._known.get(path)
        if known is None or known[0] != stamp:
            known = self._known[path] = (stamp, self._examine(path, bundle))
        return known[1]

    def _examine(self, path: Path, bundle: BundleId) -> Listed:
        try:
            contents = _read(path, self._trusted)
        except BundleError as error:
            return Listed(bundle, path, 0, problem=explain(error, path))
        return contents.listed(bundle, path)


@dataclass(frozen=True, slots=True)
class _Contents:
    bundle: BundleId
    bytes: int
    description: str
    signed_by: str | None
    digest: str

    def listed(self, name: BundleId, path: Path) -> Listed:
        """As a bundle in the folder, by its file's name."""
        problem = "" if self.bundle == name else f"is {self.bundle}, not {name}; rename it"
        return Listed(name, path, self.bytes, self.description, self.signed_by, problem, self.digest)


def _read(path: Path, trusted: TrustedKeys | None) -> _Contents:
    """Read and check a bundle.

    Raises:
        BundleError: where it is none, or its signature does not hold.
    """
    bundle = read_bundle(path, trusted=trusted)
    files = read_files(path, _MOST)
    digest = hashlib.sha256()
    for name in sorted(files):
        digest.update(f"{name} {hashlib.sha256(files[name]).hexdigest()}\n".encode())
    return _Contents(
        BundleId(bundle.manifest.name, bundle.manifest.version),
        sum(map(len, files.values())),
        bundle.manifest.description,
        None if bundle.signed_by is None else str(bundle.signed_by),
        digest.hexdigest(),
    )


def _stamp(path: Path) -> tuple[object, ...]:
    """Another value whenever a file has changed."""
    files = [path / name for name in sorted(file_names(path))] if path.is_dir() else [path]
    return tuple((file.name, *_of(file.stat())) for file in files)


def _of(status: os.stat_result) -> tuple[int, int, int]:
    return status.st_ino, status.st_size, status.st_mtime_ns


def explain(error: Exception, path: Path) -> str:
    """What is wrong with a bundle and what to do, without the server's paths.

    Args:
        error: that it gave.
        path: where it lies.
    """
    if not isinstance(error, DriftprintError):
        return f"cannot be read ({error})".replace(str(path), path.name)
    where = (error.where or "").removeprefix(str(path)).lstrip("/")
    text = f"{where}: {error.what}" if where else error.what
    return f"{text}; {error.fix}" if error.fix else text
