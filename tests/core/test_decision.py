import itertools
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from driftprint.clock import Instant
from driftprint.decision import CLEAR_MARGIN, Alert, Decider, DeciderState, DecisionSettings
from driftprint.errors import ConfigError
from driftprint.messages import AlertStatus
from driftprint.stats.conformal import Calibration, outlier_bound

BOOT = 1_700_000_000.0  # wall time at monotonic time 0
RAISED, UPDATED, CLEARED = AlertStatus.RAISED, AlertStatus.UPDATED, AlertStatus.CLEARED


def make_decider(budget: float = 10_000, calibration_size: int = 1000, **choices: float) -> Decider:
    """Its alerts' ids are 1, 2, 3 ..."""
    decider = Decider(
        DecisionSettings.model_validate(choices),
        calibration_size=calibration_size,
        frames_per_false_alarm=budget,
        new_id=lambda: f"{decider.alerts_total:032x}",
    )
    return decider


def watch(decider: Decider, outliers: Sequence[bool], start: float = 0.0) -> list[Alert]:
    """The alerts of frames that come once a second."""
    decisions = [
        decider.update(float(outlier), 0.001 if outlier else 0.5, None, Instant(start + i, BOOT + start + i))
        for i, outlier in enumerate(outliers)
    ]
    assert [decision.outlier for decision in decisions] == list(outliers)
    return [decision.alert for decision in decisions if decision.alert is not None]


def mixed(ratio: float, frames: int, seed: int = 0) -> list[bool]:
    return [bool(outlier) for outlier in np.random.default_rng(seed).random(frames) < ratio]


def test_an_alert_is_raised_updated_and_cleared_under_one_id() -> None:
    decider = make_decider(update_seconds=20.0)

    alerts = watch(decider, [False] * 50 + [True] * 50 + [False] * 150)

    assert [alert.status for alert in alerts][:3] == [RAISED, UPDATED, UPDATED]
    assert [alert.status for alert in alerts].count(RAISED) == 1
    assert alerts[-1].status is CLEARED
    assert {alert.alert_id for alert in alerts} == {f"{1:032x}"}
    assert [alert.revision for alert in alerts] == list(range(len(alerts)))
    assert len({alert.raised_at for alert in alerts}) == 1
    assert not decider.alarm
    assert (decider.frames_total, decider.outliers_total, decider.alerts_total) == (250, 50, 1)


def test_an_alert_says_when_and_on_what() -> None:
    decider = make_decider(window_frames=20)

    raised, *_, cleared = watch(decider, [False] * 50 + [True] * 10 + [False] * 150)

    frames = raised.frames_total
    assert 50 < frames <= 60
    assert raised.raised_at == BOOT + frames - 1
    assert raised.cleared_at is None
    assert raised.outlier_ratio == (frames - 50) / 20
    assert f"{raised.outlier_ratio:.0%} of the last 20 frames" in raised.summary
    assert cleared.cleared_at == BOOT + cleared.frames_total - 1
    assert cleared.raised_at == raised.raised_at


def test_frames_like_the_calibration_set_raise_nothing() -> None:
    assert watch(make_decider(), mixed(0.05, 2000)) == []


def test_a_raised_alert_is_updated_no_more_often_than_asked() -> None:
    alerts = watch(make_decider(update_seconds=60.0), [True] * 400)

    updates = [alert.frames_total for alert in alerts if alert.status is UPDATED]
    assert np.diff([alerts[0].frames_total, *updates]).tolist() == [60] * len(updates)
    assert len(updates) == 6


def test_a_raised_alert_outlasts_a_short_quiet_spell() -> None:
    alerts = watch(make_decider(), [True] * 20 + [False] * 10 + [True] * 20)

    assert [alert.status for alert in alerts] == [RAISED]


@pytest.mark.parametrize("ratio", [0.25, 0.5, 0.95])
def test_a_raised_alert_stays_while_outliers_stay(ratio: float) -> None:
    decider = make_decider()
    assert ratio > CLEAR_MARGIN * decider.p0

    alerts = watch(decider, [True] * 20 + mixed(ratio, 3000))

    assert CLEARED not in [alert.status for alert in alerts]


@pytest.mark.parametrize("times_p0", [2.0, 3.0])
def test_a_mild_lasting_shift_does_not_raise_and_clear_in_turns(times_p0: float) -> None:
    decider = make_decider(budget=100_000, cool_down_seconds=60.0)

    alerts = watch(decider, mixed(times_p0 * decider.p0, 20_000))

    # A clear is allowed by mistake once in 1,000 frames where the ratio is just over 1.5 p0, ever more
    # rarely above that.
    assert 1 <= [alert.status for alert in alerts].count(RAISED) <= 5


def test_clearing_needs_evidence_of_its_own() -> None:
    decider = make_decider()
    assert watch(decider, [True] * 500)[-1].status is UPDATED

    frames = 0
    while decider.alarm:
        watch(decider, [False], start=500.0 + frames)
        frames += 1

    # Neither at once nor, after ever so many outliers, much later.
    assert 15 <= frames <= 100


def test_after_a_clear_the_old_evidence_is_gone() -> None:
    decider = make_decider(cool_down_seconds=0.0)
    alerts = watch(decider, [True] * 300 + [False] * 100)
    assert alerts[-1].status is CLEARED

    assert decider.evidence < 0.5
    assert watch(decider, [True], start=400.0) == []


def test_evidence_that_cleared_one_alert_does_not_clear_the_next() -> None:
    decider = make_decider(cool_down_seconds=0.0)
    assert watch(decider, [True] * 20 + [False] * 100)[-1].status is CLEARED
    for i in range(20):
        if watch(decider, [True], start=120.0 + i):
            break

    assert watch(decider, [False] * 10, start=140.0) == []
    assert decider.alarm


def test_no_alert_is_raised_in_the_cool_down() -> None:
    decider = make_decider(cool_down_seconds=100.0)
    alerts = watch(decider, [True] * 20 + [False] * 100)
    cleared_at = alerts[-1].frames_total - 1.0
    assert alerts[-1].status is CLEARED

    (alert,) = [alert for alert in watch(decider, [True] * 200, start=120.0) if alert.status is RAISED]

    assert alert.raised_at == BOOT + cleared_at + 100.0
    assert alert.alert_id == f"{2:032x}"


def test_without_a_cool_down_a_new_alert_comes_as_soon_as_evidence_allows() -> None:
    decider = make_decider(cool_down_seconds=0.0)

    alerts = watch(decider, [True] * 20 + [False] * 100 + [True] * 20)

    assert [alert.status for alert in alerts if alert.status is not UPDATED] == [RAISED, CLEARED, RAISED]


def life(alerts: Sequence[Alert]) -> list[tuple[str, AlertStatus, int, float]]:
    """What must not depend on restarts. Windows fill anew, and so does the time to the next update."""
    return [
        (alert.alert_id, alert.status, alert.frames_total, alert.raised_at)
        for alert in alerts
        if alert.status is not UPDATED
    ]


def watch_with_restart(outliers: Sequence[bool], at: int) -> tuple[Decider, list[Alert]]:
    """As `watch`, but the agent starts again before frame `at`, on a machine whose monotonic clock does too."""
    first, second = make_decider(cool_down_seconds=50.0), make_decider(cool_down_seconds=50.0)
    alerts = watch(first, outliers[:at])
    saved = first.save(Instant(float(at), BOOT + at)).model_dump_json()
    second.load(DeciderState.model_validate_json(saved), Instant(5.0, BOOT + at))
    for i, outlier in enumerate(outliers[at:]):
        decision = second.update(0.0, 0.001 if outlier else 0.5, None, Instant(5.0 + i, BOOT + at + i))
        alerts += [decision.alert] if decision.alert else []
    return second, alerts


LIFE = [False] * 20 + [True] * 12 + [False] * 120 + [True] * 60 + [False] * 120


def test_a_restart_at_any_moment_of_an_alerts_life_changes_nothing() -> None:
    undisturbed = make_decider(cool_down_seconds=50.0)
    expected = life(watch(undisturbed, LIFE))
    assert [status for _, status, _, _ in expected] == [RAISED, CLEARED, RAISED, CLEARED]

    for at in range(0, len(LIFE) + 1, 3):
        restarted, alerts = watch_with_restart(LIFE, at)

        assert life(alerts) == expected, f"restarted before frame {at}"
        assert [alert.revision for alert in alerts if alert.alert_id == f"{1:032x}"] == list(
            range(sum(alert.alert_id == f"{1:032x}" for alert in alerts))
        )
        assert restarted.frames_total == undisturbed.frames_total
        assert restarted.outliers_total == undisturbed.outliers_total
        assert restarted.evidence == pytest.approx(undisturbed.evidence)


@settings(deadline=None)
@given(blocks=st.lists(st.tuples(st.booleans(), st.integers(1, 60)), min_size=1, max_size=8), place=st.floats(0.0, 1.0))
def test_a_restart_changes_no_stream_of_frames(blocks: list[tuple[bool, int]], place: float) -> None:
    outliers = list(itertools.chain.from_iterable([outlier] * length for outlier, length in blocks))
    expected = make_decider(cool_down_seconds=50.0)
    alerts = watch(expected, outliers)

    restarted, seen = watch_with_restart(outliers, int(place * len(outliers)))

    assert life(seen) == life(alerts)
    assert restarted.alarm == expected.alarm
    assert restarted.alerts_total == expected.alerts_total


def test_a_longer_cool_down_than_is_set_is_not_taken_over() -> None:
    decider = make_decider(cool_down_seconds=10.0)
    decider.load(DeciderState(cool_down_left=1e9), Instant(0.0, BOOT))

    alerts = watch(decider, [True] * 30)

    assert alerts[0].status is RAISED
    assert alerts[0].raised_at == BOOT + 10.0


def test_alerts_get_ids_of_their_own() -> None:
    ids = set()
    for _ in range(20):
        decider = Decider(DecisionSettings(), calibration_size=1000, frames_per_false_alarm=1000)
        (alert,) = watch(decider, [True] * 10)
        ids.add(alert.alert_id)
        assert len(alert.alert_id) == 32
        assert set(alert.alert_id) <= set("0123456789abcdef")

    assert len(ids) == 20


def raised_on(decider: Decider, p_values: Sequence[float]) -> int:
    for i, p_value in enumerate(p_values):
        decider.update(0.0, p_value, None, Instant(i / 10, BOOT + i / 10))
    return decider.alerts_total


def test_a_clean_stream_keeps_within_the_budget() -> None:
    """Frames scored like the calibration set, against calibration sets of a common size.

    By the guarantee at most 100,000 / 50,000 = 2 alerts are expected of a stream, 6 of three. Poisson counts of
    mean 6 are 13 or less in 99.6 % of cases; the bound on p0 leaves a margin, so that the true mean is far less.
    """
    alerts = 0
    for seed in range(3):
        generator = np.random.default_rng(seed)
        calibration = Calibration(generator.normal(size=1000).tolist())
        decider = make_decider(budget=50_000, window_frames=10, window_seconds=1.0)
        alerts += raised_on(decider, [calibration.p_value(score) for score in generator.normal(size=100_000).tolist()])

    assert alerts <= 13


def test_the_unluckiest_calibration_set_keeps_within_the_budget_too() -> None:
    """A stream whose outlier probability is p0 itself: again at most 2 alerts are expected.

    More than 7 has a probability of 0.1 % in a Poisson count of mean 2.
    """
    decider = make_decider(budget=50_000, window_frames=10, window_seconds=1.0)
    outliers = np.random.default_rng(7).random(100_000) < decider.p0

    assert raised_on(decider, np.where(outliers, 0.001, 0.5).tolist()) <= 7


def test_a_stream_outside_the_budget_is_told() -> None:
    decider = make_decider(budget=50_000)

    assert raised_on(decider, [0.001 if outlier else 0.5 for outlier in mixed(2 * decider.p0, 5000)]) >= 1


@pytest.mark.parametrize("alpha", [0.01, 0.05, 0.2])
def test_the_null_is_the_bound_for_the_calibration_set_at_hand(alpha: float) -> None:
    assert make_decider(calibration_size=500, alpha=alpha).p0 == outlier_bound(500, alpha)


@pytest.mark.parametrize(("size", "alpha"), [(2, 0.49), (20, 0.05), (100, 0.01), (3, 0.4)])
def test_few_calibration_scores_raise_p0_over_the_watched_ratios_and_still_work(size: int, alpha: float) -> None:
    decider = make_decider(calibration_size=size, alpha=alpha, budget=100.0)

    alerts = watch(decider, [True] * 5000)

    assert alerts[0].status is RAISED


def test_too_few_calibration_scores_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"decision\.alpha: 18 calibration scores .* at least 19"):
        make_decider(calibration_size=18)


@pytest.mark.parametrize("budget", [10.0, 0.0, -1.0, float("nan")])
def test_a_budget_of_alarms_all_the_time_is_refused(budget: float) -> None:
    with pytest.raises(ConfigError, match="no budget"):
        make_decider(budget=budget)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("alpha", 0.0),
        ("alpha", 0.5),
        ("window_frames", 0),
        ("window_seconds", 0),
        ("update_seconds", 0),
        ("cool_down_seconds", -1),
        ("treshold", 3),
    ],
)
def test_senseless_settings_are_refused(field: str, value: float) -> None:
    with pytest.raises(ValidationError, match=field):
        DecisionSettings.model_validate({field: value})
