"""Fixtures shared by all parts' tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from tests.brokers import Mosquitto, find_mosquitto


@pytest.fixture
def start_mosquitto(tmp_path: Path) -> Iterator[Callable[..., Mosquitto]]:
    """Makes running mosquittos with settings of their own, and ends them after the test."""
    brokers: list[Mosquitto] = []

    def start(*, persistence: bool = True, settings: Sequence[str] = ()) -> Mosquitto:
        folder = tmp_path / f"mosquitto-{len(brokers)}"
        broker = Mosquitto(find_mosquitto(), folder, persistence=persistence, settings=settings)
        brokers.append(broker)
        broker.start()
        return broker

    yield start
    for broker in brokers:
        broker.kill()


@pytest.fixture
def mosquitto(start_mosquitto: Callable[..., Mosquitto]) -> Mosquitto:
    """A running mosquitto that keeps sessions and messages over its own restart."""
    return start_mosquitto()
