"""What the three devices of the demo see: real frames, none of which the bundle was made from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from driftprint.digits import Part, load_digits
from driftprint.errors import MissingExtraError

FRAMES_PER_SECOND = 40.0
"""Of every device."""

_BEFORE, _DURING, _AFTER = 400, 800, 800  # frames of a changing scene, which is then repeated
_PHOTOGRAPHS_SHARE = 0.7  # of the frames while the drifting device drifts
_DEFOCUS_FRAMES = 200  # the lens takes so many frames to lose its focus
_DEFOCUS_SIGMA = 3.0  # pixels, of 28
_PHOTOGRAPHS = ("astronaut", "camera", "chelsea", "coffee", "coins", "rocket")
_TILE, _STRIDE = 112, 56  # pixels

Frame = NDArray[np.uint8]


@dataclass(frozen=True)
class Scene:
    """A device and its frames.

    Attributes:
        device: the device's id.
        about: what it sees, for people.
        frames: uint8 [H, W] or [H, W, 3], to be replayed over and over.
        change_at: index of the first frame that is not as the model's training data; None where all are.
    """

    device: str
    about: str
    frames: Sequence[Frame]
    change_at: int | None


def make_scenes(rng: np.random.Generator) -> tuple[Scene, ...]:
    """The clean, the drifting and the defocused device.

    Args:
        rng: decides the order of the frames.

    Raises:
        MissingExtraError: without the packages that ship the frames.
    """
    digits = list(load_digits(Part.DEMO).frames)
    return (
        Scene("clean", "handwritten digits", _shuffled(digits, len(digits), rng), None),
        Scene("drifting", "then photographs too", _drifting(digits, rng), _BEFORE),
        Scene("defocused", "then out of focus", _defocused(digits, rng), _BEFORE),
    )


def write_frames(frames: Sequence[Frame], folder: Path) -> None:
    """Write frames as numbered PNG files."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, frame in enumerate(frames):
        Image.fromarray(frame).save(folder / f"{number:05d}.png", compress_level=1)


def _drifting(digits: Sequence[Frame], rng: np.random.Generator) -> list[Frame]:
    new = _shuffled(_photographs(), _DURING, rng)
    old = _shuffled(digits, _DURING, rng)
    during = [new[i] if rng.random() < _PHOTOGRAPHS_SHARE else old[i] for i in range(_DURING)]
    return [*_shuffled(digits, _BEFORE, rng), *during, *_shuffled(digits, _AFTER, rng)]


def _defocused(digits: Sequence[Frame], rng: np.random.Generator) -> list[Frame]:
    during = [
        _blur(frame, _DEFOCUS_SIGMA * min(1.0, (number + 1) / _DEFOCUS_FRAMES))
        for number, frame in enumerate(_shuffled(digits, _DURING, rng))
    ]
    return [*_shuffled(digits, _BEFORE, rng), *during, *_shuffled(digits, _AFTER, rng)]


def _blur(frame: Frame, sigma: float) -> Frame:
    """A lens out of focus, as a Gaussian of `sigma` pixels."""
    return np.asarray(Image.fromarray(frame).filter(ImageFilter.GaussianBlur(sigma)))


def _photographs() -> list[Frame]:
    """Tiles of the photographs that scikit-image ships: uint8 [112, 112] or [112, 112, 3]."""
    try:
        from skimage import data
    except ImportError:
        raise MissingExtraError("the photographs come with the package scikit-image", extra="demo") from None
    tiles: list[Any] = []
    for name in _PHOTOGRAPHS:
        image = getattr(data, name)()
        height, width = image.shape[:2]
        tiles += [
            image[top : top + _TILE, left : left + _TILE]
            for top in range(0, height - _TILE + 1, _STRIDE)
            for left in range(0, width - _TILE + 1, _STRIDE)
        ]
    return tiles


def _shuffled(frames: Sequence[Frame], count: int, rng: np.random.Generator) -> list[Frame]:
    """`count` of the frames in random order; each is used again only when all have been."""
    rounds = -(-count // len(frames))
    order = np.concatenate([rng.permutation(len(frames)) for _ in range(rounds)])[:count]
    return [frames[i] for i in order]
