"""A camera without hardware, for tests: a process that `camera.c` is preloaded into takes one path for a V4L2 device.

Run as a script it opens such a camera as the agent does, and prints a line of JSON for whatever the camera gives.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from threading import Event
from typing import Any, Literal, TypedDict

import numpy as np

from driftprint.clock import SystemClock
from driftprint.errors import FaultReason
from driftprint.logs import configure_logging
from driftprint_edge.sources.video import CameraSettings


class Given(TypedDict):
    """What the agent's source has given.

    Attributes:
        size: a frame's height and width; empty where no frame came.
        left: RGB of a pixel on the left; likewise.
        right: RGB of a pixel on the right; likewise.
        number: of the frame since the camera was opened, modulo 256; -1 where none came.
        faults: the source's counts.
    """

    size: list[int]
    left: list[int]
    right: list[int]
    number: int
    faults: dict[FaultReason, int]


class Camera:
    """A camera that is plugged in.

    Args:
        library: what `build` has made.
        folder: for its control file.
    """

    device = "/dev/video-stand-in"

    def __init__(self, library: Path, folder: Path) -> None:
        self._control = folder / "camera"
        self.environment = {
            "LD_PRELOAD": str(library),
            "V4L2_STAND_IN": self.device,
            "V4L2_STAND_IN_CONTROL": str(self._control),
        }
        """Of a process that is to see it."""

    def does(self, what: Literal["run", "black", "stall", "unplug"]) -> None:
        """From now on; see `camera.c`."""
        new = self._control.with_suffix(".new")
        new.write_text(what)
        new.replace(self._control)


def build(folder: Path) -> Path:
    """The library, compiled; without a compiler the test is skipped, or fails where CI is "true"."""
    import pytest

    headers = b"#include <linux/videodev2.h>\n#include <stdio.h>\n"
    if not shutil.which("gcc") or subprocess.run(["gcc", "-E", "-"], input=headers, capture_output=True).returncode:
        missing = "no C compiler with headers is installed (Debian: apt-get install gcc libc6-dev)"
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(missing)
    library = folder / "camera.so"
    source = Path(__file__).with_suffix(".c")
    subprocess.run(["gcc", "-shared", "-fPIC", "-O2", "-Wall", "-Wextra", "-o", library, source, "-ldl"], check=True)
    return library


def main(settings: dict[str, Any]) -> None:
    """Print what comes, until killed.

    Args:
        settings: the table ``[stream.source]``.
    """
    configure_logging()  # to standard error
    source = CameraSettings(**settings).open(SystemClock())
    for frame in source.frames(Event()):
        given: Given = {"size": [], "left": [], "right": [], "number": -1, "faults": dict(source.faults_total)}
        if frame is not None:
            pixels = frame.load()
            height, width = pixels.shape[:2]
            fields = pixels[height // 16, width // 16 :: width // 8, 0] > 128
            given["size"] = [height, width]
            given["left"] = pixels[height // 2, width // 4].tolist()
            given["right"] = pixels[height // 2, 3 * width // 4].tolist()
            given["number"] = int(np.packbits(fields)[0])
        print(json.dumps(given), flush=True)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
