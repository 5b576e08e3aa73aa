"""Statistics to score: what it notices, and that the graph computes the same."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from driftprint_export.builder import GraphBuilder
from driftprint_export.combinations import Evidence, EvidenceTensors
from driftprint_export.combinations.discriminant import separate, separate_out_of_fold
from driftprint_export.combinations.joint import FittedJoint, Joint
from driftprint_export.combinations.statistics import emit_statistics, statistics
from driftprint_export.combinations.undecided import Margin, Odds, Undecided
from driftprint_export.methods import Features, Responses, Tensors
from tests.exporters.graphs import run_emitted

Matrix = NDArray[np.float64]


def inliers(count: int = 2000, *, seed: int = 0) -> Matrix:
    """Logarithms of three layers' distances: two that go together, and one of its own."""
    random = np.random.default_rng(seed)
    common = random.normal(size=(count, 1))
    pair = common + 0.3 * random.normal(size=(count, 2))
    rows: Matrix = np.hstack([pair, random.normal(size=(count, 1))]) * [0.1, 1.0, 0.01] + [1.0, -3.0, 0.0]
    return rows


def shifted(*deviations: float) -> Matrix:
    rows: Matrix = inliers(500, seed=1) + np.array(deviations) * [0.1, 1.0, 0.01]
    return rows


def layer(count: int, *, towards: float = 0.0, seed: int = 0) -> NDArray[np.float32]:
    """Vectors of one length, whatever they look like."""
    rows = np.random.default_rng(seed).normal(size=(count, 6))
    rows[:, 0] += towards
    vectors: NDArray[np.float32] = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    return vectors


def known(rows: Matrix, *, towards: float = 0.0, seed: int = 0) -> Evidence:
    return evidence(np.exp(rows), [layer(len(rows), towards=towards, seed=seed)] * 3, None)


def fitted(changes: list[Evidence]) -> FittedJoint:
    return Joint().fit(known(inliers()), changes)


def found(frames: Evidence, changes: list[Evidence]) -> float:
    """The share of frames that score above 95 % of fresh inliers."""
    joint = fitted(changes)
    return float((joint(frames) > np.quantile(joint(known(inliers(seed=2), seed=2)), 0.95)).mean())


def test_statistics_that_stir_too_little_are_noticed_as_those_that_stir_too_much() -> None:
    assert found(known(shifted(0, 0, 6)), []) > 0.95
    assert found(known(shifted(0, 0, -6)), []) > 0.95


def test_statistics_that_usually_go_together_must() -> None:
    assert found(known(shifted(2, -2, 0)), []) > 0.95
    assert found(known(shifted(2, 2, 0)), []) < 0.6


def test_changed_inliers_teach_which_statistic_to_look_at() -> None:
    frames = known(shifted(0, 0, 2), seed=3)
    taught = found(frames, [known(shifted(0, 0, 3), seed=4), known(shifted(0, 0, 1), seed=5)])
    assert taught > found(frames, []) + 0.1


def test_changed_inliers_teach_where_in_a_layer_to_look() -> None:
    """Their distances say nothing, nor do their lengths: only the direction of the vectors does."""
    frames = known(shifted(0, 0, 0), towards=2, seed=3)
    assert found(frames, []) < 0.1
    assert found(frames, [known(shifted(0, 0, 0), towards=2, seed=4)]) > 0.3


def test_what_lies_the_other_way_is_not_excused() -> None:
    """A frame the least like changed inliers is still far from typical ones."""
    assert found(known(shifted(0, 0, -8)), [known(shifted(0, 0, 3))]) > 0.95


def test_a_classifier_that_is_undecided_is_noticed_however_typical_the_frame_is_otherwise() -> None:
    random = np.random.default_rng(0)

    def classified(rows: Matrix, margins: Matrix, seed: int) -> Evidence:
        logits = np.stack([margins, np.zeros(len(rows)), np.full(len(rows), -5.0)], axis=1).astype(np.float32)
        return evidence(np.exp(rows), [layer(len(rows), seed=seed)] * 3, logits)

    sure = [random.normal(8, 3, 2000).clip(0.01) for _ in range(2)]
    joint = Joint().fit(classified(inliers(), sure[0], 0), [classified(shifted(0, 0, 3), sure[0][:500], 4)])
    fresh = joint(classified(inliers(seed=2), sure[1], 2))
    undecided = joint(classified(shifted(0, 0, 0), np.full(500, 0.001), 3))
    assert (undecided > np.quantile(fresh, 0.9)).mean() > 0.7


def test_one_odd_inlier_does_not_decide_the_direction() -> None:
    rows = np.random.default_rng(0).normal(size=(2000, 3))
    odd = rows.copy()
    odd[0] = [0, 0, 1e6]
    changes = [rows[:500] + np.array([0, 0, 3])]
    one, other = (separate(some, changes) for some in (rows, odd))
    assert one == pytest.approx(other, rel=0.05, abs=np.abs(one).max() * 0.02)


def test_every_kind_of_change_weighs_the_same_however_many_frames_it_has() -> None:
    rows = np.random.default_rng(0).normal(size=(2000, 2))
    few, many = rows[:100] + np.array([3, 0]), np.tile(rows[100:200] + np.array([0, 3]), (10, 1))
    direction = separate(rows, [few, many])
    assert direction[0] == pytest.approx(direction[1], rel=0.15)


def test_inliers_are_placed_along_directions_that_were_learnt_without_them() -> None:
    """With as many coordinates as frames a direction fits the frames it was learnt from, and no others."""
    random = np.random.default_rng(0)
    rows, same = random.normal(size=(100, 60)), random.normal(size=(100, 60))
    changes = [same]
    of_fit = rows @ separate(rows, changes)
    out_of_fold = separate_out_of_fold(rows, changes)
    assert of_fit.mean() < same.mean() - 0.2
    assert abs(out_of_fold.mean()) < 0.2


def test_a_statistic_that_never_changes_is_no_trouble() -> None:
    rows = np.hstack([inliers(), np.full((2000, 1), 7.0)])
    frames = evidence(np.exp(rows), [layer(2000)] * 4, None)
    changes = evidence(np.exp(rows + np.array([0, 0, 0.05, 0])), [layer(2000)] * 4, None)
    assert np.isfinite(Joint().fit(frames, [changes])(frames)).all()


@settings(deadline=None, max_examples=20)
@given(st.booleans(), st.booleans(), st.integers(0, 5), st.sampled_from([11, 13, 18]))
def test_the_graph_computes_what_numpy_does(with_changes: bool, with_logits: bool, seed: int, opset: int) -> None:
    random = np.random.default_rng(seed)

    def some(rows: Matrix) -> Evidence:
        logits = (5 * random.normal(size=(len(rows), 4))).astype(np.float32) if with_logits else None
        features = [layer(len(rows), seed=seed + i) * np.float32(1 + i) for i in range(3)]
        return evidence(np.exp(rows), features, logits)

    joint = Joint().fit(some(inliers()), [some(shifted(0, 0, 3))] if with_changes else [])
    frames = some(np.concatenate([inliers(50, seed=seed), shifted(3, 0, -20)[:50]]))

    def emit(graph: GraphBuilder, names: list[str], _predicted: str) -> list[str]:
        responses = Tensors(names[3:6], names[6] if with_logits else None)
        return [joint.emit(graph, EvidenceTensors(names[:3], "", responses))]

    columns = [frames.distances[:, i : i + 1].astype(np.float32) for i in range(3)]
    logits = [] if frames.responses.logits is None else [frames.responses.logits]
    (scores,) = run_emitted(emit, [*columns, *frames.responses.features, *logits], opset=opset)
    assert scores.shape == (100,)
    assert np.allclose(scores, joint(frames), rtol=5e-3, atol=5e-3)


def evidence(distances: NDArray[Any], features: Features, logits: NDArray[np.float32] | None) -> Evidence:
    distances = distances.astype(np.float64)
    return Evidence(distances, distances, Responses(features, logits))


@settings(deadline=None, max_examples=20)
@given(st.integers(1, 5), st.booleans(), st.integers(2, 12), st.sampled_from([11, 13, 18]))
def test_the_graph_computes_the_same_statistics(layers: int, with_logits: bool, classes: int, opset: int) -> None:
    random = np.random.default_rng(0)
    distances = random.exponential(2, (20, layers)).astype(np.float32)
    features = [random.normal(size=(20, 6 + i)).astype(np.float32) for i in range(layers)]
    distances[0], features[0][1] = 0, 0
    logits = (30 * random.normal(size=(20, classes))).astype(np.float32)

    def emit(graph: GraphBuilder, names: list[str], _predicted: str) -> list[str]:
        responses = Tensors(names[layers : 2 * layers], names[-1] if with_logits else None)
        return [emit_statistics(graph, EvidenceTensors(names[:layers], "", responses))]

    (found,) = run_emitted(emit, [*(distances[:, i : i + 1] for i in range(layers)), *features, logits], opset=opset)
    expected = statistics(evidence(distances, features, logits if with_logits else None))
    assert expected.shape == (20, 2 * layers + 2 * with_logits)
    assert np.allclose(found, expected, rtol=1e-3, atol=1e-3)


def test_a_sure_model_is_far_from_undecided_and_has_a_low_energy() -> None:
    features, distances = [np.ones((2, 3), np.float32)], np.ones((2, 1))
    logits = np.array([[1.0, 1.0, 0.0], [9.0, 0.0, 0.0]], np.float32)
    unsure, sure = statistics(evidence(distances, features, logits))[:, 2:]
    assert unsure[0] == pytest.approx(0)
    assert sure[0] == pytest.approx(-9)
    assert sure[1] < unsure[1]


@pytest.mark.parametrize("measure", [Margin(), Odds()])
@pytest.mark.parametrize("classes", [2, 3, 1000])
@pytest.mark.parametrize("opset", [11, 13, 18])
def test_the_graph_finds_models_as_undecided_as_numpy_does(measure: Undecided, classes: int, opset: int) -> None:
    logits = (30 * np.random.default_rng(0).normal(size=(20, classes))).astype(np.float32)
    logits[0] = 0

    def emit(graph: GraphBuilder, names: list[str], _predicted: str) -> list[str]:
        return [measure.emit(graph, names[0])]

    (found,) = run_emitted(emit, [logits], opset=opset)
    assert np.allclose(found[:, 0], measure(logits), rtol=1e-4, atol=1e-4)


def test_odds_are_those_of_the_other_classes() -> None:
    probabilities = np.array([[0.5, 0.5, 1e-9], [0.9, 0.06, 0.04], [0.04, 0.06, 0.9]])
    odds = np.exp(Odds()(np.log(probabilities).astype(np.float32) + 7))
    assert odds == pytest.approx([1, 1 / 9, 1 / 9], rel=1e-4)


def test_odds_tell_sure_frames_from_surer_ones() -> None:
    """Their largest probabilities are both 1 in float32."""
    sure, surer = Odds()(np.array([[30, 0, 0], [40, 0, 0]], np.float32))
    assert surer == pytest.approx(sure - 10)
