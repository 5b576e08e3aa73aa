"""The committed reference bundle is what its recipe makes."""

from __future__ import annotations

import numpy as np

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
