"""What becomes of a batch that a sink does not take."""

from collections.abc import Sequence

import pytest

from driftprint.errors import StoreError
from driftprint.messages import DeviceMessage, DeviceStatus
from driftprint_server.records import kept
from driftprint_server.sinks import Accepted, Sinks
from tests.server.messages import alert, health, state, window

NOW = 1_700_000_000.0


class Paper:
    """A sink that writes everything down, and may fail."""

    def __init__(self) -> None:
        self.batches: list[list[Accepted]] = []
        self.failure: Exception | None = None

    def write(self, batch: Sequence[Accepted]) -> None:
        if self.failure is not None:
            raise self.failure
        self.batches.append(list(batch))


def at(seconds: float, message: DeviceMessage, *, retained: bool = False) -> Accepted:
    return Accepted(kept(message), NOW + seconds, retained)


def fail(sinks: Sinks, paper: Paper, *batches: list[Accepted]) -> None:
    """Batches that are not taken."""
    paper.failure = StoreError("away")
    for batch in batches:
        with pytest.raises(StoreError, match="away"):
            sinks.write(batch)
    paper.failure = None


def test_what_devices_say_once_is_written_later_as_it_was_and_what_they_say_again_is_not() -> None:
    paper = Paper()
    sinks = Sinks([paper])
    once = [at(1, state(DeviceStatus.OFFLINE)), at(2, health()), at(3, state(device="pi-2"), retained=True)]
    fail(sinks, paper, [*once, at(4, window()), at(5, alert())])

    later = at(60, window(2))
    sinks.write([later])
    sinks.write([later])

    first, second = paper.batches
    assert sorted(first, key=lambda accepted: accepted.at) == [*once, later]
    assert first[-1] == later
    assert second == [later]


def test_it_is_written_even_where_nobody_says_anything_more() -> None:
    paper = Paper()
    sinks = Sinks([paper])
    fail(sinks, paper, [at(1, state(DeviceStatus.OFFLINE))], [], [])

    sinks.write([])
    sinks.write([])

    assert paper.batches == [[at(1, state(DeviceStatus.OFFLINE))]]


def test_of_each_device_the_latest_is_kept() -> None:
    paper = Paper()
    sinks = Sinks([paper])
    fail(
        sinks,
        paper,
        [at(1, state()), at(2, health(uptime_seconds=1.0))],
        [at(3, state(DeviceStatus.OFFLINE)), at(4, health(uptime_seconds=2.0)), at(5, health(device="pi-2"))],
    )

    sinks.write([])

    assert paper.batches == [
        [at(3, state(DeviceStatus.OFFLINE)), at(4, health(uptime_seconds=2.0)), at(5, health(device="pi-2"))]
    ]


def test_of_too_many_devices_those_that_came_last_are_kept_and_health_pushes_out_no_goodbye() -> None:
    paper = Paper()
    sinks = Sinks([paper], most_devices=2)
    goodbyes = [
        at(second, state(DeviceStatus.OFFLINE, device=device)) for second, device in enumerate(("a", "b", "a", "c"))
    ]
    healths = [at(10 + number, health(device=f"pi-{number}")) for number in range(5)]
    fail(sinks, paper, [*goodbyes, *healths])

    sinks.write([])

    assert paper.batches == [goodbyes[2:] + healths[3:]]


def test_a_batch_that_a_sink_fails_of_in_a_way_nobody_foresaw_does_not_come_again() -> None:
    paper = Paper()
    sinks = Sinks([paper])
    paper.failure = ZeroDivisionError()
    with pytest.raises(ZeroDivisionError):
        sinks.write([at(1, state())])
    paper.failure = None

    sinks.write([at(2, health())])

    assert paper.batches == [[at(2, health())]]


def test_every_sink_is_given_it_again_where_one_did_not_take_it() -> None:
    first, second = Paper(), Paper()
    sinks = Sinks([first, second])
    fail(sinks, second, [at(1, state())])

    sinks.write([])

    assert first.batches == [[at(1, state())]] * 2
    assert second.batches == [[at(1, state())]]
