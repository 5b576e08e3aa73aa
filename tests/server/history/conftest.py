from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy.engine import URL

from driftprint_server.audit import Audit
from driftprint_server.history.database import Database
from driftprint_server.history.decisions import AlertDecisions
from driftprint_server.history.history import History
from driftprint_server.history.queries import Queries
from driftprint_server.history.settings import HistorySettings
from driftprint_server.operators import OperatorStore
from tests.server.clocks import FakeClock
from tests.server.history.postgres import Postgres, find_postgres
from tests.server.history.site import Site


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[Postgres]:
    """A PostgreSQL for all tests, each of which has a database of its own."""
    server = Postgres(find_postgres())
    server.start()
    yield server
    server.remove()


@pytest.fixture
def sqlite_url(tmp_path: Path) -> URL:
    """An SQLite file that is not there yet."""
    return URL.create("sqlite", database=str(tmp_path / "state" / "history.db"))


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest) -> URL:
    """An empty database of either kind."""
    if request.param == "sqlite":
        found = request.getfixturevalue("sqlite_url")
        assert isinstance(found, URL)
        return found
    server = request.getfixturevalue("postgres_server")
    assert isinstance(server, Postgres)
    return server.new_database()


@pytest.fixture
def database(url: URL) -> Iterator[Database]:
    """A database of either kind."""
    database = Database(url)
    yield database
    database.close()


@pytest.fixture
def clock() -> FakeClock:
    """The server's clock."""
    return FakeClock()


@pytest.fixture
def store(tmp_path: Path) -> Iterator[OperatorStore]:
    """What operators decide."""
    store = OperatorStore(tmp_path / "operators.db")
    yield store
    store.close()


@pytest.fixture
def audit(store: OperatorStore, clock: FakeClock) -> Audit:
    """Who did what."""
    return Audit(store, clock)


@pytest.fixture
def decisions(store: OperatorStore, audit: Audit, clock: FakeClock) -> AlertDecisions:
    """Acknowledgements and mutes."""
    return AlertDecisions(store, audit, clock)


@pytest.fixture
def history(database: Database) -> History:
    """A history that keeps everything."""
    return History(database, HistorySettings(thumbnails=True))


@pytest.fixture
def queries(database: Database, decisions: AlertDecisions) -> Queries:
    """What is asked of it."""
    return Queries(database, decisions, current=lambda _alert: False)


@pytest.fixture
def site(database: Database, history: History, decisions: AlertDecisions, audit: Audit, clock: FakeClock) -> Site:
    """The history over HTTP."""
    return Site(database, history, decisions, audit, clock)
