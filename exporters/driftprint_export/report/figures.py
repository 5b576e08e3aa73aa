"""The pictures of the report, as SVG or PNG data."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

from driftprint.preprocess import Frame
from driftprint.stats.conformal import Calibration, outlier_bound

INK, BAR, BOUND = "#4b5563", "#3b82a0", "#d97706"
THUMBNAIL = 128


def histogram(scores: NDArray[np.float64], label: str) -> str:
    """The scores of one layer, or of all: an SVG element."""
    figure = Figure(figsize=(3.4, 2.1), layout="constrained")
    axes = figure.subplots()
    axes.hist(scores, bins=40, color=BAR)
    axes.set_xlabel(label)
    axes.set_yticks([])
    return _svg(figure, axes)


def false_alarm_curve(calibration: Sequence[float], held_out: NDArray[np.float64]) -> str:
    """How often inliers that were not used for calibration are called outliers, for every alpha: an SVG element."""
    alphas = np.geomspace(max(1 / (len(calibration) + 1), 0.002), 0.5, 60)
    against = Calibration(calibration)
    p_values = np.asarray([against.p_value(float(score)) for score in held_out])
    figure = Figure(figsize=(5.2, 3.4), layout="constrained")
    axes = figure.subplots()
    axes.plot(alphas, [(p_values <= alpha).mean() for alpha in alphas], color=BAR, label="held-out inliers")
    axes.plot(
        alphas, [_bound(len(calibration), alpha) for alpha in alphas], color=BOUND, ls="--", label="99 % bound, p0"
    )
    axes.plot(alphas, alphas, color=INK, lw=0.8, ls=":", label="alpha")
    axes.set(xscale="log", yscale="log", xlabel="alpha", ylabel="outlier ratio of inliers")
    axes.legend(frameon=False, fontsize=8)
    return _svg(figure, axes)


def thumbnail(frame: Frame) -> str:
    """A frame as a data address: an image made small, a tensor drawn as a curve or a map."""
    if frame.dtype == np.uint8 and (frame.ndim == 2 or (frame.ndim == 3 and frame.shape[2] == 3)):
        image = Image.fromarray(frame)
        image.thumbnail((THUMBNAIL, THUMBNAIL))
        if max(image.size) < THUMBNAIL:
            grow = THUMBNAIL // max(image.size)
            image = image.resize((image.width * grow, image.height * grow), Image.Resampling.NEAREST)
    else:
        image = _drawn(frame)
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def _drawn(frame: NDArray[Any]) -> Image.Image:
    figure = Figure(figsize=(1.28, 1.28), dpi=100)
    axes = figure.add_axes((0.0, 0.0, 1.0, 1.0))
    axes.set_axis_off()
    values = np.squeeze(frame).astype(np.float64)
    if values.ndim == 2:
        axes.imshow(values, aspect="auto")
    else:
        axes.plot(values.reshape(-1), color=BAR, lw=0.8)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return Image.open(buffer)


def _bound(n: int, alpha: float) -> float:
    try:
        return outlier_bound(n, alpha)
    except ValueError:
        return float("nan")


def _svg(figure: Figure, axes: Axes) -> str:
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=8, colors=INK)
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", transparent=True)
    text = buffer.getvalue()
    return text[text.index("<svg") :]
