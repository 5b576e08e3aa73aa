import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import func, select
from sqlalchemy.engine import URL

from driftprint.messages import AlertStatus, ClassStats
from driftprint_server.history.database import Database
from driftprint_server.history.history import History
from driftprint_server.history.queries import Queries
from driftprint_server.history.retention import Tidied
from driftprint_server.history.settings import MEGABYTE, HistorySettings
from driftprint_server.history.tables import ALERTS, METADATA, WINDOWS
from driftprint_server.records import WindowRecord
from driftprint_server.sinks import Accepted
from tests.server.history.messages import numbered, of_classes, window
from tests.server.messages import alert

DAY = 86_400.0
NOW = 1_000 * DAY
CAP = 10 * MEGABYTE


def times(database: Database) -> list[float]:
    with database.reading() as db:
        return list(db.execute(select(WINDOWS.c.at).order_by(WINDOWS.c.at)).scalars())


def counts(database: Database) -> dict[str, int]:
    with database.reading() as db:
        return {
            table.name: db.execute(select(func.count()).select_from(table)).scalar_one()
            for table in METADATA.sorted_tables
        }


def large_window(seq: int, device: str) -> WindowRecord:
    classes = {f"a class with a long name {i}": ClassStats(frames=i, outlier_ratio=0.1234) for i in range(20)}
    return window(seq, device=device, windows=of_classes(classes))


def batches(number: int, *, devices: int = 50) -> Iterator[list[Accepted]]:
    """Batches of 500, a second apart from one window to the next."""
    template = large_window(0, "pi")
    for batch in range(number):
        at = range(500 * batch, 500 * (batch + 1))
        yield [Accepted(numbered(template, i, device=f"pi-{i % devices}"), NOW + float(i)) for i in at]


def file_size(url: URL) -> int:
    return Path(str(url.database)).stat().st_size


def test_windows_older_than_they_may_be_are_removed(database: Database) -> None:
    history = History(database, HistorySettings(keep_days=2))
    # Sent late: what counts is when they were recorded.
    ages = [0.0, 1.9, 2.1, 5.0, 1.0, 3.0]
    history.write([Accepted(window(i), NOW - age * DAY) for i, age in enumerate(ages)])
    assert history.tidy(NOW) == Tidied(windows=3, alerts=0)
    assert times(database) == [NOW - 1.9 * DAY, NOW - DAY, NOW]
    assert history.tidy(NOW) == Tidied(windows=0, alerts=0)


def test_thousands_are_removed_as_well(database: Database) -> None:
    history = History(database, HistorySettings(keep_days=1))
    for start in range(0, 2500, 500):
        history.write([Accepted(window(i), NOW - 2 * DAY) for i in range(start, start + 500)])
    history.write([Accepted(window(9999), NOW)])
    assert history.tidy(NOW).windows == 2500
    assert times(database) == [NOW]


def test_alerts_outlast_windows_and_go_with_all_that_belongs_to_them(database: Database, queries: Queries) -> None:
    history = History(database, HistorySettings(keep_days=1, keep_alerts_days=10))
    history.write([Accepted(alert(1, number=1), NOW - 11 * DAY), Accepted(alert(2, number=2), NOW - 11 * DAY)])
    history.write([Accepted(alert(3, number=2, revision=1, status=AlertStatus.CLEARED), NOW - 9 * DAY)])
    assert history.tidy(NOW) == Tidied(windows=0, alerts=1)
    assert queries.alert(f"{1:032x}") is None
    assert queries.alert(f"{2:032x}") is not None
    history.tidy(NOW + 10 * DAY)
    left = counts(database)
    assert {name for name, count in left.items() if count} == {"history_meta", "history_streams"}


def test_the_file_stays_under_its_cap_while_windows_keep_coming_and_the_oldest_go(sqlite_url: URL) -> None:
    with closing(Database(sqlite_url)) as database:
        history = History(database, HistorySettings(max_bytes=CAP))
        history.write([Accepted(alert(1), NOW)])
        for number, batch in enumerate(batches(60)):
            history.write(batch)
            if number % 10 == 0:
                history.tidy(NOW)
            assert file_size(sqlite_url) <= CAP
        kept = times(database)
        assert counts(database)["history_alerts"] == 1
    assert 5_000 < len(kept) < 25_000  # it was full, and is still in good use
    assert kept == [NOW + float(i) for i in range(30_000 - len(kept), 30_000)]


def test_windows_that_come_late_into_a_full_file_are_the_first_to_go(sqlite_url: URL) -> None:
    with closing(Database(sqlite_url)) as database:
        history = History(database, HistorySettings(max_bytes=CAP))
        for batch in batches(40):
            history.write(batch)
        late = [Accepted(large_window(i, "late"), NOW - DAY) for i in range(100)]
        history.write(late)
        for batch in batches(45):
            history.write(batch)
        assert min(times(database)) > NOW
        assert file_size(sqlite_url) <= CAP


def test_a_smaller_cap_makes_the_file_smaller(sqlite_url: URL) -> None:
    with closing(Database(sqlite_url)) as database:
        roomy = History(database, HistorySettings(max_bytes=5 * CAP))
        for batch in batches(50):
            roomy.write(batch)
        tight = History(database, HistorySettings(max_bytes=CAP))
        tight.tidy(NOW)
        assert 0.5 * CAP < file_size(sqlite_url) <= CAP
        assert times(database)[-1] == NOW + 24_999.0


def test_a_file_full_of_alerts_loses_the_oldest_of_those(sqlite_url: URL) -> None:
    with closing(Database(sqlite_url)) as database:
        history = History(database, HistorySettings(max_bytes=CAP))
        summary = "x" * 1024
        for start in range(0, 6000, 500):
            several = range(start, start + 500)
            history.write([Accepted(alert(i, number=i, summary=summary), NOW + i) for i in several])
            assert file_size(sqlite_url) <= CAP
        with database.reading() as db:
            kept = sorted(db.execute(select(ALERTS.c.updated_at)).scalars())
    assert 1_000 < len(kept) < 6_000
    assert kept == [NOW + i for i in range(6_000 - len(kept), 6_000)]


def test_writing_goes_on_while_much_is_removed(sqlite_url: URL) -> None:
    """Each waits for a chunk at most, so that the new windows are in before all the old ones are out."""
    with closing(Database(sqlite_url)) as database:
        history = History(database, HistorySettings(keep_days=1))
        for batch in batches(40):
            history.write(batch)
        tidied: list[Tidied] = []
        thread = threading.Thread(target=lambda: tidied.append(history.tidy(NOW + 10 * DAY)))
        thread.start()
        written = 0
        while thread.is_alive():
            history.write([Accepted(window(written, device="new"), NOW + 10 * DAY)])
            written += 1
        assert tidied == [Tidied(windows=20_000, alerts=0)]
        assert written >= 10
        assert len(times(database)) == written


@pytest.mark.parametrize("thumbnails", [False, True])
def test_an_empty_history_can_be_tidied(database: Database, thumbnails: bool) -> None:
    assert History(database, HistorySettings(thumbnails=thumbnails)).tidy(NOW) == Tidied(windows=0, alerts=0)
