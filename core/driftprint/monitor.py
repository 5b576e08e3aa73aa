"""The whole judgement in one object, for people with a loop of their own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from driftprint.bundle import read_bundle
from driftprint.clock import Clock, SystemClock
from driftprint.decision import Alert, Decider, DecisionSettings
from driftprint.installed import find_bundle
from driftprint.preprocess import Frame
from driftprint.scorer import CPU, Scorer


@dataclass(frozen=True, slots=True)
class Reading:
    """What the monitor says after one frame.

    Attributes:
        score: the frame's outlier score, higher is more outlying.
        p_value: share of the calibration set that scores at least as high, in (0, 1].
        outlier: whether the p-value is at most alpha.
        predicted: the model's predicted class by its label; None for a model without classes.
        layers: float32 [L], the score of each fingerprinted layer.
        outputs: the model's own outputs by name, with a batch axis of 1.
        outlier_ratio: share of outliers in the window by count, this frame included.
        evidence: log evidence for drift over the log of its threshold; an alarm is raised at 1.
        alarm: whether the model is seeing data it was not trained for, by the detector's guarantee.
        alert: the alert, where this very frame raised, updated or cleared it.
    """

    score: float
    p_value: float
    outlier: bool
    predicted: str | None
    layers: NDArray[np.float32]
    outputs: Mapping[str, NDArray[Any]]
    outlier_ratio: float
    evidence: float
    alarm: bool
    alert: Alert | None


class Monitor:
    """Runs a model on frames and tells when it looks at data it was not trained for.

    One session runs the model and its fingerprint, so this takes the place of the onnxruntime session in a
    loop of one's own: ``reading.outputs`` holds the model's own outputs.

    Args:
        bundle: a bundle's path, or the name of a reference bundle.
        frames_per_false_alarm: the false-alarm budget. While frames stay like the training data, the mean
            number of frames to an alarm is at least this.
        decision: all other choices.
        threads: how many threads one inference may use.
        providers: onnxruntime execution providers, in order of preference.
        clock: for windows by time.

    Raises:
        BundleError: where the bundle is missing, damaged, or scores its golden frames differently here.
        ConfigError: where its calibration set is too small for alpha.

    >>> monitor = Monitor("digits")
    >>> reading = monitor(np.zeros((28, 28), np.uint8))
    >>> 0 < reading.p_value <= 1
    True
    """

    def __init__(
        self,
        bundle: str | Path,
        *,
        frames_per_false_alarm: float = 100_000,
        decision: DecisionSettings | None = None,
        threads: int = 1,
        providers: Sequence[str] = CPU,
        clock: Clock | None = None,
    ) -> None:
        self.scorer = Scorer(read_bundle(find_bundle(bundle)), threads=threads, providers=providers)
        self.decider = Decider(
            decision or DecisionSettings(),
            calibration_size=len(self.scorer.calibration),
            frames_per_false_alarm=frames_per_false_alarm,
        )
        self._clock = clock or SystemClock()

    def __call__(self, frame: Frame) -> Reading:
        """Score a frame and take it into account.

        Args:
            frame: uint8 [H, W] or [H, W, 3] RGB for image models, or a tensor of the bundle's shape.

        Raises:
            FrameError: where the frame is of the wrong kind; it then counts for nothing.
        """
        scored = self.scorer.score(frame)
        decision = self.decider.update(scored.score, scored.p_value, scored.predicted, self._clock.now())
        return Reading(
            score=scored.score,
            p_value=scored.p_value,
            outlier=decision.outlier,
            predicted=scored.predicted,
            layers=scored.layers,
            outputs=scored.outputs,
            outlier_ratio=self.decider.by_count.outlier_ratio,
            evidence=self.decider.evidence,
            alarm=self.decider.alarm,
            alert=decision.alert,
        )
