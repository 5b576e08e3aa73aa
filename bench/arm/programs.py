"""The programs that the proof starts: which there must be, and how one is run to its end."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from driftprint.errors import ConfigError, DriftprintError

QEMU = "qemu-aarch64-static"
PACKAGES = {
    "apt-get": "apt",
    "chroot": "coreutils",
    "debootstrap": "debootstrap",
    "dpkg-deb": "dpkg",
    "mosquitto": "mosquitto",
    QEMU: "qemu-user-static",
}
"""A program, and the Debian package that it comes with."""

_LONGEST_SECONDS = 1800.0


def find_programs(path: str) -> dict[str, str]:
    """Where each of `PACKAGES` is.

    Args:
        path: the folders to look in, as in ``PATH``.

    Raises:
        ConfigError: naming the packages of those that are missing.
    """
    found = {name: shutil.which(name, path=path) for name in PACKAGES}
    if missing := [PACKAGES[name] for name, where in found.items() if where is None]:
        raise ConfigError(
            f"{', '.join(missing)} not installed",
            where="make arm",
            fix=f"on Debian: apt-get update && apt-get install {' '.join(missing)}",
        )
    return {name: where for name, where in found.items() if where is not None}


def call(command: Sequence[str | Path], log: Path, *, environment: Mapping[str, str] | None = None) -> None:
    """Run a command to its end.

    Args:
        command: program and arguments.
        log: what it writes is added to this file.
        environment: its whole environment; None for ours.

    Raises:
        DriftprintError: where it ends with anything but 0, with the last line it wrote.
    """
    with log.open("ab") as output:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=environment,
            check=False,
            timeout=_LONGEST_SECONDS,
        )
    if done.returncode:
        last = (log.read_text(errors="replace").strip().splitlines() or ["nothing"])[-1]
        raise DriftprintError(
            f"{Path(command[0]).name} ended with exit code {done.returncode}, its last line: {last}", where=str(log)
        )
