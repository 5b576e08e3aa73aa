"""What ``driftprint score`` says of the same frames in two places, compared."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pydantic import BaseModel

from driftprint.errors import DataError


@dataclass(frozen=True)
class Scored:
    """A line of its CSV."""

    frame: str
    score: float
    outlier: bool
    predicted: str


class Difference(BaseModel):
    """How far two places are apart.

    Attributes:
        frames: how many were compared.
        absolute: the largest difference of a frame's scores.
        relative: the largest difference of a frame's scores over the score here, where that is not nought.
        decisions: frames that are an outlier in one place alone.
        classes: frames whose predicted class differs.
    """

    frames: int
    absolute: float
    relative: float
    decisions: int
    classes: int


def read_scores(lines: Iterable[str]) -> list[Scored]:
    """The CSV that ``driftprint score --out`` writes, its scores with six digits."""
    return [
        Scored(row["frame"], float(row["score"]), row["outlier"] == "1", row["predicted"])
        for row in csv.DictReader(lines)
    ]


def compare(there: Sequence[Scored], here: Sequence[Scored]) -> Difference:
    """Compare frame by frame.

    Raises:
        DataError: where these are not the same frames, or none.
    """
    if not here or [one.frame for one in there] != [one.frame for one in here]:
        raise DataError(f"{len(there)} frames there and {len(here)} here are not the same frames", where="scores")
    pairs = list(zip(there, here, strict=True))
    apart = [abs(ours.score - theirs.score) for ours, theirs in pairs]
    relative = [gap / abs(theirs.score) for gap, (_, theirs) in zip(apart, pairs, strict=True) if theirs.score]
    return Difference(
        frames=len(pairs),
        absolute=round(max(apart), 6),
        relative=round(max(relative, default=0.0), 6),
        decisions=sum(ours.outlier != theirs.outlier for ours, theirs in pairs),
        classes=sum(ours.predicted != theirs.predicted for ours, theirs in pairs),
    )
