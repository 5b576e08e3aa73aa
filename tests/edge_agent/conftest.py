from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from driftprint_edge.store import Store
from tests.edge_agent.stores import open_store
from tests.server.clocks import FakeClock


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def make_store(tmp_path: Path, clock: FakeClock) -> Iterator[Callable[..., Store]]:
    """Opens the test's one store file, anew after a close."""
    stores: list[Store] = []

    def make(max_messages: int = 1000) -> Store:
        stores.append(open_store(tmp_path / "agent.db", clock, max_messages=max_messages))
        return stores[-1]

    yield make
    for store in stores:
        store.close()


@pytest.fixture
def store(make_store: Callable[..., Store]) -> Store:
    return make_store()
