"""Killed at any moment, the agent starts again by itself and loses no alert; nor does a killed broker lose one."""

from __future__ import annotations

from random import Random

from bench.faults.kills import Outcome, kill_agents, kill_brokers, table
from tests.brokers import find_mosquitto


def assert_nothing_lost(outcome: Outcome) -> None:
    assert outcome.alerts > 0
    assert (outcome.failed_starts, outcome.lost, outcome.different, outcome.totals_equal) == (0, 0, 0, True)


def test_a_killed_agent_loses_nothing() -> None:
    find_mosquitto()
    outcome = kill_agents(6, Random(1), iter)
    assert_nothing_lost(outcome)
    assert "| SIGKILL of the agent | 6 | **0** |" in table([outcome])


def test_a_killed_broker_loses_nothing() -> None:
    find_mosquitto()
    assert_nothing_lost(kill_brokers(3, Random(2), iter))
