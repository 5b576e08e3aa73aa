"""What a camera sees that turns between four places all day, and what its faults make of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from driftprint.messages import Cause

PLACES = ("astronaut", "chelsea", "coffee", "rocket")
"""Photographs that come with the package scikit-image; their names are the classes of the model."""

OTHER_PLACES = ("camera", "coins")

SIDE = 128
"""Of a frame, in pixels."""

DAY_SECONDS = 86_400
DIMMEST, BRIGHTEST = 0.5, 1.1

Frame = NDArray[np.uint8]
Fault = Callable[[Frame, np.random.Generator], Frame]


class Camera:
    """Gives frames of places, by the light of the hour and with the noise of a sensor.

    Args:
        places: that it turns between.
        random: where it looks, and the noise.
    """

    def __init__(self, places: tuple[str, ...], random: np.random.Generator) -> None:
        from skimage import data

        pictures = [np.asarray(getattr(data, name)()) for name in places]
        self._places = [np.stack([one] * 3, axis=2) if one.ndim == 2 else one[:, :, :3] for one in pictures]
        self._random = random

    def frame(self, second: float) -> tuple[Frame, int]:
        """uint8 [128, 128, 3] at this second of the day, and the number of its place."""
        place = int(self._random.integers(len(self._places)))
        scene = self._places[place]
        top, left = (int(self._random.integers(0, side - SIDE)) for side in scene.shape[:2])
        return noisy(scene[top : top + SIDE, left : left + SIDE] * daylight(second), self._random), place


def daylight(second: float) -> float:
    """How bright it is: least at midnight, most at noon."""
    noon = (1 - np.cos(2 * np.pi * second / DAY_SECONDS)) / 2
    return float(DIMMEST + (BRIGHTEST - DIMMEST) * noon)


def noisy(picture: NDArray[np.floating], random: np.random.Generator, deviation: float = 3.0) -> Frame:
    """As a sensor gives it."""
    return np.clip(picture + random.normal(0, deviation, picture.shape), 0, 255).astype(np.uint8)


FAULTS: Mapping[Cause, Fault] = {
    Cause.BLACK: lambda frame, random: noisy(frame * 0.02, random),
    Cause.BLOWN_OUT: lambda frame, random: noisy(frame * 3.0 + 255.0, random, 1.0),
    Cause.COVERED: lambda frame, random: noisy(frame * 0.02 + (90, 60, 50), random),
    Cause.BLURRED: lambda frame, random: noisy(ndimage.gaussian_filter(frame.astype(float), (4, 4, 0)), random, 1.0),
}
"""What these faults make of a frame. One that is frozen or missing is no other frame."""
