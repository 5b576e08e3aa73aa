import math
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from driftprint.decision import RAISE_RATES
from driftprint.stats.edetector import EDetector, EDetectorState

P0 = 0.0573  # of about 5,000 calibration scores at alpha 0.05


def make_detector(threshold: float = 1e5) -> EDetector:
    return EDetector(null=P0, alternatives=RAISE_RATES, threshold=threshold)


def run_lengths(detector: EDetector, hits: Callable[[EDetector], Iterator[bool]], runs: int) -> list[int]:
    """How many outcomes each of `runs` runs takes until the detector declares."""
    lengths = []
    for _ in range(runs):
        detector.reset()
        for length, hit in enumerate(hits(detector), start=1):
            detector.update(hit)
            if detector.declared:
                lengths.append(length)
                break
    return lengths


def independent(rate: float, seed: int = 0) -> Callable[[EDetector], Iterator[bool]]:
    generator = np.random.default_rng(seed)

    def hits(_: EDetector) -> Iterator[bool]:
        while True:
            yield from (generator.random(100) < rate).tolist()

    return hits


def in_bursts(seed: int = 0) -> Callable[[EDetector], Iterator[bool]]:
    """A hit is as likely as allowed for fifty outcomes after a hit, and a tenth as likely otherwise."""
    generator = np.random.default_rng(seed)

    def hits(_: EDetector) -> Iterator[bool]:
        since = 0
        while True:
            hit = bool(generator.random() < (P0 if since < 50 else P0 / 10))
            since = 0 if hit else since + 1
            yield hit

    return hits


def against_the_detector(seed: int = 0) -> Callable[[EDetector], Iterator[bool]]:
    """As likely as allowed while the evidence is high, and else so that the evidence hardly falls."""
    generator = np.random.default_rng(seed)

    def hits(detector: EDetector) -> Iterator[bool]:
        while True:
            yield bool(generator.random() < (P0 if detector.log_evidence > 1.0 else P0 * 0.9))

    return hits


@given(
    outcomes=st.lists(st.booleans(), max_size=100),
    null=st.floats(0.01, 0.3),
    alternatives=st.lists(st.floats(0.31, 0.99), min_size=1, max_size=6),
)
def test_evidence_is_the_mean_of_the_recursions(outcomes: list[bool], null: float, alternatives: list[float]) -> None:
    detector = EDetector(null=null, alternatives=alternatives, threshold=1e3)
    m = [0.0] * len(alternatives)
    for hit in outcomes:
        detector.update(hit)
        m = [(1 + m_q) * (q / null if hit else (1 - q) / (1 - null)) for m_q, q in zip(m, alternatives, strict=True)]

    evidence = sum(m) / len(m)
    assert math.exp(detector.log_evidence) == pytest.approx(evidence, rel=1e-9)
    if evidence != pytest.approx(1e3):
        assert detector.declared == (evidence >= 1e3)
    assert detector.relative_evidence == pytest.approx(max(0.0, math.log(evidence or 1.0)) / math.log(1e3), abs=1e-9)


@given(before=st.lists(st.booleans(), max_size=60), after=st.lists(st.booleans(), max_size=60))
def test_goes_on_from_a_saved_state_as_if_never_stopped(before: list[bool], after: list[bool]) -> None:
    undisturbed, stopped, restarted = make_detector(), make_detector(), make_detector()
    for hit in before:
        undisturbed.update(hit)
        stopped.update(hit)

    restarted.load(EDetectorState.model_validate_json(stopped.save().model_dump_json()))

    for hit in after:
        undisturbed.update(hit)
        restarted.update(hit)
        assert restarted.log_evidence == undisturbed.log_evidence


@pytest.mark.parametrize("log_m", [(1.0,), (), (math.nan,) * len(RAISE_RATES), (math.inf,) * len(RAISE_RATES)])
def test_ignores_a_state_that_is_not_its_own(log_m: tuple[float, ...]) -> None:
    detector = make_detector()

    detector.load(EDetectorState(log_m=log_m))

    assert detector.log_evidence == -math.inf


def test_forgets_when_reset() -> None:
    detector = make_detector()
    for _ in range(10):
        detector.update(True)

    detector.reset()

    assert not detector.declared
    assert detector.relative_evidence == 0.0


def test_hours_of_hits_and_of_misses_overflow_nothing() -> None:
    detector = make_detector()
    for hit in [True] * 20_000 + [False] * 20_000:
        detector.update(hit)

    assert math.isfinite(detector.log_evidence)


@pytest.mark.parametrize(
    "hits",
    [independent(P0), independent(P0 * 0.8), in_bursts(), against_the_detector()],
    ids=["at the bound", "below it", "in bursts", "against the detector"],
)
def test_false_alarms_are_at_least_the_threshold_apart(hits: Callable[[EDetector], Iterator[bool]]) -> None:
    threshold = 300.0

    lengths = run_lengths(make_detector(threshold), hits, runs=150)

    # At the bound the mean is about twice the threshold, five standard errors above it.
    assert np.mean(lengths) >= threshold


def test_alarms_come_sooner_where_the_null_is_broken() -> None:
    assert np.mean(run_lengths(make_detector(300.0), independent(2 * P0), runs=150)) < 100


@pytest.mark.parametrize(
    ("rate", "delay", "runs"), [(0.95, 5.5, 1000), (0.5, 15, 500), (0.2, 84, 400), (0.1, 575, 300)]
)
def test_mean_delay_is_the_documented_one(rate: float, delay: float, runs: int) -> None:
    assert np.mean(run_lengths(make_detector(1e5), independent(rate, seed=1), runs)) == pytest.approx(delay, rel=0.15)


@given(outcomes=st.lists(st.booleans(), max_size=80))
def test_alternatives_below_the_null_watch_for_a_fall(outcomes: list[bool]) -> None:
    detector = EDetector(null=0.2, alternatives=(0.05, 0.1), threshold=50)
    m = [0.0, 0.0]
    for hit in outcomes:
        detector.update(hit)
        m = [(1 + m[i]) * (q / 0.2 if hit else (1 - q) / 0.8) for i, q in enumerate((0.05, 0.1))]

    assert math.exp(detector.log_evidence) == pytest.approx(sum(m) / 2, rel=1e-9)


@pytest.mark.parametrize(
    ("null", "alternatives", "threshold", "complaint"),
    [
        (0.0, (0.5,), 100, "strictly between"),
        (0.1, (1.0,), 100, "strictly between"),
        (0.1, (), 100, "alternatives"),
        (0.1, (0.05, 0.5), 100, "one side"),
        (0.1, (0.1, 0.5), 100, "one side"),
        (0.1, (0.5,), 1.0, "over 1"),
        (0.1, (0.5,), math.nan, "over 1"),
        (math.nan, (0.5,), 100, "strictly between"),
    ],
)
def test_senseless_settings_are_refused(
    null: float, alternatives: tuple[float, ...], threshold: float, complaint: str
) -> None:
    with pytest.raises(ValueError, match=complaint):
        EDetector(null=null, alternatives=alternatives, threshold=threshold)
