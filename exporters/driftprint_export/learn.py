"""Learns a fingerprint from how the model responds to inliers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from driftprint.manifest import ModelInput
from driftprint_export.balance import Balance, fit_balance
from driftprint_export.builder import GraphBuilder
from driftprint_export.changes import changed
from driftprint_export.combinations import Combination, Evidence, EvidenceTensors, FittedCombination
from driftprint_export.features import Runner
from driftprint_export.methods import FittedMethod, Method, Responses, Tensors
from driftprint_export.surprise import Surprise, fit_surprise


@dataclass(frozen=True)
class Learnt:
    """A fingerprint.

    Attributes:
        method: gives each layer's distance.
        surprise: makes the layers' distances comparable.
        combination: makes one score of all.
        balance: between the predicted classes; None for a model without classes.
    """

    method: FittedMethod
    surprise: Surprise
    combination: FittedCombination
    balance: Balance | None

    def score(self, responses: Responses) -> NDArray[np.float64]:
        """The scores, [N]: the reference for the graph's."""
        scores = self.combination(_evidence(self.method, self.surprise, responses))
        if self.balance is None or responses.classes is None:
            return scores
        return self.balance(scores, responses.classes)

    def layers(self, responses: Responses) -> NDArray[np.float64]:
        """The layers' surprises, [N, L]: the reference for the graph's."""
        return self.surprise(self.method.score(responses))

    def emit(self, graph: GraphBuilder, tensors: Tensors) -> tuple[str, str]:
        """Add the nodes that compute both.

        Args:
            graph: where to add them.
            tensors: the model's responses.

        Returns:
            The names of the scores, float32 [N], and of the layers' surprises, float32 [N, L].
        """
        distances = self.method.emit(graph, tensors)
        surprises = self.surprise.emit(graph, distances)
        score = self.combination.emit(graph, EvidenceTensors(distances, surprises, tensors))
        if self.balance is not None and tensors.predicted is not None:
            score = self.balance.emit(graph, score, tensors.predicted)
        return score, surprises


def learn(
    method: Method, combination: Combination, fit: Responses, held_out: Responses, altered: Sequence[Responses]
) -> Learnt:
    """Learn from inliers alone.

    Args:
        method: describes the layers.
        combination: joins what it says of them.
        fit: to inliers for the method.
        held_out: to inliers that the method does not see, for the combination.
        altered: to changed inliers, for each kind of change.
    """
    fitted = method.fit(fit)
    surprise = fit_surprise(fitted.score(held_out))
    evidence = [_evidence(fitted, surprise, responses) for responses in (held_out, *altered)]
    joined = combination.fit(evidence[0], evidence[1:])
    balance = None if held_out.classes is None else fit_balance(joined(evidence[0]), held_out.classes)
    return Learnt(fitted, surprise, joined, balance)


def responses_to_changed(
    runner: Runner, inputs: Sequence[NDArray[Any]], spec: ModelInput, logits: str | None, *, seed: int
) -> Iterator[tuple[str, Responses]]:
    """How the model responds to inliers, changed in each of the ways of `driftprint_export.changes`.

    Each comes with the name of the kind of change.

    Args:
        runner: runs the model.
        inputs: the inliers as the model's inputs, [1, ...] each.
        spec: what they are.
        logits: the name of the logits; None for a model without classes.
        seed: of the changes.
    """
    for kind, batch in changed(np.concatenate(inputs), spec, np.random.default_rng(seed)):
        for start in range(0, len(batch), runner.batch):
            runner.run([batch[row : row + 1] for row in range(start, min(start + runner.batch, len(batch)))])
        yield kind, runner.take().responses(logits)


def _evidence(method: FittedMethod, surprise: Surprise, responses: Responses) -> Evidence:
    distances = method.score(responses)
    return Evidence(distances, surprise(distances), responses)
