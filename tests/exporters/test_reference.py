"""The committed reference bundle is what its recipe makes."""

from __future__ import annotations

import numpy as np
import pytest

from bench.detection.measure import most_flagged, resampled
from driftprint.bundle import read_bundle
from driftprint.digits import Part, load_digits
from driftprint.installed import find_bundle
from driftprint.scorer import Scorer
from driftprint_export.reference.digits import make


def test_the_recipe_remakes_the_digits_bundle_score_for_score() -> None:
    exported, accuracy = make()
    committed = Scorer(read_bundle(find_bundle("digits")))
    remade = Scorer(exported.bundle)
    digits = load_digits(Part.DEMO).frames[:200]
    old, new = [[scorer.score(digit).score for digit in digits] for scorer in (committed, remade)]
    assert accuracy > 0.98
    assert exported.bundle.manifest.training_data_sha256 == committed.manifest.training_data_sha256
    assert exported.bundle.manifest.fingerprint == committed.manifest.fingerprint
    assert np.allclose(old, new, atol=committed.manifest.tolerance.score)


def test_inliers_are_flagged_as_often_as_promised_whatever_the_calibration_set() -> None:
    """The ratio stays under the bound for 99 of 100 calibration sets, and for a few less by the chance of the test."""
    scorer = Scorer(read_bundle(find_bundle("digits")))
    fresh = np.array([scorer.score(digit).score for digit in load_digits(Part.DEMO).frames])
    calibration = np.array(scorer.manifest.calibration.scores)
    ratios = resampled(calibration, fresh, 0.05, 200, np.random.default_rng(0))
    assert (ratios <= most_flagged(len(calibration), len(fresh), 0.05)).mean() >= 0.97
    assert ratios.mean() == pytest.approx(0.05, abs=0.005)
