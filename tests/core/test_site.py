"""What is learnt at a site: an honest bound, and a stride that makes frames independent."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from driftprint.clock import Instant
from driftprint.decision import Decider, DecisionSettings
from driftprint.errors import DataError
from driftprint.stats.beta import ratio_bound
from driftprint.stats.site import SiteBaseline, decorrelated_stride, learn_baseline, worst_ratio_bound


def slow(count: int, memory: float, seed: int = 0) -> np.ndarray:
    """Scores of a scene that changes slowly: each depends on the one before."""
    steps = np.random.default_rng(seed).normal(size=count)
    scores = np.zeros(count)
    for i in range(1, count):
        scores[i] = memory * scores[i - 1] + steps[i]
    return scores


@pytest.mark.parametrize(("outliers", "frames"), [(0, 100), (5, 100), (50, 1000), (99, 100), (100, 100)])
def test_the_bound_is_clopper_and_pearsons(outliers: int, frames: int) -> None:
    expected = stats.beta.ppf(0.99, outliers + 1, frames - outliers) if outliers < frames else 1
    assert ratio_bound(outliers, frames, 0.99) == pytest.approx(expected, abs=1e-6)


def test_independent_frames_all_count() -> None:
    strides = [decorrelated_stride(np.random.default_rng(seed).exponential(size=500)) for seed in range(200)]
    assert np.mean([stride == 1 for stride in strides]) > 0.99


@pytest.mark.parametrize(("memory", "least", "most"), [(0.5, 4, 4), (0.9, 16, 32), (0.99, 128, 512)])
def test_the_slower_a_scene_the_larger_the_stride(memory: float, least: int, most: int) -> None:
    assert least <= decorrelated_stride(slow(20_000, memory)) <= most


def test_repeated_frames_are_skipped() -> None:
    scores = np.repeat(np.random.default_rng(0).exponential(size=2_000), 7)
    assert decorrelated_stride(scores) == 8


def test_a_still_scene_is_no_trouble() -> None:
    assert decorrelated_stride(np.zeros(1000)) >= 1


def learn(scores: np.ndarray, threshold: float) -> SiteBaseline:
    return learn_baseline(list(scores), list(scores > threshold), bundle="toy-1", recorded_at=5.0)


def test_what_is_learnt_says_what_it_was_learnt_from() -> None:
    scores = np.random.default_rng(0).exponential(size=2_000)
    baseline = learn(scores, 2.0)
    assert (baseline.frames, baseline.decisions, baseline.stride) == (2000, 2000, 1)
    assert baseline.outliers == (scores > 2).sum()
    assert baseline.p0 == ratio_bound(baseline.outliers, 2000, 0.99)


def test_too_little_footage_is_refused_with_how_much_more_is_wanted() -> None:
    with pytest.raises(DataError, match="calibrate for 5 times as long"):
        learn(np.random.default_rng(0).exponential(size=20), 2.0)


def test_footage_of_outliers_is_refused() -> None:
    with pytest.raises(DataError, match="not what the model was trained for"):
        learn(np.random.default_rng(0).exponential(size=1000), 0.1)


def false_alarms(site: SiteBaseline | None, scores: np.ndarray, threshold: float, budget: float) -> int:
    decider = Decider(
        DecisionSettings(cool_down_seconds=0, update_seconds=1e9),
        calibration_size=1000,
        frames_per_false_alarm=budget,
        site=site,
    )
    for i, score in enumerate(scores):
        decider.update(score, 0.01 if score > threshold else 0.5, None, Instant(i, i))
    return decider.alerts_total


def test_slow_video_raises_false_alarms_without_a_stride_and_keeps_the_budget_with_one() -> None:
    """Some 5 % of the frames are outliers, which come in long runs."""
    footage, later = slow(50_000, 0.97, seed=1), slow(200_000, 0.97, seed=2)
    threshold = float(np.quantile(footage, 0.95))
    assert false_alarms(None, later, threshold, budget=20_000) > 100
    assert false_alarms(learn(footage, threshold), later, threshold, budget=20_000) <= 10


def test_drift_is_still_found_with_a_stride() -> None:
    footage = slow(50_000, 0.97, seed=1)
    threshold = float(np.quantile(footage, 0.95))
    drifted = slow(5_000, 0.97, seed=3) + 3 * footage.std()
    assert false_alarms(learn(footage, threshold), drifted, threshold, budget=20_000) == 1


def test_footage_that_is_alike_all_the_time_is_bounded_as_a_whole() -> None:
    flags = [bool(flag) for flag in np.random.default_rng(0).random(5000) < 0.05]
    assert worst_ratio_bound(flags) == ratio_bound(sum(flags), 5000, 0.99)


def test_footage_of_changing_hours_is_bounded_by_its_worst() -> None:
    noon = np.r_[np.full(4000, 0.04), np.full(1000, 0.12), np.full(4000, 0.04)]
    flags = [bool(flag) for flag in np.random.default_rng(0).random(9000) < noon]
    assert 0.12 < worst_ratio_bound(flags) < 0.25
    assert ratio_bound(sum(flags), 9000, 0.99) < 0.06


@pytest.mark.parametrize("flag", [False, True])
def test_footage_without_any_difference_has_its_plain_bound(flag: bool) -> None:
    assert worst_ratio_bound([flag] * 1000) == ratio_bound(1000 * flag, 1000, 0.99)


def test_hours_that_are_alike_hardly_ever_count_as_different() -> None:
    random = np.random.default_rng(1)
    runs = [[bool(flag) for flag in random.random(2400) < 0.05] for _ in range(200)]
    different = sum(worst_ratio_bound(flags) != ratio_bound(sum(flags), 2400, 0.99) for flags in runs)
    assert different <= 8
