from collections.abc import MutableMapping
from typing import Any

import pytest
from structlog.testing import capture_logs

from driftprint_server.counts import Counts, Reason
from driftprint_server.rejections import QUIET_SECONDS, Rejections
from tests.server.clocks import FakeClock

Lines = list[MutableMapping[str, Any]]


class Bench:
    """What rejects, and the devices that its log names."""

    def __init__(self, most_lines: int = 1000) -> None:
        self.clock = FakeClock()
        self.counts = Counts()
        self.rejections = Rejections(self.counts, self.clock, most_lines=most_lines)

    def reject(self, device: str, reason: Reason = Reason.INVALID, *, times: int = 1) -> Lines:
        with capture_logs() as lines:
            for _ in range(times):
                self.rejections.reject(reason, f"driftprint/v1/north/{device}/belt/window", "junk")
        return lines


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_a_line_says_why_and_names_the_topic(bench: Bench) -> None:
    assert bench.reject("pi-1") == [
        {
            "log_level": "warning",
            "event": "message rejected",
            "reason": "invalid",
            "topic": "driftprint/v1/north/pi-1/belt/window",
            "what": "junk",
            "messages": 1,
            "total": 1,
        }
    ]


def test_each_device_and_reason_has_its_own_line(bench: Bench) -> None:
    assert len(bench.reject("pi-1", times=5000)) == 1
    (second,) = bench.reject("pi-2", times=5000)
    assert "pi-2" in second["topic"]
    (other,) = bench.reject("pi-1", Reason.RATE, times=5000)
    assert other["reason"] == "rate"
    assert bench.counts.rejected[Reason.INVALID] == 10_000


def test_a_minute_later_there_is_another_which_says_how_many_there_have_been_since(bench: Bench) -> None:
    bench.reject("pi-1", times=500)
    bench.clock.wall += QUIET_SECONDS - 1
    assert bench.reject("pi-1") == []
    bench.clock.wall += 1
    (line,) = bench.reject("pi-1", times=10)
    assert (line["messages"], line["total"]) == (501, 502)
    bench.clock.wall += QUIET_SECONDS
    (line,) = bench.reject("pi-1")
    assert (line["messages"], line["total"]) == (10, 512)


def test_made_up_devices_fill_neither_the_memory_nor_the_log() -> None:
    bench = Bench(most_lines=10)
    lines = [line for number in range(1000) for line in bench.reject(f"made-up-{number}")]
    assert len(bench.rejections) == 10
    assert len(lines) == 10 + 1  # which the others share
    bench.clock.wall += QUIET_SECONDS
    (line,) = bench.reject("honest")
    assert "honest" in line["topic"]
    assert len(bench.rejections) == 10


def test_who_is_rejected_all_the_time_is_remembered_among_many() -> None:
    bench = Bench(most_lines=10)
    for minute in range(5):
        (line,) = bench.reject("pi-1", times=3)
        assert line["messages"] == (1 if minute == 0 else 3)
        for number in range(9):
            assert len(bench.reject(f"passing-{minute}-{number}")) == 1
        bench.clock.wall += QUIET_SECONDS


@pytest.mark.parametrize("topic", ["", "hello", "/", "driftprint/v1", "driftprint/v1/", "\ufeff/" * 10_000])
def test_a_topic_need_not_be_one_of_ours(bench: Bench, topic: str) -> None:
    with capture_logs() as lines:
        bench.rejections.reject(Reason.TOPIC, topic, "odd")
    assert [line["topic"] for line in lines] == [topic[:300]]
