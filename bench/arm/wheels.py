"""The base install's wheels for aarch64, with the pins of requirements.lock."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from packaging.utils import parse_wheel_filename
from pydantic import BaseModel

from bench.arm.programs import call

HEAVY = ("torch", "scipy", "pandas", "cv2")
"""Modules that the base install does without."""

# Debian 12's C library is newer than any of these ask for.
_PLATFORMS = tuple(f"manylinux_2_{minor}_aarch64" for minor in range(28, 16, -1))
_PIP = (sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check")


class WheelSet(BaseModel):
    """What a device downloads.

    Attributes:
        megabytes: of all wheels, 1 MB = 1,000,000 bytes.
        versions: by package.
        heavy: which of `HEAVY` came with them.
    """

    megabytes: float
    versions: dict[str, str]
    heavy: list[str]


def gather(checkout: Path, folder: Path, python: str, log: Path) -> list[Path]:
    """Build the checkout's own wheel and download those it needs.

    Args:
        checkout: of this repository.
        folder: takes the wheels and nothing else; what is in it is removed.
        python: the minor version they are for.
        log: takes what pip writes.
    """
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
    call((*_PIP, "wheel", "--no-deps", "--wheel-dir", folder, checkout), log)
    [own] = folder.glob("*.whl")
    lock = checkout / "requirements.lock"
    call((*_PIP, "download", "--constraint", lock, *_for_aarch64(python), "--dest", folder, own), log)
    return sorted(folder.glob("*.whl"))


def install(wheels: Sequence[Path], target: Path, python: str, log: Path) -> None:
    """Install the wheels into a folder, in place of what is in it."""
    if target.exists():
        shutil.rmtree(target)
    call((*_PIP, "install", "--no-deps", "--no-index", *_for_aarch64(python), "--target", target, *wheels), log)


def describe(wheels: Sequence[Path], target: Path) -> WheelSet:
    """Sizes, versions, and what of it is heavy.

    Args:
        wheels: the files.
        target: where they are installed.
    """
    names = [parse_wheel_filename(wheel.name) for wheel in wheels]
    return WheelSet(
        megabytes=round(sum(wheel.stat().st_size for wheel in wheels) / 1e6, 1),
        versions={name: str(version) for name, version, *_ in names},
        heavy=[module for module in HEAVY if (target / module).exists()],
    )


def _for_aarch64(python: str) -> tuple[str, ...]:
    platforms = (word for platform in _PLATFORMS for word in ("--platform", platform))
    return ("--only-binary=:all:", "--python-version", python, *platforms)
