"""A bundle's files as bytes, read within limits from a folder or a zip file: nothing in them is parsed here."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from driftprint.archives import DAMAGED, checked_member
from driftprint.errors import BundleError

SUFFIX = ".driftprint"
MANIFEST, MODEL, GOLDEN = "manifest.json", "model.onnx", "golden.npz"
SIGNATURE = "signature"
"""The one file that a bundle may lack."""


@dataclass(frozen=True)
class Limits:
    """The largest files that are read, in bytes: checked before anything is allocated."""

    manifest: int = 16 * 2**20
    model: int = 512 * 2**20
    golden: int = 64 * 2**20
    """Of the unpacked arrays too."""
    signature: int = 2**20

    def of(self, name: str) -> int:
        """The limit for one of a bundle's files."""
        return {MANIFEST: self.manifest, MODEL: self.model, GOLDEN: self.golden, SIGNATURE: self.signature}[name]


def read_file(path: Path, name: str, limits: Limits) -> bytes:
    """One of a bundle's files.

    Args:
        path: the bundle's folder or zip file.
        name: the file's name.
        limits: the largest files to read.

    Raises:
        BundleError: where it is missing, damaged or too large.
    """
    most = limits.of(name)
    with _refusals(path, name):
        if path.is_dir():
            with (path / name).open("rb") as file:
                data = file.read(most + 1)
        else:
            with zipfile.ZipFile(path) as archive:
                info = checked_member(archive, name)
                if info.file_size > most:
                    raise BundleError(f"larger than {most} bytes", where=f"{path}/{name}")
                with archive.open(info) as member:
                    data = member.read(most + 1)
    if len(data) > most:
        raise BundleError(f"larger than {most} bytes", where=f"{path}/{name}")
    return data


def read_files(path: Path, limits: Limits) -> dict[str, bytes]:
    """All of a bundle's files by name, the signature where there is one. Other files are not opened.

    Raises:
        BundleError: as `read_file` does.
    """
    names = [MANIFEST, MODEL, GOLDEN]
    if SIGNATURE in file_names(path):
        names.append(SIGNATURE)
    return {name: read_file(path, name, limits) for name in names}


def file_names(path: Path) -> list[str]:
    """The names of whatever lies in a bundle; in a zip file a name may come twice.

    Raises:
        BundleError: where there is no such bundle, or none that can be opened.
    """
    with _refusals(path):
        if path.is_dir():
            return [file.name for file in path.iterdir()]
        with zipfile.ZipFile(path) as archive:
            return archive.namelist()


def zip_files(contents: Mapping[str, bytes]) -> bytes:
    """A zip whose bytes depend on nothing but `contents`."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name in sorted(contents):
            info = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
            info.compress_type = zipfile.ZIP_DEFLATED
            info.external_attr = 0o644 << 16
            archive.writestr(info, contents[name])
    return buffer.getvalue()


@contextmanager
def _refusals(path: Path, name: str | None = None) -> Iterator[None]:
    """Turns what reading a folder or zip file raises into a BundleError."""
    try:
        yield
    except KeyError:
        raise BundleError(f"has no {name}", where=str(path)) from None
    except FileNotFoundError:
        what = f"has no {name}" if path.is_dir() else "no such bundle"
        raise BundleError(what, where=str(path), fix="`driftprint bundle list` shows those installed") from None
    except zipfile.BadZipFile:
        raise BundleError("neither a folder nor a whole zip file", where=str(path)) from None
    except DAMAGED as error:
        where = f"{path}/{name}" if name else str(path)
        raise BundleError(f"cannot be read ({error})", where=where) from None
