"""What a person wants to know of an alert: which layers notice, what the frames are taken for, and since when."""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass

from driftprint.clock import Instant
from driftprint.scorer import Scored

MOST_CLASSES = 3
"""That an alert names, those that most outliers are taken for."""

MOST_LAYERS, LONGEST_NAME = 64, 128
"""What a message can carry (`driftprint.messages.AlertMessage.layers`)."""


@dataclass(frozen=True, slots=True)
class Explanation:
    """Of the outliers in the window by count.

    Attributes:
        layers: by the fingerprinted tensor, the share of them that are outliers in this layer by itself.
        classes: by predicted class, the share of them that the model takes for it; the most frequent ones.
        suspected_at: since when there has been evidence.
    """

    layers: dict[str, float]
    classes: dict[str, float]
    suspected_at: Instant | None

    def sentence(self, now: Instant) -> str:
        """For the alert's summary at this moment; empty where there is nothing to say."""
        parts = []
        if self.layers and max(self.layers.values()) > 0:
            layer = max(self.layers, key=lambda name: self.layers[name])
            parts.append(f"{self.layers[layer]:.0%} stand out in {layer}")
        if self.classes:
            name, share = next(iter(self.classes.items()))
            parts.append(f"{share:.0%} are taken for {name}")
        said = f" Of the outliers {', '.join(parts)}." if parts else ""
        seconds = 0.0 if self.suspected_at is None else now.monotonic - self.suspected_at.monotonic
        return f"{said} First signs {_duration(seconds)} ago." if seconds >= 1 else said


class Explainer:
    """Remembers what is said of a stream's latest outliers.

    Args:
        layers: the fingerprinted tensors, in the order of the scores.
        alpha: the p-value at and under which a layer stands out by itself.
        frames: the length of the window.
        suspicion: the relative evidence that counts as some.
    """

    def __init__(self, layers: Sequence[str], *, alpha: float, frames: int, suspicion: float) -> None:
        self._layers = tuple(name[:LONGEST_NAME] for name in layers[:MOST_LAYERS])
        self._standing_out = -math.log(alpha)  # the graph's scores of layers are -log p
        self._suspicion = suspicion
        self._frames: deque[tuple[tuple[bool, ...], str | None] | None] = deque(maxlen=frames)
        """Of each frame which layers stood out, and its predicted class; None for one that is no outlier."""
        self._suspected_at: Instant | None = None

    def add(self, scored: Scored, *, outlier: bool, evidence: float, now: Instant) -> None:
        """Take in a frame.

        Args:
            scored: what the bundle says of it.
            outlier: whether it is one.
            evidence: of the detector, after this frame; an alert is raised at 1.
            now: when it was scored.
        """
        if outlier:
            standing_out = tuple(bool(score >= self._standing_out) for score in scored.layers)
            self._frames.append((standing_out, scored.predicted))
        else:
            self._frames.append(None)
        if evidence < self._suspicion:
            self._suspected_at = None
        elif self._suspected_at is None:
            self._suspected_at = now

    def explain(self) -> Explanation:
        """The outliers of the window, as they are now."""
        outliers = [frame for frame in self._frames if frame is not None]
        count = max(1, len(outliers))
        classes = Counter(predicted for _, predicted in outliers if predicted is not None)
        return Explanation(
            layers={
                name: sum(standing_out[i] for standing_out, _ in outliers) / count
                for i, name in enumerate(self._layers)
            },
            classes={name: frames / count for name, frames in classes.most_common(MOST_CLASSES)},
            suspected_at=self._suspected_at,
        )


def _duration(seconds: float) -> str:
    """As people say it."""
    for unit, size in (("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"
