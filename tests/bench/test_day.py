"""Each fault of a camera, through a real bundle and the agent's stream, is named as what it is and never as drift."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from bench.day.model import make_bundle
from bench.day.replay import Episode, calibrate, plan, replay
from bench.day.report import report
from driftprint.messages import CAMERA_FAULTS, AlertMessage, Cause

SECONDS, EACH = 3600, 90


@pytest.fixture(scope="module")
def episodes() -> list[Episode]:
    return plan(SECONDS, EACH, 1, np.random.default_rng(0))


@pytest.fixture(scope="module")
def alerts(episodes: list[Episode]) -> list[AlertMessage]:
    bundle = make_bundle(seed=1)
    return replay(bundle, calibrate(bundle, seed=3, each=40), episodes, SECONDS, seed=2)


def test_every_fault_and_the_drift_are_planned_apart(episodes: list[Episode]) -> None:
    assert {one.cause for one in episodes} == {*CAMERA_FAULTS, Cause.DRIFT}
    assert all(before.end + EACH < after.start for before, after in itertools.pairwise(episodes))


def test_faults_are_named_and_cleared_and_drift_alone_is_drift(
    episodes: list[Episode], alerts: list[AlertMessage]
) -> None:
    day = report(episodes, alerts, SECONDS)
    assert day.at_other_times == []
    for row in day.rows:
        assert (row.cause, row.named, row.otherwise) == (row.cause, 1, [])
        assert (row.cleared_after is None) == (row.cause is Cause.DRIFT)


def test_what_is_called_otherwise_is_counted(episodes: list[Episode], alerts: list[AlertMessage]) -> None:
    nothing = [Episode(Cause.DRIFT, one.start, one.seconds) for one in episodes[:-1]]
    day = report(nothing, alerts, SECONDS)
    [row] = day.rows
    assert (row.cause, row.named, sorted(row.otherwise)) == (Cause.DRIFT, 0, sorted(CAMERA_FAULTS))
    assert day.at_other_times == [Cause.DRIFT]
