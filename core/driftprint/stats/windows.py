"""Sliding windows over scored frames, bounded by count or by time."""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass

import numpy as np

from driftprint.messages import ClassStats, WindowKind, WindowStats

QUANTILES = (0.5, 0.9, 0.99)
"""The quantiles of the scores that a window reports."""

_MOST_FRAMES = 100_000  # bounds the memory of a long window over a fast stream


@dataclass(frozen=True, slots=True)
class _Entry:
    at: float
    score: float
    outlier: bool
    predicted: str | None


class SlidingWindow:
    """The latest scored frames of a stream, with their outlier ratio kept up to date.

    Args:
        kind: what bounds the window.
        limit: frames for a window by count, seconds for one by time; > 0. A window by time holds at most
            100,000 frames.

    >>> window = SlidingWindow(WindowKind.COUNT, 2)
    >>> for outlier in (True, True, False):
    ...     window.add(at=0.0, score=1.0, outlier=outlier, predicted=None)
    >>> window.outlier_ratio
    0.5
    """

    def __init__(self, kind: WindowKind, limit: float) -> None:
        self.kind = kind
        self.limit = limit
        self._entries: deque[_Entry] = deque()
        self._outliers = 0
        self._classes: Counter[str] = Counter()
        self._class_outliers: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def outlier_ratio(self) -> float:
        """Share of the window's frames that are outliers; 0 for an empty window."""
        return self._outliers / len(self._entries) if self._entries else 0.0

    def class_share(self, predicted: str) -> float:
        """Share of the window's frames that are predicted to be of this class; 0 for an empty window."""
        return self._classes[predicted] / len(self._entries) if self._entries else 0.0

    def add(self, *, at: float, score: float, outlier: bool, predicted: str | None) -> None:
        """Take in a frame and let go of those that no longer fit.

        Args:
            at: monotonic time in seconds.
            score: the frame's outlier score.
            outlier: whether it is an outlier.
            predicted: the model's predicted class, if it predicts classes.
        """
        self._entries.append(_Entry(at, score, outlier, predicted))
        self._count(predicted, outlier, +1)
        most = min(self.limit, _MOST_FRAMES) if self.kind is WindowKind.COUNT else _MOST_FRAMES
        while len(self._entries) > most:
            self._drop_oldest()
        self.expire(at)

    def expire(self, now: float) -> None:
        """Let go of the frames that are too old at monotonic time `now`, in a window by time."""
        if self.kind is WindowKind.TIME:
            while self._entries and self._entries[0].at <= now - self.limit:
                self._drop_oldest()

    def stats(self) -> WindowStats:
        """The window as messages carry it."""
        scores = np.fromiter((entry.score for entry in self._entries), dtype=np.float64, count=len(self._entries))
        quantiles = np.quantile(scores, QUANTILES) if len(scores) else ()
        return WindowStats(
            kind=self.kind,
            limit=self.limit,
            frames=len(self._entries),
            outlier_ratio=self.outlier_ratio,
            score_quantiles={str(q): float(value) for q, value in zip(QUANTILES, quantiles, strict=False)},
            classes={
                name: ClassStats(frames=frames, outlier_ratio=self._class_outliers[name] / frames)
                for name, frames in sorted(self._classes.items())
            },
        )

    def _drop_oldest(self) -> None:
        oldest = self._entries.popleft()
        self._count(oldest.predicted, oldest.outlier, -1)

    def _count(self, predicted: str | None, outlier: bool, step: int) -> None:
        self._outliers += step * outlier
        if predicted is not None:
            self._classes[predicted] += step
            self._class_outliers[predicted] += step * outlier
            if not self._classes[predicted]:
                del self._classes[predicted], self._class_outliers[predicted]
