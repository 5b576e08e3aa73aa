"""driftprint: know, on the device, when a model is looking at data it was not trained for.

from driftprint import Monitor
monitor = Monitor("my-model-1.driftprint")
reading = monitor(frame)  # reading.outlier, reading.p_value, reading.alarm
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from driftprint.errors import DriftprintError, FrameError
from driftprint.version import VERSION

if TYPE_CHECKING:
    from driftprint.monitor import Monitor, Reading

__version__ = VERSION

# onnxruntime's official builds send events to their maker unless told otherwise before they load ("Privacy.md" in its
# package). What a device does is its owner's business; who wants to, sets it to 0.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

__all__ = ["DriftprintError", "FrameError", "Monitor", "Reading", "__version__"]


def __getattr__(name: str) -> Any:
    """Load onnxruntime only for those who score: the server and ``--help`` do not."""
    if name in ("Monitor", "Reading"):
        from driftprint import monitor

        return getattr(monitor, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
