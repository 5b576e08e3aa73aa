"""Killed at any moment with a fleet talking to it, the server loses nothing that it has acknowledged."""

from __future__ import annotations

from random import Random

from bench.faults.server_kills import kill_servers, table
from tests.brokers import find_mosquitto


def test_a_killed_server_loses_nothing() -> None:
    find_mosquitto()
    outcome = kill_servers(3, 20, Random(1), iter)
    assert outcome.alerts > 0
    assert (outcome.failed_starts, outcome.lost, outcome.unanswered) == (0, 0, 0)
    assert (outcome.different_alerts, outcome.different_totals) == (0, 0)
    assert f"| 3 | **0** | 20 | {outcome.messages} |" in table(outcome)
