"""Pictures through JPEG, so that no detector tells two sets apart by how their files were coded."""

from __future__ import annotations

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image

QUALITY = 75
SUBSAMPLING = "4:2:0"

Images = NDArray[np.uint8]


def as_jpeg(images: Images) -> Images:
    """Give colour pictures the traces of JPEG coding that the CIFAR-10 and SVHN of the benchmark have.

    These are stored as JPEG files of quality 75 with 4:2:0 chroma subsampling. Pillow's encoder writes files with
    the same quantisation tables and sampling, so whatever is compared with them must pass through here.

    Args:
        images: uint8 [N, H, W], which is returned as it is, or [N, H, W, 3].

    Returns:
        uint8 of the same shape.
    """
    return images if images.ndim == 3 else through_jpeg(images, QUALITY)


def through_jpeg(images: Images, quality: int) -> Images:
    """Code and decode every picture.

    Args:
        images: uint8 [N, H, W] or [N, H, W, 3].
        quality: of the coding, 1 to 95.

    Returns:
        uint8 of the same shape.
    """
    decoded = np.empty_like(images)
    for place, image in enumerate(images):
        with Image.open(io.BytesIO(encode(image, quality))) as coded:
            decoded[place] = np.asarray(coded)
    return decoded


def encode(image: Images, quality: int = QUALITY) -> bytes:
    """One picture, uint8 [H, W] or [H, W, 3], as a JPEG file."""
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=quality, subsampling=SUBSAMPLING)
    return file.getvalue()
