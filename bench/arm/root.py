"""A Debian root for arm64, made on a machine of another kind.

Nothing in it is ever configured, because that would run its programs: the packages are only unpacked. It holds no
mounts either, so it can be removed like any folder.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from bench.arm.processors import Processor
from bench.arm.programs import QEMU, call
from driftprint.errors import ConfigError, DataError

LISTING = (
    "apt-get",
    "indextargets",
    "--format",
    "$(REPO_URI) $(CODENAME) $(COMPONENT) $(LABEL)",
    "Created-By: Packages",
)
"""Prints the archives that this machine's apt knows, one a line."""

SITE_PACKAGES = "opt/driftprint"
WORK = "work"
_PYTHON = re.compile(r"python(3\.\d+)")


@dataclass(frozen=True)
class Archive:
    """A Debian archive.

    Attributes:
        url: of the mirror.
        codename: of the release.
    """

    url: str
    codename: str


def find_archive(listing: str) -> Archive:
    """The archive that this machine's own Debian comes from.

    Args:
        listing: what `LISTING` prints.

    Raises:
        ConfigError: where there is none.
    """
    for line in listing.splitlines():
        match line.split():
            case [url, codename, "main", "Debian"] if "-" not in codename:
                return Archive(url, codename)
    raise ConfigError("apt knows no Debian archive", where="apt's sources", fix="on Debian: apt-get update")


def make_root(folder: Path, archive: Archive, programs: Mapping[str, str], log: Path) -> Path:
    """The root, with Python and no other needless package; one that was made before is taken as it is.

    Args:
        folder: the root is made in it.
        archive: where its packages come from.
        programs: as `find_programs` gives them.
        log: takes what the programs write.

    Raises:
        DriftprintError: where a program fails.
    """
    root, done = folder / "root", folder / "root.done"
    if not done.exists() or done.read_text() != archive.codename:
        done.unlink(missing_ok=True)
        if root.exists():
            shutil.rmtree(root)
        _make(root, archive, programs, log)
        done.write_text(archive.codename)
    shutil.copy(programs[QEMU], root / "usr/bin" / QEMU)
    return root


def python_of(root: Path) -> str:
    """The minor version of the root's Python, as in "3.11"."""
    found = (_PYTHON.fullmatch(path.name) for path in (root / "usr/bin").glob("python3.*"))
    return next(match[1] for match in found if match)


def set_processor(root: Path, processor: Processor) -> None:
    """Write what Linux would say of the processor, as plain files: the real ones speak of this machine's."""
    (root / "proc/cpuinfo").write_text(processor.cpuinfo)
    cpus = _make_folder(root / "sys/devices/system/cpu")
    for name in ("possible", "present", "online"):
        (cpus / name).write_text("0\n")


def _make(root: Path, archive: Archive, programs: Mapping[str, str], log: Path) -> None:
    options = ("--foreign", "--arch=arm64", "--variant=minbase", "--include=python3")
    call((programs["debootstrap"], *options, archive.codename, root, archive.url), log)
    for name in ("proc", "sys"):
        _make_folder(root / name)
    for package in sorted((root / "var/cache/apt/archives").glob("*.deb")):
        _unpack(package, root, programs["dpkg-deb"])
    for name in (SITE_PACKAGES, WORK):
        _make_folder(root / name)


def _make_folder(path: Path) -> Path:
    # In a container debootstrap makes /proc a link to itself.
    if path.is_symlink():
        path.unlink()
    path.mkdir(parents=True, exist_ok=True)
    return path


def _unpack(package: Path, root: Path, dpkg_deb: str) -> None:
    """As ``dpkg-deb --extract``, which would put folders in the place of links like ``/lib``."""
    with subprocess.Popen((dpkg_deb, "--fsys-tarfile", package), stdout=subprocess.PIPE) as unpacked:
        tar = subprocess.run(
            ("tar", "--extract", "--preserve-permissions", "--keep-directory-symlink", "--directory", root),
            stdin=unpacked.stdout,
            check=False,
        )
    if tar.returncode or unpacked.returncode:
        raise DataError("cannot be unpacked", where=str(package), fix="the next run makes the root anew")
