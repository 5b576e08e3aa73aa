"""Changes inliers into frames that the model was not trained for: stand-ins for outliers, which nobody has.

They are made of the model's own input, so that one set serves images of every size and raw tensors alike. What
they teach is which layers notice a change at all (`driftprint_export.joint`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from driftprint.manifest import ImageInput, Layout, ModelInput

Inputs: TypeAlias = NDArray[Any]
Floats: TypeAlias = NDArray[np.float32]
Change = Callable[[Inputs, "Axes", np.random.Generator], Inputs]


@dataclass(frozen=True)
class Axes:
    """What the axes of a batch of inputs are.

    Attributes:
        spatial: those along which neighbours belong together: height and width, or time. One or two.
        channels: the axis of the channels, where there are several.
    """

    spatial: tuple[int, ...]
    channels: int | None


def axes_of(spec: ModelInput) -> Axes:
    """The axes of a model's input, the first being the batch."""
    if isinstance(spec, ImageInput):
        return {
            Layout.NCHW: Axes((2, 3), 1 if spec.channels > 1 else None),
            Layout.NHWC: Axes((1, 2), 3 if spec.channels > 1 else None),
            Layout.NHW: Axes((1, 2), None),
        }[spec.layout]
    long = [axis for axis, size in enumerate(spec.shape, start=1) if size >= 4]
    return Axes(tuple(long[-2:]), None)


def changed(inputs: Inputs, spec: ModelInput, random: np.random.Generator) -> Iterator[tuple[str, Inputs]]:
    """Each change of all inputs, in turn, with the name of its kind.

    Values stay within the range that the inputs span, and whole numbers (tokens) are rearranged but never
    computed with.

    Args:
        inputs: [N, ...], N of 2 and more.
        spec: what they are.
        random: places, orders and noise.
    """
    axes = axes_of(spec)
    if not axes.spatial:
        return
    tokens = inputs.dtype.kind in "iu" and not isinstance(spec, ImageInput)
    low, high = inputs.min(), inputs.max()
    for kind, change in REARRANGEMENTS if tokens else CHANGES:
        result = change(inputs if tokens else inputs.astype(np.float32), axes, random)
        if inputs.dtype.kind in "iu":
            result = np.rint(result)
        result = np.clip(result, low, high).astype(inputs.dtype)
        if not np.array_equal(result, inputs):
            yield kind, result


def tile(x: Inputs, axes: Axes, _random: np.random.Generator) -> Inputs:
    """Every other pixel, repeated."""
    for axis in axes.spatial:
        size = x.shape[axis]
        x = np.take(x, (2 * np.arange(size)) % size, axis)
    return x


def shuffle(x: Inputs, axes: Axes, random: np.random.Generator) -> Inputs:
    """Cut into strips along each axis, and put together in another order."""
    x = x.copy()
    for row in range(len(x)):
        for axis in axes.spatial:
            strips = np.array_split(np.arange(x.shape[axis]), 4)
            order = np.concatenate([strips[i] for i in random.permutation(len(strips))])
            x[row] = np.take(x[row], order, axis - 1)
    return x


def transplant(x: Inputs, axes: Axes, random: np.random.Generator) -> Inputs:
    """A part of another input in place of one's own."""
    others = x[_others(len(x), random)]
    x = x.copy()
    for row in range(len(x)):
        window = _window(x.shape, axes, random)
        x[row][window] = others[row][window]
    return x


def blank(x: Inputs, axes: Axes, random: np.random.Generator) -> Inputs:
    """A part of one value."""
    x = x.copy()
    for row in range(len(x)):
        x[row][_window(x.shape, axes, random)] = random.choice(x[row].reshape(-1))
    return x


def swap_channels(x: Inputs, axes: Axes, _random: np.random.Generator) -> Inputs:
    """The channels in another order, where there are several."""
    if axes.channels is not None:
        x = np.roll(x, 1, axes.channels)
    return x


def blur(width: float) -> Change:
    """Smooth with a Gaussian of `width` pixels."""
    reach = int(np.ceil(3 * width))
    weights = np.exp(-0.5 * np.square(np.arange(-reach, reach + 1) / width))
    weights = (weights / weights.sum()).astype(np.float32)

    def change(x: Floats, axes: Axes, _random: np.random.Generator) -> Floats:
        for axis in axes.spatial:
            size = x.shape[axis]
            places = np.clip(np.arange(size)[:, None] + np.arange(-reach, reach + 1), 0, size - 1)
            x = np.stack([np.take(x, column, axis) for column in places.T], axis=-1) @ weights
        return x

    return change


def noise(share: float) -> Change:
    """Add noise with a deviation of `share` of the input's own."""

    def change(x: Floats, _axes: Axes, random: np.random.Generator) -> Floats:
        deviation = x.std(axis=tuple(range(1, x.ndim)), keepdims=True)
        noisy: Floats = x + share * deviation * random.standard_normal(x.shape, np.float32)
        return noisy

    return change


def zoom(factor: float) -> Change:
    """Stretch a part, `factor` times smaller a side, to the whole."""

    def change(x: Floats, axes: Axes, random: np.random.Generator) -> Floats:
        return np.stack([stretch(row, axes, random) for row in x])

    def stretch(row: Floats, axes: Axes, random: np.random.Generator) -> Floats:
        for axis in (axis - 1 for axis in axes.spatial):
            size = row.shape[axis]
            place = random.uniform(0, (size - 1) * (1 - 1 / factor)) + np.arange(size) / factor
            before = place.astype(int)
            after = np.minimum(before + 1, size - 1)
            share = (place - before).astype(np.float32).reshape(-1, *[1] * (row.ndim - axis - 1))
            row = np.take(row, before, axis) * (1 - share) + np.take(row, after, axis) * share
        return row

    return change


def mix(x: Floats, _axes: Axes, random: np.random.Generator) -> Floats:
    """The mean of two inputs."""
    mixed: Floats = (x + x[_others(len(x), random)]) / np.float32(2)
    return mixed


def contrast(factor: float) -> Change:
    """Deviations from the input's mean, times `factor`."""

    def change(x: Floats, _axes: Axes, _random: np.random.Generator) -> Floats:
        mean = x.mean(axis=tuple(range(1, x.ndim)), keepdims=True)
        stretched: Floats = mean + np.float32(factor) * (x - mean)
        return stretched

    return change


def invert(x: Floats, _axes: Axes, _random: np.random.Generator) -> Floats:
    """Light to dark, and dark to light."""
    inverted: Floats = x.min() + x.max() - x
    return inverted


REARRANGEMENTS: tuple[tuple[str, Change], ...] = (
    ("tile", tile),
    ("shuffle", shuffle),
    ("transplant", transplant),
    ("blank", blank),
    ("channels", swap_channels),
)
"""Names of kinds, and changes, that compute with no value."""

CHANGES: tuple[tuple[str, Change], ...] = (
    *REARRANGEMENTS,
    ("blur", blur(1.0)),
    ("blur", blur(2.0)),
    ("noise", noise(0.25)),
    ("noise", noise(0.75)),
    ("zoom", zoom(2.0)),
    ("zoom", zoom(4.0)),
    ("mix", mix),
    ("contrast", contrast(0.4)),
    ("contrast", contrast(2.0)),
    ("invert", invert),
)
"""All of them; some kinds come in two degrees."""


def _others(count: int, random: np.random.Generator) -> NDArray[np.intp]:
    """For each of `count` rows another one."""
    return (np.arange(count) + random.integers(1, count, count)) % count


def _window(shape: tuple[int, ...], axes: Axes, random: np.random.Generator) -> tuple[slice, ...]:
    """A random part of one row, half as long a side."""
    parts = [slice(None)] * (len(shape) - 1)
    for axis in axes.spatial:
        length = max(1, shape[axis] // 2)
        start = int(random.integers(0, shape[axis] - length + 1))
        parts[axis - 1] = slice(start, start + length)
    return tuple(parts)
