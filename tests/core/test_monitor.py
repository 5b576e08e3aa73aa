from pathlib import Path

import numpy as np
import pytest

from driftprint import FrameError, Monitor
from driftprint.clock import Instant
from driftprint.decision import DecisionSettings
from driftprint.errors import ConfigError, GoldenMismatchError
from driftprint.messages import AlertStatus
from tests.bundles import inlier_frames, make_bundle, make_frame, outlier_frames


class TestClock:
    """A clock that says one second later whenever it is asked."""

    __test__ = False

    def __init__(self) -> None:
        self.seconds = 0.0

    def now(self) -> Instant:
        self.seconds += 1.0
        return Instant(self.seconds, 1e9 + self.seconds)


def test_three_lines_are_enough(intact_toy: Path) -> None:
    monitor = Monitor(intact_toy)
    reading = monitor(make_frame(0.9))

    assert reading.outlier
    assert reading.p_value == pytest.approx(1 / 1001)
    assert reading.predicted == "bright"
    assert reading.outputs["logits"].shape == (1, 4)
    assert reading.layers == pytest.approx([0.9, 0.9], abs=0.01)
    assert not reading.alarm
    assert reading.alert is None


def test_a_reference_bundle_is_found_by_name() -> None:
    assert Monitor("digits")(np.zeros((28, 28), np.uint8)).predicted in set("0123456789")


def test_frames_like_the_calibration_set_give_no_alarm(intact_toy: Path) -> None:
    monitor = Monitor(intact_toy)

    readings = [monitor(frame) for frame in inlier_frames(1000)]

    assert not any(reading.alarm or reading.alert for reading in readings)
    assert np.mean([reading.outlier for reading in readings]) == pytest.approx(0.05, abs=0.02)
    assert np.mean([reading.p_value for reading in readings]) == pytest.approx(0.5, abs=0.04)


def test_frames_unlike_it_raise_an_alarm_until_they_end(intact_toy: Path) -> None:
    monitor = Monitor(intact_toy, clock=TestClock(), decision=DecisionSettings(window_frames=10, update_seconds=1000.0))
    frames = [*inlier_frames(100), *outlier_frames(30), *inlier_frames(200, seed=1)]

    readings = [monitor(frame) for frame in frames]

    raised, cleared = (i for i, reading in enumerate(readings) if reading.alert)
    assert 100 < raised < 110
    assert cleared > 130
    assert [reading.alarm for reading in readings] == [raised <= i < cleared for i in range(len(readings))]
    first, last = readings[raised].alert, readings[cleared].alert
    assert first is not None
    assert last is not None
    assert (first.status, last.status) == (AlertStatus.RAISED, AlertStatus.CLEARED)
    assert first.alert_id == last.alert_id
    assert readings[raised].evidence >= 1.0 > readings[raised - 1].evidence
    assert readings[120].outlier_ratio == 1.0


def test_a_frame_that_is_at_fault_counts_for_nothing(intact_toy: Path) -> None:
    monitor = Monitor(intact_toy)
    monitor(make_frame(0.3))

    for _ in range(50):
        with pytest.raises(FrameError):
            monitor(np.zeros((8, 8), np.float64))

    reading = monitor(make_frame(0.3))
    assert monitor.decider.frames_total == 2
    assert (reading.outlier_ratio, reading.alarm) == (0.0, False)


def test_the_budget_is_the_callers(intact_toy: Path) -> None:
    def frames_to_alarm(budget: float) -> int:
        monitor = Monitor(intact_toy, frames_per_false_alarm=budget)
        return next(i for i, frame in enumerate(outlier_frames(50), 1) if monitor(frame).alarm)

    assert frames_to_alarm(20) < frames_to_alarm(1e5) < frames_to_alarm(1e12)


def test_a_bundle_that_scores_otherwise_here_is_refused(tmp_path: Path) -> None:
    with pytest.raises(GoldenMismatchError):
        Monitor(make_bundle(tmp_path / "b", golden_shift=0.01))


def test_a_calibration_set_too_small_for_alpha_is_refused(tmp_path: Path) -> None:
    path = make_bundle(tmp_path / "b", calibration=[0.2, 0.3, 0.4])

    with pytest.raises(ConfigError, match="3 calibration scores"):
        Monitor(path)
