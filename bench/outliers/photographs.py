"""Pieces of photographs, for models of small grey pictures. They come with the package scikit-image."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

NAMES = ("astronaut", "camera", "chelsea", "coffee", "coins", "rocket")
TILE, STRIDE = 112, 28

Images = NDArray[np.uint8]


def photographs(count: int, side: int, random: np.random.Generator) -> Images:
    """Square pieces, made small: uint8 [N, side, side], N at most `count`."""
    from skimage import data

    tiles = []
    for name in NAMES:
        whole = Image.fromarray(getattr(data, name)()).convert("L")
        for top in range(0, whole.height - TILE + 1, STRIDE):
            for left in range(0, whole.width - TILE + 1, STRIDE):
                piece = whole.crop((left, top, left + TILE, top + TILE))
                tiles.append(np.asarray(piece.resize((side, side), Image.Resampling.BOX)))
    order = random.permutation(len(tiles))[:count]
    return np.stack([tiles[i] for i in order])
