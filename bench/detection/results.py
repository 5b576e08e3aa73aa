"""What the bench found, as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from pydantic import BaseModel

from bench.detection.measure import Figures

Family = Literal["bundle", "fingerprint", "peer"]


class Row(BaseModel):
    """One detector on one kind of outliers."""

    kind: str
    """Of outlier: data set, corruption, attack, generated."""
    outliers: str
    count: int
    note: str
    detector: str
    family: Family
    """The committed bundle itself, a fingerprint fitted anew, or a detector of pytorch-ood."""
    runs: list[Figures]
    """One a seed."""

    def mean(self, figure: str) -> float:
        """Of one of the fields of `Figures`, over the seeds."""
        return float(np.mean([getattr(run, figure) for run in self.runs]))

    def spread(self, figure: str) -> float:
        """The deviation over the seeds; 0 for one."""
        return float(np.std([getattr(run, figure) for run in self.runs]))


class Calibrated(BaseModel):
    """How often the committed bundle flags fresh inliers at alpha."""

    alpha: float
    bound: float
    """What the outlier ratio of inliers stays under with 99 % confidence."""
    counted_bound: float
    """What the ratio of so few fresh inliers stays under: the bound, and the chance of counting."""
    within_bound: float
    """Had chance made another calibration set of the same size: how often of 200 times the ratio stayed under that."""
    flagged: float
    """Of all fresh inliers."""
    worst_class: str
    worst_class_frames: int
    worst_class_flagged: float
    """Of the class with the most."""
    over_twice: list[str]
    """The classes that flag inliers at more than twice alpha, by more than chance."""


class ModelResults(BaseModel):
    """One model."""

    name: str
    description: str
    accuracy: float
    """The share of fresh inliers named rightly."""
    inliers: int
    """Fresh inliers that outliers are compared with."""
    calibrated: Calibrated
    rows: list[Row]

    def rows_of(self, kind: str, family: Family | None = None) -> list[Row]:
        """Those on one kind of outliers."""
        return [row for row in self.rows if row.kind == kind and family in (None, row.family)]


class Results(BaseModel):
    """All of it."""

    quick: bool
    seeds: list[int]
    versions: dict[str, str]
    models: list[ModelResults]

    def with_model(self, found: ModelResults) -> Results:
        """The same with one model's results, in place of earlier ones."""
        models = {model.name: model for model in self.models} | {found.name: found}
        return self.model_copy(update={"models": list(models.values())})


def unique(names: Sequence[str]) -> list[str]:
    """Each name once, in order."""
    return list(dict.fromkeys(names))
