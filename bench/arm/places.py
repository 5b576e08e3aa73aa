"""Where driftprint runs: on this machine, or in the root on an emulated processor."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from bench.arm.processors import Processor
from bench.arm.programs import QEMU
from bench.arm.root import SITE_PACKAGES, WORK

# onnxruntime's own wheels send usage data, which is no part of the proof.
_QUIET = {"ORT_DISABLE_TELEMETRY": "1"}
_ASK = "import platform; print(platform.machine(), platform.python_version())"


@dataclass(frozen=True)
class Place:
    """A place where driftprint runs.

    Attributes:
        python: the command that runs Python there.
        environment: all of it.
        folder: for files, as it is called here.
        inside: the same folder, as it is called there.
    """

    python: tuple[str, ...]
    environment: Mapping[str, str]
    folder: Path
    inside: Path

    @property
    def driftprint(self) -> tuple[str, ...]:
        """The command ``driftprint``."""
        return (*self.python, "-m", "driftprint")

    def machine(self) -> tuple[str, str]:
        """The architecture and the version of Python, as Python says there."""
        said = subprocess.run(
            (*self.python, "-c", _ASK), env=self.environment, capture_output=True, text=True, check=True
        )
        architecture, version = said.stdout.split()
        return architecture, version


def here(folder: Path) -> Place:
    """This machine."""
    return Place((sys.executable,), {**os.environ, **_QUIET}, folder, folder.absolute())


def emulated(root: Path, processor: Processor, chroot: str) -> Place:
    """The root, on a processor. One process only: it cannot start others.

    Args:
        root: as `bench.arm.root.make_root` makes it.
        processor: which; `bench.arm.root.set_processor` has told the root of it.
        chroot: the program of that name.
    """
    return Place(
        (chroot, str(root), f"/usr/bin/{QEMU}", "-cpu", processor.name, "/usr/bin/python3"),
        {
            "HOME": "/root",
            "LANG": "C.UTF-8",
            "PYTHONPATH": f"/{SITE_PACKAGES}",
            **_QUIET,
        },
        root / WORK,
        Path("/") / WORK,
    )
