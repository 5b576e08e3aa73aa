"""Pictures of scores against the calibration set."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from driftprint.errors import ConfigError, MissingExtraError
from driftprint.manifest import Manifest


def plot_scores(path: Path, scores: Sequence[float], manifest: Manifest, alpha: float) -> None:
    """Draw the histogram of `scores` over that of the calibration set.

    Args:
        path: the file to write; its suffix says the format (png, svg, pdf).
        scores: the frames' outlier scores.
        manifest: of the bundle that gave them.
        alpha: where to draw the line between inliers and outliers, as a p-value.

    Raises:
        MissingExtraError: without matplotlib.
        ConfigError: where the file cannot be written, or its format is unknown.
    """
    try:
        import numpy as np
        from matplotlib.figure import Figure
    except ImportError:
        raise MissingExtraError("--plot needs matplotlib", extra="plot") from None

    calibration = np.asarray(manifest.calibration.scores)
    frames = np.asarray(scores)
    threshold = float(np.quantile(calibration, 1 - alpha, method="higher"))
    low = min(calibration.min(), frames.min())
    # Far outliers would squeeze the calibration set into one bar: the last bar takes all beyond the edge.
    high = min(frames.max(), calibration.max() + 2.0 * float(np.ptp(calibration)))
    bins = np.linspace(low, max(high, calibration.max()), 60)

    figure = Figure(figsize=(8, 4.2), layout="constrained")
    axes = figure.subplots()
    for values, label, colour in (
        (calibration, f"calibration set ({len(calibration)})", "#4c78a8"),
        (np.minimum(frames, bins[-1]), f"these frames ({len(frames)})", "#e45756"),
    ):
        axes.hist(
            values, bins=list(bins), weights=np.full(len(values), 1 / len(values)), alpha=0.6, label=label, color=colour
        )
    axes.axvline(threshold, color="#333333", linestyle="--", linewidth=1, label=f"p-value {alpha:g}")
    axes.set(xlabel="outlier score (last bar: all beyond)", ylabel="share of frames", title=manifest.id)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    try:
        figure.savefig(path, dpi=130)
    except (OSError, ValueError) as error:
        raise ConfigError(f"cannot be drawn ({error})", where=str(path)) from None
