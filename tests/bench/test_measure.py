"""Figures of detectors: what they mean."""

from __future__ import annotations

import numpy as np
import pytest

from bench.detection.measure import auroc, beyond_chance, measure, most_flagged, resampled, roc
from driftprint.stats.conformal import outlier_bound


def test_the_auroc_is_the_chance_that_an_outlier_scores_higher() -> None:
    random = np.random.default_rng(0)
    inliers, outliers = random.integers(0, 20, 200).astype(float), random.integers(5, 25, 300).astype(float)
    higher = outliers[None] > inliers[:, None]
    same = outliers[None] == inliers[:, None]
    assert auroc(inliers, outliers) == pytest.approx((higher + same / 2).mean())


def test_the_threshold_is_set_by_the_calibration_set_alone() -> None:
    calibration = np.arange(100.0)
    figures = measure(calibration, np.array([10.0, 20.0, 99.0, 99.0]), np.array([50.0, 200.0, 200.0, 200.0]))
    assert figures.inliers_kept == 0.5
    assert figures.outliers_caught == 0.75


def test_fpr95_counts_outliers_that_pass_where_19_of_20_inliers_do() -> None:
    inliers = np.arange(1000.0)
    assert measure(inliers, inliers, np.full(10, 900.0)).fpr95 == 1
    assert measure(inliers, inliers, np.full(10, 990.0)).fpr95 == 0


def test_the_curve_rises_from_nothing_to_everything() -> None:
    random = np.random.default_rng(0)
    flagged, caught = roc(random.normal(size=500), random.normal(1, 1, 500))
    assert (flagged[0], flagged[-1]) == (0, 1)
    assert caught[-1] == 1
    assert (np.diff(caught) >= 0).all()
    assert (caught >= flagged - 0.05).all()


def test_few_fresh_inliers_loosen_the_bound_and_many_do_not() -> None:
    bound = outlier_bound(1000, 0.05)
    assert most_flagged(1000, 100, 0.05) > bound + 0.02
    assert most_flagged(1000, 1_000_000, 0.05) == pytest.approx(bound, abs=1e-4)


def test_calibration_sets_dealt_anew_stay_under_the_bound() -> None:
    random = np.random.default_rng(0)
    ratios = resampled(random.normal(size=1000), random.normal(size=500), 0.05, 500, random)
    assert (ratios <= most_flagged(1000, 500, 0.05)).mean() == pytest.approx(0.99, abs=0.01)


def test_a_class_of_few_frames_may_be_over_the_rate_by_chance() -> None:
    assert not beyond_chance(3, 20, 0.1)
    assert beyond_chance(150, 1000, 0.1)
