import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import stats

from driftprint.stats.conformal import Calibration, outlier_bound, smallest_alpha

# Few different values, so that ties are common.
scores = st.lists(st.integers(-5, 5).map(float) | st.floats(-1e6, 1e6), min_size=1, max_size=60)
alphas = st.floats(0.001, 0.499)


@given(calibration=scores, score=st.integers(-6, 6).map(float) | st.floats(-1e7, 1e7))
def test_p_value_counts_the_scores_at_least_as_high(calibration: list[float], score: float) -> None:
    at_least_as_high = sum(other >= score for other in calibration)

    assert Calibration(calibration).p_value(score) == (1 + at_least_as_high) / (len(calibration) + 1)


@given(everything=scores.filter(lambda some: len(some) > 1), alpha=alphas)
def test_p_values_of_exchangeable_scores_are_at_most_alpha_with_at_most_that_probability(
    everything: list[float], alpha: float
) -> None:
    # Whichever of n + 1 exchangeable scores is the new one is equally likely: the probability by counting.
    p_values = [
        Calibration(everything[:i] + everything[i + 1 :]).p_value(everything[i]) for i in range(len(everything))
    ]

    assert sum(p <= alpha for p in p_values) <= alpha * len(everything) + 1e-9


def test_calibration_keeps_no_order_and_counts_its_scores() -> None:
    assert Calibration([3.0, 1.0, 2.0]).p_value(1.5) == Calibration([1.0, 2.0, 3.0]).p_value(1.5) == 0.75
    assert len(Calibration([3.0, 1.0, 2.0])) == 3


def test_calibration_without_scores_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one score"):
        Calibration([])


@given(calibration=scores)
def test_smallest_alpha_is_the_p_value_of_a_score_beyond_all(calibration: list[float]) -> None:
    assert Calibration(calibration).p_value(1e9) == smallest_alpha(len(calibration))


@pytest.mark.parametrize(
    ("n", "alpha", "confidence"), [(19, 0.05, 0.99), (1000, 0.05, 0.99), (777, 0.01, 0.9), (20_000, 0.1, 0.999)]
)
def test_bound_is_the_beta_quantile_of_its_definition(n: int, alpha: float, confidence: float) -> None:
    k = int(np.floor(alpha * (n + 1) + 1e-9))

    assert outlier_bound(n, alpha, confidence) == pytest.approx(stats.beta.ppf(confidence, k, n + 1 - k), rel=1e-9)


def test_bound_holds_for_ninety_nine_calibration_sets_of_a_hundred() -> None:
    n, alpha, sets = 200, 0.05, 20_000
    calibration = np.sort(np.random.default_rng(1).uniform(size=(sets, n)), axis=1)
    thresholds = calibration[:, n - 10]  # the tenth highest
    first = Calibration(calibration[0].tolist())
    assert first.p_value(thresholds[0] + 1e-9) <= alpha < first.p_value(thresholds[0])

    outlier_probability = 1.0 - thresholds  # of a new score, uniform as well
    exceeded = float(np.mean(outlier_probability > outlier_bound(n, alpha)))

    assert exceeded == pytest.approx(0.01, abs=0.003)  # the standard error is 0.0007


@given(n=st.integers(1, 20_000), alpha=alphas)
def test_bound_counts_every_p_value_at_most_alpha(n: int, alpha: float) -> None:
    ranks = sum((1 + higher) / (n + 1) <= alpha for higher in range(int(alpha * (n + 1)) + 3))
    assume(ranks > 0)

    bound = outlier_bound(n, alpha)

    # Where alpha falls just short of a p-value by rounding, that one may be counted too: the bound still holds.
    exact, one_more = (stats.beta.ppf(0.99, k, n + 1 - k) for k in (ranks, ranks + 1))
    assert exact * (1 - 1e-6) <= bound <= one_more * (1 + 1e-6)


@given(alpha=alphas)
def test_too_few_scores_are_refused_with_the_number_needed(alpha: float) -> None:
    with pytest.raises(ValueError, match="at least") as refusal:
        outlier_bound(1, alpha)

    needed = int(str(refusal.value).split("at least ")[1].split()[0])
    assert 0 < outlier_bound(needed, alpha) < 1
    with pytest.raises(ValueError, match="are needed"):
        outlier_bound(needed - 1, alpha)


def test_bound_tightens_towards_alpha_with_more_calibration() -> None:
    bounds = [outlier_bound(n, 0.05) for n in (100, 1000, 10_000, 100_000)]

    assert bounds == sorted(bounds, reverse=True)
    assert bounds[-1] == pytest.approx(0.05, rel=0.04)
