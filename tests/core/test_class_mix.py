"""The mix of predicted classes: what is learnt of it, and when a change is noticed."""

from __future__ import annotations

import itertools
from collections.abc import Iterable

import numpy as np
import pytest

from driftprint.clock import Instant
from driftprint.decision import DecisionSettings
from driftprint.messages import AlertStatus, WindowKind
from driftprint.mix_decider import MixAlert, MixDecider
from driftprint.stats.class_mix import MOST_CLASSES, OTHERS, ClassMix, MixDetector, learn_mix
from driftprint.stats.windows import SlidingWindow

NORMAL = {"nut": 0.5, "bolt": 0.3, "washer": 0.18, "screw": 0.02}


def drawn(shares: dict[str, float], count: int, seed: int) -> list[str]:
    names = np.random.default_rng(seed).choice(list(shares), count, p=list(shares.values()))
    return [str(name) for name in names]


def learnt(shares: dict[str, float] = NORMAL, count: int = 2000, seed: int = 0) -> ClassMix:
    mix = learn_mix(drawn(shares, count, seed), fewest=100, most_correlation=0.1)
    assert mix is not None
    return mix


def run_length(detector: MixDetector, predicted: Iterable[str], longest: int) -> int:
    for count, name in enumerate(itertools.islice(predicted, longest), 1):
        detector.update(name)
        if detector.declared:
            return count
    return longest


def test_shares_are_those_of_the_footage() -> None:
    mix = learnt()
    assert mix.stride == 1
    assert mix.total == 2000
    assert {name: round(mix.share(name), 1) for name in ("nut", "bolt", "washer")} == {
        "nut": 0.5,
        "bolt": 0.3,
        "washer": 0.2,
    }


def test_runs_of_one_class_are_counted_once() -> None:
    predicted = [name for name in drawn(NORMAL, 4000, seed=1) for _ in range(5)]
    mix = learn_mix(predicted, fewest=100, most_correlation=0.1)
    assert mix is not None
    assert mix.stride == 8
    assert mix.total == 2500


def test_footage_that_is_too_short_teaches_no_mix() -> None:
    assert learn_mix(["nut"] * 99, fewest=100, most_correlation=0.1) is None
    day_and_night = ["nut"] * 5000 + ["bolt"] * 5000
    assert learn_mix(day_and_night, fewest=100, most_correlation=0.1) is None


def test_many_classes_are_watched_as_one() -> None:
    mix = ClassMix(counts={f"class {i}": 10 * (i + 1) for i in range(40)}, stride=1)
    assert len(mix.pooled()) == MOST_CLASSES + 1
    assert sum(mix.pooled().values()) == mix.total
    assert mix.share(OTHERS) == pytest.approx(sum(10 * (i + 1) for i in range(28)) / mix.total)


@pytest.mark.parametrize(
    ("shares", "changed"),
    [
        ({"nut": 0.9, "bolt": 0.1}, "nut"),
        ({"nut": 0.5, "washer": 0.5}, "washer"),
        ({"nut": 0.5, "bolt": 0.3, "gear": 0.2}, OTHERS),
        ({"bolt": 1.0}, "bolt"),
    ],
)
def test_a_changed_mix_is_noticed_by_the_class_that_changed(shares: dict[str, float], changed: str) -> None:
    detector = MixDetector(learnt(), threshold=100_000)
    assert run_length(detector, drawn(shares, 1000, seed=2), 1000) < 200
    assert detector.most_changed == changed


def test_a_class_that_stays_away_is_noticed() -> None:
    detector = MixDetector(learnt({"nut": 0.8, "bolt": 0.2}), threshold=10_000)
    assert run_length(detector, itertools.repeat("nut"), 1000) < 150


def test_false_alarms_keep_to_the_budget() -> None:
    lengths = [
        run_length(MixDetector(learnt(seed=run), threshold=500), drawn(NORMAL, 5000, seed=1000 + run), 5000)
        for run in range(40)
    ]
    assert np.mean(lengths) >= 500


def test_one_class_alone_can_be_watched() -> None:
    detector = MixDetector(learnt({"nut": 1.0}), threshold=1000)
    assert run_length(detector, itertools.repeat("nut"), 3000) == 3000
    assert run_length(detector, itertools.repeat("bolt"), 100) < 10


def test_evidence_outlasts_a_restart() -> None:
    before, after = MixDetector(learnt(), threshold=1000), MixDetector(learnt(), threshold=1000)
    for name in drawn({"nut": 0.2, "bolt": 0.8}, 20, seed=3):
        before.update(name)
    after.load(before.save())
    assert after.log_evidence == pytest.approx(before.log_evidence)
    assert after.most_changed == before.most_changed


class Line:
    """A stream's predictions, a second apart, and what is said of them."""

    def __init__(self) -> None:
        self.window = SlidingWindow(WindowKind.COUNT, 100)
        self.decider = self.make()
        self.frames = 0
        self.said: list[MixAlert] = []

    def make(self) -> MixDecider:
        ids = itertools.count()
        return MixDecider(
            learnt(),
            DecisionSettings(update_seconds=50, cool_down_seconds=0),
            frames_per_false_alarm=100_000,
            window=self.window,
            new_id=lambda: str(next(ids)),
        )

    @property
    def now(self) -> Instant:
        return Instant(self.frames, 1_000_000 + self.frames)

    def see(self, shares: dict[str, float], count: int) -> list[AlertStatus]:
        before = len(self.said)
        for name in drawn(shares, count, seed=self.frames):
            self.frames += 1
            self.window.add(at=self.frames, score=0, outlier=False, predicted=name)
            alert = self.decider.update(name, self.frames, self.now)
            self.said += [alert] if alert is not None else []
        return [alert.status for alert in self.said[before:]]

    def restart(self) -> None:
        state = self.decider.save(self.now)
        self.decider = self.make()
        self.decider.load(type(state).model_validate_json(state.model_dump_json()), self.now)


OTHER_MIX = {"nut": 0.1, "bolt": 0.9}


def test_an_alert_lasts_as_long_as_the_change() -> None:
    line = Line()
    assert line.see(NORMAL, 500) == []
    during = line.see(OTHER_MIX, 1000)
    assert during[0] is AlertStatus.RAISED
    assert set(during[1:]) == {AlertStatus.UPDATED}
    after = line.see(NORMAL, 600)
    assert [status for status in after if status is not AlertStatus.UPDATED] == [AlertStatus.CLEARED]
    assert len({alert.alert_id for alert in line.said}) == 1
    assert [alert.revision for alert in line.said] == list(range(len(line.said)))
    assert not line.decider.alarm


def test_the_summary_names_the_class_with_its_shares_then_and_now() -> None:
    line = Line()
    line.see(NORMAL, 200)
    line.see({"nut": 0.45, "washer": 0.55}, 300)
    assert "frames are washer" in line.said[-1].summary
    assert "18% were when the site was calibrated" in line.said[-1].summary


def test_an_alert_goes_on_after_a_restart() -> None:
    line = Line()
    line.see(OTHER_MIX, 300)
    line.restart()
    line.see(OTHER_MIX, 300)
    line.restart()
    line.see(NORMAL, 600)
    assert [alert.status for alert in line.said if alert.status is not AlertStatus.UPDATED] == [
        AlertStatus.RAISED,
        AlertStatus.CLEARED,
    ]
    assert len({alert.alert_id for alert in line.said}) == 1
