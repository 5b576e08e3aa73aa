"""Divides inliers into disjoint parts, by what the frames contain."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.intp]


@dataclass(frozen=True)
class Split:
    """Row numbers of the parts.

    Attributes:
        fit: the method learns from these.
        held_out: the joining of the layers is learnt on these.
        calibration: new frames are compared with these; empty where calibration frames are given apart.
    """

    fit: Rows
    held_out: Rows
    calibration: Rows


def split(keys: Sequence[str], *, seed: int, with_calibration: bool) -> Split:
    """Divide frames so that all of one key fall into one part.

    A key's part depends on the key and the seed alone, not on the order or number of frames.

    Args:
        keys: for each frame the video, house or session it comes from, or else the digest of its contents, so
            that copies of one frame never fall into different parts.
        seed: gives another division.
        with_calibration: whether a calibration part is to be cut off too.
    """
    places = np.asarray([place(key, seed) for key in keys])
    calibration_from = 0.65 if with_calibration else 1.0
    held_out_from = 0.45 if with_calibration else 0.7
    return Split(
        fit=np.flatnonzero(places < held_out_from),
        held_out=np.flatnonzero((places >= held_out_from) & (places < calibration_from)),
        calibration=np.flatnonzero(places >= calibration_from),
    )


def place(key: str, seed: int) -> float:
    """Where a key stands: a number in [0, 1), the same for the same key and seed."""
    digest = hashlib.sha256(f"{seed}\0{key}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64
