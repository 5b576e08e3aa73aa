"""The results as pictures: ROC curves, and histograms of scores."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from bench.detection.measure import Scores, roc

INLIERS = "#3b82a0"
COLOURS = ("#d97706", "#b91c1c", "#4d7c0f", "#7c3aed", "#0f766e", "#be185d", "#475569", "#a16207")


def draw(path: Path, title: str, inliers: Scores, outliers: dict[str, Scores]) -> None:
    """Both pictures of one model in one file.

    Args:
        path: the file to write; its suffix says in which format.
        title: above them.
        inliers: scores of fresh inliers, [N].
        outliers: scores of each kind of outliers, [M].
    """
    figure = Figure(figsize=(9.6, 3.6), layout="constrained")
    figure.suptitle(title, fontsize=10)
    curves, heaps = figure.subplots(1, 2)
    limit = float(np.quantile(np.concatenate([inliers, *outliers.values()]), 0.99))
    bins = np.linspace(0, limit, 60)
    heaps.hist(np.minimum(inliers, limit), bins=bins, density=True, color=INLIERS, alpha=0.5, label="inliers")
    for colour, (name, scores) in zip(COLOURS, outliers.items(), strict=False):
        curves.plot(*roc(inliers, scores), color=colour, lw=1.2, label=name)
        heaps.hist(np.minimum(scores, limit), bins=bins, density=True, histtype="step", color=colour, label=name)
    curves.plot([0, 1], [0, 1], color="#9ca3af", lw=0.8, ls=":")
    curves.set(xlabel="inliers flagged", ylabel="outliers caught")
    heaps.set(xlabel="score", yticks=[])
    for axes in (curves, heaps):
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False, fontsize=7)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
