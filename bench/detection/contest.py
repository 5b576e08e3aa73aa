"""One model: every fingerprint and every peer learns from its inliers, then all of them meet the outliers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from bench.detection.subjects import Pixels, Subject
from driftprint.manifest import SCORE_OUTPUT
from driftprint.preprocess import make_preprocessor
from driftprint_export.combinations import COMBINATIONS, DEFAULT_COMBINATION, Combination
from driftprint_export.features import Runner
from driftprint_export.layers import find_layers
from driftprint_export.learn import learn, responses_to_changed
from driftprint_export.methods import DEFAULT_METHOD, METHODS, Method, Responses
from driftprint_export.reference.datasets import DataSet

JOINING_SHARE = 0.25
CHANGED = 250
HALVINGS = 10
"""Of the line between two inliers, to find where the model's answer turns."""

Scores = NDArray[np.float64]


@dataclass(frozen=True)
class Contender:
    """A fingerprint.

    Attributes:
        name: for tables.
        method: makes its method.
        combination: makes its combination.
        class_free: whether it is kept from the labels and the logits.
    """

    name: str
    method: Callable[[], Method]
    combination: Callable[[], Combination]
    class_free: bool = False


def contenders() -> list[Contender]:
    """The default, without classes too; every combination of its method; every other method."""
    default = _registered(DEFAULT_METHOD, DEFAULT_COMBINATION)
    class_free = replace(default, name=f"{default.name}, class-free", class_free=True)
    others = [_registered(DEFAULT_METHOD, name) for name in COMBINATIONS if name != DEFAULT_COMBINATION]
    methods = [
        _registered(name, "min" if name == "neuralfp" else "fisher") for name in METHODS if name != DEFAULT_METHOD
    ]
    return [default, class_free, *others, *methods]


def _registered(method: str, combination: str) -> Contender:
    return Contender(f"{method} + {combination}", METHODS[method], COMBINATIONS[combination])


class Model:
    """A subject's model, run on many frames at once.

    Args:
        subject: whose.
    """

    def __init__(self, subject: Subject, example: Pixels) -> None:
        self._subject = subject
        batch = make_preprocessor(subject.spec)(example)
        self.layers = find_layers(subject.source, batch)
        self.runner = Runner(subject.source, self.layers, moments=True)
        self._bundle = onnxruntime.InferenceSession(subject.bundle.model, providers=["CPUExecutionProvider"])

    def responses(self, pixels: Pixels) -> Responses:
        """How the bare model responds."""
        return self._run(self._subject.inputs(pixels))

    def between(self, pixels: Pixels, *, seed: int) -> Responses:
        """How it responds where it is undecided between two classes.

        Each is the last point on the line from an inlier to one of another class, up to which the model names the
        first one's class.
        """
        random = np.random.default_rng(seed)
        start = self._subject.inputs(pixels)
        own = np.asarray(self._run(start).logits).argmax(axis=1)
        other = np.array([random.choice(np.flatnonzero(own != name)) for name in own])
        near, far = np.zeros(len(start), np.float32), np.ones(len(start), np.float32)

        def on_line(share: NDArray[np.float32]) -> Responses:
            weight = share.reshape(-1, *[1] * (start.ndim - 1))
            return self._run((1 - weight) * start + weight * start[other])

        for _ in range(HALVINGS):
            middle = np.float32(0.5) * (near + far)
            same = np.asarray(on_line(middle).logits).argmax(axis=1) == own
            near, far = np.where(same, middle, near), np.where(same, far, middle)
        return on_line(near)

    def _run(self, inputs: NDArray[np.float32]) -> Responses:
        for start in range(0, len(inputs), self.runner.batch):
            self.runner.run([inputs[i : i + 1] for i in range(start, min(start + self.runner.batch, len(inputs)))])
        return self.runner.take().responses(self._subject.bundle.manifest.logits_output)

    def changed(self, pixels: Pixels, *, seed: int) -> list[tuple[str, Responses]]:
        """How it responds to changed inliers, with the kind of each change."""
        inputs = self._subject.inputs(pixels)
        rows = [inputs[i : i + 1] for i in range(len(inputs))]
        logits = self._subject.bundle.manifest.logits_output
        return list(responses_to_changed(self.runner, rows, self._subject.spec, logits, seed=seed))

    def bundle_scores(self, pixels: Pixels) -> Scores:
        """What the committed bundle's own graph says."""
        inputs = self._subject.inputs(pixels)
        name = self._subject.spec.name
        chunks = [self._bundle.run([SCORE_OUTPUT], {name: inputs[i : i + 100]})[0] for i in range(0, len(inputs), 100)]
        return np.concatenate(chunks).astype(np.float64)


@dataclass(frozen=True)
class Learner:
    """A fitted fingerprint, and what it says of the calibration set."""

    contender: Contender
    score: Callable[[Responses], Scores]
    calibration: Scores


@dataclass(frozen=True)
class Inliers:
    """All that a fingerprint learns from, as the model responds to it.

    Attributes:
        fit: training images.
        held_out: some of the calibration half of the test images.
        changed: some of these changed, with the kind of change.
        calibration: the rest of that half.
    """

    fit: Responses
    held_out: Responses
    changed: list[tuple[str, Responses]]
    calibration: Responses


def read_inliers(model: Model, data: DataSet, *, most: int, seed: int) -> Inliers:
    """Run inliers through the model.

    Args:
        model: to run.
        data: what it was trained on.
        most: training images to fit on, at most.
        seed: which ones, and which of the calibration images the layers are joined on.
    """
    random = np.random.default_rng(seed)
    rows = data.some(most, random)
    order = random.permutation(len(data.calibration))
    joining, calibrating = np.split(order, [int(JOINING_SHARE * len(order))])
    return Inliers(
        model.responses(data.x_train[rows]),
        model.responses(data.calibration[joining]),
        model.changed(data.calibration[joining[:CHANGED]], seed=seed),
        model.responses(data.calibration[calibrating]),
    )


def learn_one(contender: Contender, inliers: Inliers, *, without: str = "") -> Learner:
    """Fit a fingerprint.

    Args:
        contender: which.
        inliers: to learn from, and nothing else.
        without: a kind of change that it is not shown.
    """
    method = contender.method()

    def view(responses: Responses) -> Responses:
        """What of the responses this contender may see."""
        layers = slice(-1, None) if method.last_layer_only else slice(None)
        return Responses(
            responses.features[layers],
            None if contender.class_free else responses.logits,
            None if responses.moments is None else responses.moments[layers],
        )

    changed = [view(responses) for kind, responses in inliers.changed if kind != without]
    learnt = learn(method, contender.combination(), view(inliers.fit), view(inliers.held_out), changed)

    def score(responses: Responses) -> Scores:
        return learnt.score(view(responses))

    return Learner(contender, score, score(inliers.calibration))
