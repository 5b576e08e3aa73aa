"""Natural corruptions in five severities, for small pictures.

The families are those of Hendrycks and Dietterich, "Benchmarking neural network robustness to common corruptions
and perturbations", ICLR 2019, and the levels those of their CIFAR-10-C, except where a corruption says otherwise.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from driftprint_export.reference.coding import through_jpeg

Images = NDArray[np.uint8]
Floats: TypeAlias = NDArray[np.float32]
Corruption = Callable[[Images, int, np.random.Generator], Images]
"""Takes pictures, uint8 [N, H, W] or [N, H, W, 3], a severity of 1 to 5, and randomness; gives the same shape."""

SEVERITIES = (1, 2, 3, 4, 5)

Level = TypeVar("Level")


def blur(images: Images, severity: int, _random: np.random.Generator) -> Images:
    """Smooth with a Gaussian."""
    width = _level((0.4, 0.6, 0.7, 0.8, 1.0), severity)
    return _pixels(ndimage.gaussian_filter(_floats(images), (0, width, width, 0)[: images.ndim], mode="nearest"))


def defocus(images: Images, severity: int, _random: np.random.Generator) -> Images:
    """Smooth with a disc, as a lens out of focus does; the radii are our own."""
    disc = _disc(_level((0.8, 1.1, 1.5, 2.0, 2.5), severity))
    kernel = disc.reshape(1, *disc.shape, *[1] * (images.ndim - 3))
    return _pixels(ndimage.convolve(_floats(images), kernel, mode="nearest"))


def noise(images: Images, severity: int, random: np.random.Generator) -> Images:
    """Add independent Gaussian noise to every value."""
    deviation = 255 * _level((0.04, 0.06, 0.08, 0.09, 0.10), severity)
    return _pixels(_floats(images) + np.float32(deviation) * random.standard_normal(images.shape, np.float32))


def fog(images: Images, severity: int, random: np.random.Generator) -> Images:
    """Add a bright plasma fractal, and scale down to each picture's former maximum, which takes away contrast."""
    amount, decay = _level(((0.2, 3.0), (0.5, 3.0), (0.75, 2.5), (1.0, 2.0), (1.5, 1.75)), severity)
    x = _floats(images) / 255
    highest = x.max(axis=tuple(range(1, x.ndim)), keepdims=True)
    clouds = _over(plasma(len(x), images.shape[1:3], decay, random), images)
    return _pixels(255 * (x + amount * clouds) * highest / (highest + amount))


def frost(images: Images, severity: int, random: np.random.Generator) -> Images:
    """Cover with bright crystals.

    The original blends photographs of frost; these crystals are drawn, so the levels, which are opacities, are
    our own.
    """
    opacity = _level((0.3, 0.45, 0.6, 0.75, 0.9), severity)
    cover = np.float32(opacity) * _over(crystals(len(images), images.shape[1:3], random), images)
    ice = np.array([225, 240, 255] if images.ndim == 4 else 240, np.float32)
    return _pixels(_floats(images) * (1 - cover) + ice * cover)


def brightness(images: Images, severity: int, _random: np.random.Generator) -> Images:
    """Raise the value, of hue, saturation and value."""
    amount = 255 * _level((0.05, 0.1, 0.15, 0.2, 0.3), severity)
    x = _floats(images)
    value = x.max(axis=3, keepdims=True) if images.ndim == 4 else x
    brighter: Floats = np.minimum(value + np.float32(amount), 255)
    raised: Floats = np.where(value > 0, x * brighter / np.maximum(value, 1), brighter)
    return _pixels(raised)


def jpeg(images: Images, severity: int, _random: np.random.Generator) -> Images:
    """Code as JPEG of ever lower quality.

    The levels are those of ImageNet-C: the colour pictures have been coded before
    (`driftprint_export.reference.coding`), so those of CIFAR-10-C would hardly change them.
    """
    return through_jpeg(images, _level((25, 18, 15, 10, 7), severity))


def occlusion(images: Images, severity: int, random: np.random.Generator) -> Images:
    """Hide a square, at a random place and of a random grey (not in the paper)."""
    n, height, width = images.shape[:3]
    side = round(min(height, width) * _level((0.2, 0.3, 0.4, 0.5, 0.6), severity))
    corner = random.random((n, 2)) * (height - side + 1, width - side + 1)
    greys = random.integers(0, 256, n, np.uint8)
    hidden: Images = images.copy()
    for place, (top, left) in enumerate(corner.astype(int)):
        hidden[place, top : top + side, left : left + side] = greys[place]
    return hidden


CORRUPTIONS: dict[str, Corruption] = {
    "blur": blur,
    "defocus": defocus,
    "noise": noise,
    "fog": fog,
    "frost": frost,
    "brightness": brightness,
    "jpeg": jpeg,
    "occlusion": occlusion,
}
"""Every corruption by its name."""


def plasma(count: int, shape: tuple[int, ...], decay: float, random: np.random.Generator) -> Floats:
    """Clouds by the diamond-square algorithm (Fournier, Fussell, Carpenter, CACM 1982), on a torus.

    Args:
        count: how many, N.
        shape: height and width.
        decay: how much smaller the deviations are at half the distance; smaller values give rougher clouds.
        random: the deviations.

    Returns:
        float32 [N, H, W], each from 0 to 1.
    """
    size = 1 << (max(shape) - 1).bit_length()
    field = np.zeros((count, size, size), np.float32)
    step, deviation = size, 1.0

    def between(*neighbours: Floats) -> Floats:
        change = random.uniform(-deviation, deviation, neighbours[0].shape)
        middle: Floats = sum(neighbours) / np.float32(4) + change.astype(np.float32)
        return middle

    while step >= 2:
        half = step // 2
        corners = field[:, ::step, ::step]
        below, right = np.roll(corners, -1, 1), np.roll(corners, -1, 2)
        centres = between(corners, below, right, np.roll(below, -1, 2))
        field[:, half::step, half::step] = centres
        field[:, ::step, half::step] = between(corners, right, centres, np.roll(centres, 1, 1))
        field[:, half::step, ::step] = between(corners, below, centres, np.roll(centres, 1, 2))
        step, deviation = half, deviation / decay
    field = field[:, : shape[0], : shape[1]]
    field = field - field.min(axis=(1, 2), keepdims=True)
    clouds: Floats = field / np.maximum(field.max(axis=(1, 2), keepdims=True), np.float32(1e-6))
    return clouds


def crystals(count: int, shape: tuple[int, ...], random: np.random.Generator, *, needles: int = 14) -> Floats:
    """Frost: thin needles that start near the border, branch at 60 degrees, and have grainy edges.

    Args:
        count: how many, N.
        shape: height and width.
        random: places, angles, lengths and grain.
        needles: in each.

    Returns:
        float32 [N, H, W] from 0, no ice, to 1.
    """
    height, width = shape
    side = max(shape)
    y, x = np.mgrid[:height, :width].astype(np.float32)
    first = random.uniform(0, np.pi, count)
    ice = np.zeros((count, height, width), np.float32)
    for _ in range(needles):
        inward = np.minimum(random.exponential(0.12, count), 0.5)
        places = np.where(random.random((2, count)) < 0.5, inward, 1 - inward)
        free = random.integers(0, 2, count)
        places[free, np.arange(count)] = random.random(count)
        angle = first + random.integers(0, 3, count) * np.pi / 3 + random.normal(0, 0.08, count)
        length = side * random.uniform(0.1, 0.4, count)
        thickness = side * random.uniform(0.015, 0.035, count)
        sine, cosine, long, thick = (_column(values) for values in (np.sin(angle), np.cos(angle), length, thickness))
        down, across = y - _column(places[0] * height), x - _column(places[1] * width)
        along, aside = (across * cosine + down * sine) / long, (down * cosine - across * sine) / thick
        np.maximum(ice, np.exp(-np.square(along) - np.square(aside)), out=ice)
    ice *= random.uniform(0.7, 1, ice.shape)
    return ice


def _column(values: NDArray[np.float64]) -> Floats:
    return values.astype(np.float32)[:, None, None]


def _disc(radius: float, fineness: int = 8) -> Floats:
    """How much of each pixel a disc covers; sums to 1."""
    reach = int(np.ceil(radius - 0.5))
    cells = (2 * reach + 1) * fineness
    places = (np.arange(cells) + 0.5) / fineness - cells / (2 * fineness)
    inside = np.hypot(*np.meshgrid(places, places)) <= radius
    covered = inside.reshape(2 * reach + 1, fineness, 2 * reach + 1, fineness).mean(axis=(1, 3), dtype=np.float32)
    share: Floats = covered / covered.sum()
    return share


def _level(levels: Sequence[Level], severity: int) -> Level:
    if severity not in SEVERITIES:
        raise ValueError(f"severity must be 1 to 5, not {severity}")
    return levels[severity - 1]


def _over(planes: Floats, images: Images) -> Floats:
    """One plane a picture, for all of its channels."""
    return planes if images.ndim == 3 else planes[..., None]


def _floats(images: Images) -> Floats:
    return images.astype(np.float32)


def _pixels(values: Floats) -> Images:
    pixels: Images = np.rint(np.clip(values, 0, 255)).astype(np.uint8)
    return pixels
