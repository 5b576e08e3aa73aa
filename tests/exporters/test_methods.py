"""What every method owes to the rest: one suite for all of them, and the heart of each against its paper's formula."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from driftprint.errors import ConfigError
from driftprint_export.builder import GraphBuilder
from driftprint_export.methods import METHODS, Classes, Responses, Tensors
from driftprint_export.methods.autoencoder import APART, NeuralFp, fit_autoencoder
from driftprint_export.methods.base import FittedMethod
from driftprint_export.methods.fdbd import Fdbd
from driftprint_export.methods.floor import Msp
from driftprint_export.methods.gaussian import FEWEST_OF_CLASS, Gaussian
from driftprint_export.methods.gram import OUTSIDE, Gram, fit_ranges
from driftprint_export.methods.head import fit_head
from driftprint_export.methods.knn import MOST_POINTS, Knn, fit_coreset
from driftprint_export.methods.nac import BINS, FULL, fit_coverage
from driftprint_export.methods.relative import Relative
from driftprint_export.methods.vim import Vim, origin_of
from tests.exporters.graphs import run_emitted

Array = NDArray[np.float32]

CLASSES = 4
CHANNELS = (6, 12)
BLIND_TO_FEATURES = {"energy", "msp", "maxlogit"}

every_method = pytest.mark.parametrize("name", METHODS)


def responses(count: int, *, seed: int = 0, channels: tuple[int, ...] = CHANNELS) -> Responses:
    """Of a model whose last layer falls into classes, that a linear head tells apart."""
    model, random = np.random.default_rng(99), np.random.default_rng(seed)
    index = random.integers(0, CLASSES, count)
    features, moments = [], []
    for width in channels:
        centres, spread = model.normal(size=(CLASSES, width)) * 2, model.normal(size=(width, width)) / 3
        x = centres[index] + random.normal(size=(count, width)) @ spread + 3
        features.append(x.astype(np.float32))
        moments.append((np.square(x) + random.gamma(4, 0.2, size=x.shape)).astype(np.float32))
    logits = (features[-1] - 3) @ centres.T - np.square(centres).sum(axis=1) / 2
    return Responses(features, logits.astype(np.float32), moments)


def seen_by(name: str, given: Responses) -> Responses:
    """What a method is given of it."""
    method = METHODS[name]()
    return Responses(
        given.features[-1:] if method.last_layer_only else given.features,
        given.logits,
        given.moments if method.needs_moments else None,
    )


def shifted(given: Responses, by: float) -> Responses:
    """Each layer moved aside, in some channels up and in some down; the logits stay."""
    moves = [np.where(np.arange(x.shape[1]) % 2, by, -by) for x in given.features]
    features = [(x + move).astype(np.float32) for x, move in zip(given.features, moves, strict=True)]
    return replace(given, features=features, moments=[np.square(x) + np.float32(1) for x in features])


def run(fitted: FittedMethod, given: Responses, *, opset: int = 18) -> Array:
    """The scores that the emitted graph gives, [N, L]."""
    layers = len(given.features)

    def emit(graph: GraphBuilder, names: list[str], _: str) -> list[str]:
        logits = None if given.logits is None else names[-1]
        return fitted.emit(
            graph,
            Tensors(
                names[:layers],
                logits,
                names[layers : 2 * layers] if given.moments is not None else None,
                None if logits is None else graph.node("ArgMax", logits, axis=1, keepdims=0),
            ),
        )

    inputs = [*given.features, *(given.moments or []), *([] if given.logits is None else [given.logits])]
    scores = run_emitted(emit, inputs, opset=opset)
    assert all(score.shape == (len(given.features[0]), 1) for score in scores)
    assert all(score.dtype == np.float32 for score in scores)
    return np.concatenate(scores, axis=1)


def check(name: str, fit: Responses, fresh: Responses, *, opset: int = 18, atol: float = 1e-4) -> NDArray[np.float64]:
    """Fits, compares graph and numpy, and returns the scores of `fresh`."""
    method = METHODS[name]()
    fitted = method.fit(seen_by(name, fit))
    given = seen_by(name, fresh)
    expected = fitted.score(given)
    assert expected.shape == (len(fresh.features[0]), len(given.features))
    assert expected.dtype == np.float64
    assert np.isfinite(expected).all()
    assert method.last_layer_only or (expected >= 0).all()
    assert np.allclose(run(fitted, given, opset=opset), expected, rtol=1e-3, atol=atol)
    return expected


@every_method
@pytest.mark.parametrize("opset", [11, 13, 18])
def test_the_graph_computes_what_numpy_does(name: str, opset: int) -> None:
    fresh = responses(60, seed=1)
    fresh.features[0][::3] += 2
    fresh.features[1][::5] -= 2
    check(name, responses(300), fresh, opset=opset)


@every_method
def test_a_model_without_classes_is_told_or_taken(name: str) -> None:
    fit, fresh = (replace(responses(200, seed=seed), logits=None) for seed in (0, 1))
    if METHODS[name]().needs_logits:
        with pytest.raises(ConfigError, match=f"{name} needs a model that predicts classes"):
            METHODS[name]().fit(seen_by(name, fit))
    else:
        check(name, fit, fresh)
        assert not METHODS[name]().fit(seen_by(name, fit)).class_conditional


@pytest.mark.parametrize("name", sorted(METHODS.keys() - BLIND_TO_FEATURES))
def test_what_lies_aside_scores_higher_than_fresh_inliers(name: str) -> None:
    fresh = responses(200, seed=1)
    scores = check(name, responses(600), both(fresh, shifted(fresh, 6)))
    inliers, outliers = scores[:200], scores[200:]
    assert (np.quantile(outliers, 0.1, axis=0) > np.quantile(inliers, 0.9, axis=0)).all()


def both(one: Responses, other: Responses) -> Responses:
    """The frames of the one, then those of the other."""
    parts = [[*given.features, *(given.moments or []), given.logits] for given in (one, other)]
    *vectors, logits = (np.concatenate(pair) for pair in zip(*parts, strict=True) if pair[0] is not None)
    return Responses(vectors[: len(CHANNELS)], logits, vectors[len(CHANNELS) :])


@pytest.mark.parametrize("name", sorted(BLIND_TO_FEATURES))
def test_unsure_logits_score_higher_than_sure_ones(name: str) -> None:
    fit = responses(100)
    sure, unsure = np.eye(CLASSES, dtype=np.float32) * 9, np.eye(CLASSES, dtype=np.float32)
    given = Responses([np.zeros((2 * CLASSES, 3), np.float32)], np.concatenate([sure, unsure]))
    fitted = METHODS[name]().fit(seen_by(name, fit))
    scores = fitted.score(given)
    assert scores[:CLASSES].max() < scores[CLASSES:].min()
    assert np.allclose(run(fitted, given), scores, rtol=1e-5)


@every_method
def test_layers_that_never_change_are_no_trouble(name: str) -> None:
    fit, fresh = responses(100), responses(20, seed=1)
    for layer in range(len(CHANNELS)):
        for given in (fit, fresh):
            assert given.moments is not None
            given.features[layer][:] = (3.0, 0.1)[layer]
            given.moments[layer][:] = (9.0, 0.01)[layer]
    # What vim scales up here to the size of logits is rounding.
    check(name, fit, fresh, atol=0.02 if name == "vim" else 1e-4)
    check(name, fit, shifted(fresh, 1.0))


@every_method
@pytest.mark.parametrize("value", [0.0, 5.0])
def test_channels_that_never_change_are_no_trouble(name: str, value: float) -> None:
    fit, fresh = responses(200), responses(30, seed=1)
    for given in (fit, fresh):
        for x in given.features:
            x[:, :2] = value
    scores = check(name, fit, fresh)
    fresh.features[0][:, 0] = fresh.features[1][:, 0] = value + 2
    moved = check(name, fit, fresh)
    if name not in BLIND_TO_FEATURES:
        assert (moved.mean(axis=0) > scores.mean(axis=0)).all()


@every_method
def test_classes_that_are_rarely_predicted_are_no_trouble(name: str) -> None:
    fit, fresh = responses(300), responses(40, seed=1)
    for given, rows in ((fit, FEWEST_OF_CLASS - 1), (fresh, 20)):
        assert given.logits is not None
        given.logits[:, 0] = -40  # but in these rows
        given.logits[:rows, 0] = 40
        given.logits[:, 1] = -40  # and this class never in those to fit on
    assert fresh.logits is not None
    fresh.logits[20:25, 1] = 50
    check(name, fit, fresh)


@every_method
def test_a_layer_of_few_channels_and_few_inliers_are_no_trouble(name: str) -> None:
    fit, fresh = (responses(20, seed=seed, channels=(1, 2)) for seed in (0, 1))
    check(name, fit, fresh)
    wide, wide_fresh = (responses(20, seed=seed, channels=(30, 40)) for seed in (0, 1))
    check(name, wide, wide_fresh)


@every_method
def test_what_is_no_number_gets_no_score_and_leaves_others_theirs(name: str) -> None:
    fitted = METHODS[name]().fit(seen_by(name, responses(200)))
    fresh = seen_by(name, responses(5, seed=1))
    expected = run(fitted, fresh)
    for values in (*fresh.features, *(fresh.moments or []), *([] if fresh.logits is None else [fresh.logits])):
        values[2] = np.nan
    scores = run(fitted, fresh)
    assert np.isnan(scores[2]).all()
    assert np.allclose(np.delete(scores, 2, axis=0), np.delete(expected, 2, axis=0))


@every_method
def test_the_same_inliers_give_the_same_scores(name: str) -> None:
    fresh = seen_by(name, responses(50, seed=1))
    first, second = (METHODS[name]().fit(seen_by(name, responses(300))).score(fresh) for _ in range(2))
    assert np.array_equal(first, second)


@every_method
def test_it_is_registered_under_its_name(name: str) -> None:
    assert METHODS[name]().name == name


@pytest.mark.parametrize("method", [Knn, NeuralFp])
def test_another_seed_gives_another_fingerprint(method: type[Knn] | type[NeuralFp]) -> None:
    fit, fresh = responses(400), responses(50, seed=1)
    first, second = (method(seed=seed).fit(fit).score(fresh) for seed in (0, 1))
    assert not np.array_equal(first, second)


def test_relative_is_the_softplus_of_the_difference_of_squared_distances() -> None:
    fit, fresh = responses(300), responses(50, seed=1)
    own = np.square(Gaussian().fit(fit).score(fresh))
    of_all = np.square(Gaussian().fit(replace(fit, logits=None)).score(replace(fresh, logits=None)))
    assert np.allclose(Relative().fit(fit).score(fresh), np.log(1 + np.exp(own - of_all)))


def test_gram_sums_the_relative_deviations_from_the_range_of_the_class() -> None:
    fit, fresh = responses(400), shifted(responses(30, seed=1), 2)
    x, moment, classes = fit.features[1], fit.moments, fit.classes
    assert moment is not None
    assert classes is not None
    assert fresh.moments is not None
    assert fresh.classes is not None
    layer, index_of_fit = fit_ranges(x, moment[1], classes), classes.index

    def deviation(value: float, low: float, high: float, smallest: float) -> float:
        if value < low:
            return (low - value) / max(abs(low), smallest)
        return (value - high) / max(abs(high), smallest) if value > high else 0.0

    def deviations(features: Array, squares: Array, index: NDArray[np.int64]) -> NDArray[np.float64]:
        known, rows = np.hstack([x, moment[1]]).astype(float), np.hstack([features, squares]).astype(float)
        spread = known.std(axis=0)
        groups = [known[index_of_fit == k] for k in range(CLASSES)]
        bounds = [
            np.quantile(g if len(g) >= FEWEST_OF_CLASS else known, [OUTSIDE, 1 - OUTSIDE], axis=0) for g in groups
        ]
        return np.array(
            [
                sum(deviation(v, bounds[k][0, c], bounds[k][1, c], spread[c]) for c, v in enumerate(row))
                for row, k in zip(rows, index, strict=True)
            ]
        )

    expected = deviations(x, moment[1], classes.index).mean()
    wanted = deviations(fresh.features[1], fresh.moments[1], fresh.classes.index) / expected
    statistics = np.hstack([fresh.features[1], fresh.moments[1]]).astype(np.float64)
    assert np.allclose(layer.score(statistics, fresh.classes), wanted, rtol=1e-4)
    assert Gram().fit(fit).score(fit).mean(axis=0) == pytest.approx([1, 1])


def test_gram_takes_the_range_of_all_for_a_class_that_is_rarely_predicted() -> None:
    fit = responses(200)
    assert fit.moments is not None
    index = np.zeros(200, np.int64)
    index[: FEWEST_OF_CLASS - 1] = 1
    index[FEWEST_OF_CLASS : 2 * FEWEST_OF_CLASS] = 2
    layer = fit_ranges(fit.features[0], fit.moments[0], Classes(index, 4))
    overall = fit_ranges(fit.features[0], fit.moments[0], None)
    assert np.array_equal(layer.low[1], overall.low[0])
    assert np.array_equal(layer.high[3], overall.high[0])
    assert (layer.high[2] < overall.high[0]).any()


def test_knn_is_the_distance_from_the_nearest_direction() -> None:
    x, fresh = responses(MOST_POINTS - 6).features[1], responses(30, seed=1).features[1]
    score = fit_coreset(x, np.random.default_rng(0)).score(fresh)  # of so few each is kept
    known, seen = (y / np.linalg.norm(y.astype(float), axis=1, keepdims=True) for y in (x, fresh))
    assert np.allclose(score, [np.linalg.norm(known - row, axis=1).min() for row in seen])


def test_knn_keeps_inliers_that_lie_apart() -> None:
    x = responses(2000).features[1]
    layer = fit_coreset(x, np.random.default_rng(0))
    assert len(layer.points) == MOST_POINTS
    chance = x[:MOST_POINTS] / np.linalg.norm(x[:MOST_POINTS], axis=1, keepdims=True)
    assert layer.score(x).max() < replace(layer, points=chance.astype(float)).score(x).max()


def test_knn_tells_like_directions_apart_in_float32() -> None:
    random = np.random.default_rng(0)
    fit, fresh = (Responses([(10 + random.normal(size=(300, 50)) * 1e-3).astype(np.float32)]) for _ in range(2))
    fitted = Knn().fit(fit)
    assert fitted.score(fresh).max() < 1e-3
    assert np.allclose(run(fitted, fresh), fitted.score(fresh), rtol=0.02, atol=0)


def test_the_head_is_found_where_it_is_linear() -> None:
    random = np.random.default_rng(0)
    x = np.maximum(random.normal(size=(500, 20)) + 0.5, 0).astype(np.float32)
    x[:, 7] = 0  # a dead channel
    weights, bias = random.normal(size=(20, 5)), random.normal(size=5)
    head = fit_head(x, (x @ weights + bias).astype(np.float32))
    weights[7] = 0
    assert np.allclose(head.weights, weights, atol=1e-5)
    assert np.allclose(head.bias, bias, atol=1e-5)


def test_vim_is_the_virtual_logit_less_the_logsumexp() -> None:
    fit, fresh = responses(400), responses(50, seed=1)
    assert fit.logits is not None
    assert fresh.logits is not None
    head = fit_head(fit.features[-1], fit.logits)
    origin = -np.linalg.pinv(head.weights.T) @ head.bias
    assert np.allclose(origin, origin_of(head))
    x, seen = (given.features[-1].astype(float) - origin for given in (fit, fresh))
    _, _, axes = np.linalg.svd(x, full_matrices=False)
    principal = axes[: CHANNELS[-1] // 2]

    def residual(y: NDArray[np.float64]) -> NDArray[np.float64]:
        length: NDArray[np.float64] = np.linalg.norm(y - y @ principal.T @ principal, axis=1)
        return length

    alpha = fit.logits.max(axis=1).sum() / residual(x).sum()
    energy = np.log(np.exp(fresh.logits.astype(float)).sum(axis=1))
    assert np.allclose(Vim().fit(fit).score(fresh)[:, 0], alpha * residual(seen) - energy, rtol=1e-5)


def test_fdbd_is_the_mean_distance_from_the_boundaries_over_that_from_the_mean() -> None:
    fit, fresh = responses(400), responses(50, seed=1)
    assert fit.logits is not None
    assert fresh.logits is not None
    weights = fit_head(fit.features[-1], fit.logits).weights
    mean = fit.features[-1].astype(float).mean(axis=0)
    wanted = []
    for x, logits in zip(fresh.features[-1].astype(float), fresh.logits.astype(float), strict=True):
        own = int(logits.argmax())
        distances = [
            abs(logits[own] - logits[k]) / np.linalg.norm(weights[:, own] - weights[:, k])
            for k in range(CLASSES)
            if k != own
        ]
        wanted.append(-np.mean(distances) / np.linalg.norm(x - mean))
    assert np.allclose(Fdbd().fit(fit).score(fresh)[:, 0], wanted, rtol=1e-5)


def test_nac_is_the_share_of_channels_at_values_that_inliers_rarely_gave() -> None:
    edges = np.linspace(0, 1, BINS)
    even = np.repeat(edges, 10)  # ten inliers at each bin's centre
    x = np.stack([even, np.where(even > 0.5, 1.0, 0.0)], axis=1).astype(np.float32)
    layer = fit_coverage(x)
    width = 1 / (BINS - 1)
    seen = np.array([[0.5, 0], [0.5, 0.5], [1 + width / 2, 0], [2, 0], [-9, 9], [0.5, width / 2]], np.float32)
    assert np.allclose(layer.score(seen), [0, 0.5, 0.25, 0.5, 1, 0.25], atol=1e-5)


def test_nac_counts_inliers_up_to_a_density() -> None:
    x = np.repeat(np.arange(BINS), 100).astype(np.float32)
    few = int(100 * FULL / 4)
    x = np.concatenate([x[x != 10], np.full(few, 10), np.full(100 - few, 20)]).astype(np.float32)[:, None]
    score = fit_coverage(x).score(np.array([[9], [10], [20]], np.float32))
    assert np.allclose(score, [0, 1 - few / (100 * FULL), 0], atol=1e-6)


def test_msp_is_one_less_the_largest_probability_also_where_the_model_is_sure() -> None:
    logits = np.array([[1, 2, 3], [60, 0, 1], [2, 2, 2], [5, 5, -9]], np.float32)
    given = Responses([np.zeros((4, 2), np.float32)], logits)
    score = Msp().fit(given).score(given)[:, 0]
    probabilities = [np.exp(row) / np.exp(row).sum() for row in logits.astype(float)]
    assert np.allclose(score[[0, 2, 3]], [1 - max(probabilities[i]) for i in (0, 2, 3)])
    assert score[1] == pytest.approx(math.exp(-60) + math.exp(-59))
    assert np.allclose(run(Msp().fit(given), given)[:, 0], score, rtol=1e-5, atol=0)


def test_neuralfp_learns_what_inliers_have_in_common() -> None:
    random = np.random.default_rng(0)
    spread = random.normal(size=(3, 24))
    x = (random.normal(size=(900, 3)) @ spread + random.normal(size=(900, 24)) / 10 + 4).astype(np.float32)
    layer = fit_autoencoder(x, np.random.default_rng(0))
    assert layer.encoder.shape == (24, 6)
    assert np.exp(layer.centre) < 0.1  # of the variance
    broken = x[:200, np.random.default_rng(1).permutation(24)]
    assert np.quantile(layer.score(broken), 0.1) > np.quantile(layer.score(x), 0.95)


def test_neuralfp_is_half_the_square_of_the_standardised_log_error_above_its_mean() -> None:
    x = responses(800).features[1]
    layer = fit_autoencoder(x, np.random.default_rng(0))
    standardised = (x.astype(float) - layer.mean) / layer.deviation
    output = np.tanh(standardised @ layer.encoder + layer.bias) @ layer.decoder
    log = np.log(((output - standardised) ** 2).mean(axis=1))
    z = (log - layer.centre) / layer.spread
    assert np.allclose(layer.score(x), np.where(z > 0, z**2 / 2, 0))
    order = np.random.default_rng(0).permutation(800)[: int(800 * APART)]
    assert layer.centre == pytest.approx(log[order].mean())
    assert layer.spread == pytest.approx(log[order].std())
