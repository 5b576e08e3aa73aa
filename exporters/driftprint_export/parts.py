"""Which inliers are used for what: to fit, to join the layers, to calibrate. No frame is used for two."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import compress
from typing import overload

import numpy as np

from driftprint.errors import DataError
from driftprint.frames import FrameRef, FrameSet
from driftprint_export.features import Collected
from driftprint_export.split import place, split

FEWEST_FIT = 20

JOINING_SHARE = 0.25
"""Of calibration frames given apart: the layers are joined on these, which the model was not trained on either."""

FEWEST_JOINING, MOST_JOINING = 100, 2_000


@dataclass(frozen=True)
class Parts:
    """Disjoint inliers.

    Attributes:
        fit: the method learns from these.
        held_out: the joining of the layers is learnt on these.
        calibration: new frames are compared with these.
    """

    fit: Collected
    held_out: Collected
    calibration: FrameSet


class Chosen(Sequence[FrameRef]):
    """Some frames of a set.

    Args:
        frames: the set.
        indices: of those to take.
        groups: of all frames of the set; see `FrameSet.groups`.
    """

    def __init__(
        self, frames: FrameSet | Sequence[FrameRef], indices: Iterable[int], groups: Sequence[str] | None
    ) -> None:
        rows = [int(index) for index in indices]
        self._refs = [frames[row] for row in rows]
        self.groups: Sequence[str] | None = None if groups is None else [groups[row] for row in rows]

    def __len__(self) -> int:
        return len(self._refs)

    @overload
    def __getitem__(self, index: int) -> FrameRef: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[FrameRef]: ...

    def __getitem__(self, index: int | slice) -> FrameRef | Sequence[FrameRef]:
        return self._refs[index]


def divide(
    seen: Collected,
    calibration: FrameSet | None,
    read: Callable[[FrameSet], Collected],
    *,
    seed: int,
    most: int,
) -> Parts:
    """Divide the inliers.

    The layers are best joined on frames that the model was not trained on, so a part of the calibration frames is
    taken for it where these are given and many; otherwise a part of the inliers.

    Args:
        seen: the inliers.
        calibration: more of them, that the model was not trained on; None to set some of `seen` aside.
        read: runs calibration frames through the model.
        seed: gives another division.
        most: how many calibration frames are used at most.

    Raises:
        DataError: where the inliers are too few.
    """
    if calibration is not None:
        chosen = _spread(range(len(calibration)), most)
        groups = calibration.groups
        joins = [place(str(i) if groups is None else groups[i], seed) < JOINING_SHARE for i in chosen]
        if sum(joins) >= FEWEST_JOINING and len(seen.refs) >= FEWEST_FIT:
            joining = list(compress(chosen, joins))[:MOST_JOINING]
            rest = (i for i, join in zip(chosen, joins, strict=True) if not join)
            held_out = read(Chosen(calibration, joining, groups))
            return Parts(seen, held_out, Chosen(calibration, rest, groups))
    rows = split(seen.keys, seed=seed, with_calibration=calibration is None)
    if len(rows.fit) < FEWEST_FIT or len(rows.held_out) < FEWEST_FIT:
        raise DataError(
            f"{len(seen.refs)} inliers in {len(set(seen.keys))} groups are too few to fit on",
            where="inliers",
            fix="a few hundred frames work, a few thousand are better",
        )
    apart = (
        Chosen(calibration, chosen, calibration.groups)
        if calibration is not None
        else Chosen(seen.refs, _spread(list(rows.calibration), most), seen.keys if seen.grouped else None)
    )
    return Parts(seen.rows(list(rows.fit)), seen.rows(list(rows.held_out)), apart)


def _spread(rows: Sequence[int], most: int) -> list[int]:
    """At most `most` of the rows, evenly over them."""
    if len(rows) <= most:
        return list(rows)
    return [rows[int(i)] for i in np.linspace(0, len(rows) - 1, most)]
