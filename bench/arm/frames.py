"""The frames of the proof: digits that the bundle has not seen, then photographs."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from bench.outliers.photographs import photographs
from driftprint.digits import Part, load_digits

INLIERS, OUTLIERS = 150, 50
FRAMES = INLIERS + OUTLIERS


def write_frames(file: Path) -> None:
    """Write an .npz file as `driftprint.frames.read_frames` reads it: `FRAMES` times uint8 [28, 28].

    Raises:
        MissingExtraError: without the package that ships the digits.
    """
    digits = load_digits(Part.DEMO).frames[:INLIERS]
    pieces = photographs(OUTLIERS, digits.shape[1], np.random.default_rng(0))
    np.savez(file, x=np.concatenate([digits, pieces]))
