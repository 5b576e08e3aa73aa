"""Streams take turns, so that one whose frames never stop coming leaves the others theirs."""

from __future__ import annotations

from threading import Event, Thread

import pytest

from driftprint_edge.turns import Turns
from tests.brokers import wait_for


class Worker(Thread):
    """Takes a turn, and ends it when told to."""

    def __init__(self, turns: Turns, begun: list[str], name: str) -> None:
        super().__init__(name=name, daemon=True)
        self.end = Event()
        self._turns = turns
        self._begun = begun

    def run(self) -> None:
        with self._turns.turn():
            self._begun.append(self.name)
            self.end.wait(60)


@pytest.mark.parametrize("at_once", [1, 2])
def test_whoever_came_first_is_next(at_once: int) -> None:
    turns, begun = Turns(at_once), []  # type: Turns, list[str]
    workers = []
    for i in range(6):
        workers.append(Worker(turns, begun, str(i)))
        workers[-1].start()
        wait_for(lambda i=i: len(begun) + turns.waiting == i + 1, what="the thread to come")  # type: ignore[misc]
    for i, worker in enumerate(workers):
        assert begun == [str(n) for n in range(min(6, i + at_once))]
        worker.end.set()
        worker.join(60)
        wait_for(lambda i=i: len(begun) == min(6, i + 1 + at_once), what="the next turn")  # type: ignore[misc]


def test_a_stream_that_always_has_a_frame_waits_for_the_others() -> None:
    turns, begun = Turns(1), []  # type: Turns, list[str]

    def work(name: str) -> None:
        while len(begun) < 3000:
            with turns.turn():
                begun.append(name)

    threads = [Thread(target=work, args=(name,), daemon=True) for name in ("a", "b", "c")]
    with turns.turn():
        for thread in threads:
            thread.start()
        wait_for(lambda: turns.waiting == 3, what="all streams to have a frame")
    for thread in threads:
        thread.join(60)
    rounds = [set(begun[i : i + 3]) for i in range(len(begun) - 3)]
    assert sum(len(names) == 3 for names in rounds) > 0.9 * len(rounds)


def test_a_turn_ends_with_an_error_too() -> None:
    turns = Turns(1)
    with pytest.raises(ZeroDivisionError), turns.turn():
        raise ZeroDivisionError
    with turns.turn():
        pass
