"""What an alert says of its outliers."""

from __future__ import annotations

import numpy as np
import pytest

from driftprint.clock import Instant
from driftprint.scorer import Scored
from driftprint_edge.explain import Explainer


def at(seconds: float) -> Instant:
    """By the monotonic clock; the wall clock is a day behind."""
    return Instant(seconds, seconds - 86_400)


def explainer(frames: int = 10) -> Explainer:
    return Explainer(["early", "late"], alpha=0.05, frames=frames, suspicion=0.25)


def add(
    one: Explainer, count: int, layers: tuple[float, float], predicted: str | None = "cat", *, evidence: float = 0.5
) -> None:
    """Outliers with these p-values of their layers."""
    scores = -np.log(np.array(layers)).astype(np.float32)
    scored = Scored(score=9.0, p_value=0.01, layers=scores, predicted=predicted, outputs={})
    for i in range(count):
        one.add(scored, outlier=True, evidence=evidence, now=at(100.0 + i))


def add_inliers(one: Explainer, count: int, *, evidence: float = 0.5) -> None:
    scored = Scored(score=0.0, p_value=0.5, layers=np.zeros(2, np.float32), predicted="dog", outputs={})
    for i in range(count):
        one.add(scored, outlier=False, evidence=evidence, now=at(200.0 + i))


def test_layers_and_classes_are_shares_of_the_outliers_alone() -> None:
    one = explainer()
    add(one, 3, (0.01, 0.5), "cat")
    add(one, 1, (0.5, 0.04), "ship")
    add_inliers(one, 6)
    found = one.explain()
    assert found.layers == {"early": 0.75, "late": 0.25}
    assert found.classes == {"cat": 0.75, "ship": 0.25}
    assert found.sentence(at(145.0)) == (
        " Of the outliers 75% stand out in early, 75% are taken for cat. First signs 45 s ago."
    )


def test_what_has_left_the_window_is_forgotten() -> None:
    one = explainer(frames=10)
    add(one, 5, (0.01, 0.01))
    add_inliers(one, 10)
    found = one.explain()
    assert found.layers == {"early": 0, "late": 0}
    assert found.classes == {}
    assert found.sentence(at(400.0)) == " First signs 5 min ago."


def test_suspicion_dates_from_the_first_evidence_that_has_lasted() -> None:
    one = explainer()
    add(one, 2, (0.01, 0.01), evidence=0.3)
    add_inliers(one, 1, evidence=0.1)
    assert one.explain().suspected_at is None
    add(one, 3, (0.01, 0.01), evidence=0.3)
    assert one.explain().suspected_at == at(100.0)


@pytest.mark.parametrize("predicted", [None, "cat"])
def test_a_model_without_classes_has_layers_only(predicted: str | None) -> None:
    one = explainer()
    add(one, 2, (0.01, 0.5), predicted)
    assert bool(one.explain().classes) == (predicted is not None)


def test_names_are_cut_to_what_a_message_can_carry() -> None:
    one = Explainer(["x" * 500, *map(str, range(99))], alpha=0.05, frames=10, suspicion=0.25)
    scored = Scored(score=9.0, p_value=0.01, layers=np.full(100, 9, np.float32), predicted=None, outputs={})
    one.add(scored, outlier=True, evidence=0.5, now=at(1.0))
    layers = one.explain().layers
    assert len(layers) == 64
    assert layers["x" * 128] == 1


def test_many_classes_are_cut_to_the_most_frequent() -> None:
    one = explainer(frames=100)
    for i in range(10):
        add(one, i + 1, (0.01, 0.5), f"c{i}")
    assert list(one.explain().classes) == ["c9", "c8", "c7"]
