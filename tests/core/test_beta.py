import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import special

from driftprint.stats.beta import beta_cdf, beta_quantile

# From half an observation to far more calibration scores than a bundle may hold.
shapes = st.floats(-0.3, 5.0).map(lambda exponent: 10.0**exponent)
probabilities = st.floats(0.0, 1.0)


@given(x=probabilities, a=shapes, b=shapes)
def test_cdf_is_that_of_scipy(x: float, a: float, b: float) -> None:
    assert beta_cdf(x, a, b) == pytest.approx(special.betainc(a, b, x), rel=1e-7, abs=1e-12)


@given(probability=st.floats(0.001, 0.999), a=shapes, b=shapes)
def test_quantile_is_that_of_scipy(probability: float, a: float, b: float) -> None:
    quantile = beta_quantile(probability, a, b)

    assert quantile == pytest.approx(special.betaincinv(a, b, probability), rel=1e-6, abs=1e-12)


@given(probability=st.floats(0.001, 0.999), a=st.integers(1, 1000), b=st.integers(1, 20_000))
def test_quantile_inverts_the_cdf(probability: float, a: int, b: int) -> None:
    assert beta_cdf(beta_quantile(probability, a, b), a, b) == pytest.approx(probability, abs=1e-8)


@pytest.mark.parametrize(("x", "expected"), [(-0.5, 0.0), (0.0, 0.0), (1.0, 1.0), (1.5, 1.0)])
def test_cdf_outside_the_unit_interval(x: float, expected: float) -> None:
    assert beta_cdf(x, 3.0, 4.0) == expected
