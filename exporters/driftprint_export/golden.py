"""The golden frames: calibration frames that every load of the bundle replays."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from driftprint.bundle import GOLDEN_FRAMES
from driftprint.preprocess import Frame

LARGEST_SIDE = 640
"""A larger image is made smaller, so that sixteen of them stay a small file."""


def pick_golden(scores: Sequence[float]) -> list[int]:
    """Which frames to take: evenly from the least to the most outlying.

    Args:
        scores: of all calibration frames.
    """
    order = np.argsort(scores, kind="stable")
    places = np.linspace(0, len(order) - 1, min(GOLDEN_FRAMES, len(order)))
    return [int(order[int(place)]) for place in places]


def golden_frame(frame: Frame) -> NDArray[Any]:
    """A frame as it is kept: an image of at most `LARGEST_SIDE` pixels a side, a tensor as it is."""
    if frame.dtype != np.uint8 or frame.ndim not in (2, 3) or max(frame.shape[:2]) <= LARGEST_SIDE:
        return frame
    if frame.ndim == 3 and frame.shape[2] != 3:
        return frame
    image = Image.fromarray(frame)
    image.thumbnail((LARGEST_SIDE, LARGEST_SIDE))
    return np.asarray(image)
