import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from msgspec.structs import replace
from sqlalchemy import func, select
from sqlalchemy.engine import URL

from driftprint.messages import AlertStatus, ClassStats, Thumbnail
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


def usage(database: Database) -> list[tuple[int, int, int]]:
    """By stream: the bytes of its windows and of its alerts."""
    with database.reading() as db:
        rows = db.exec_driver_sql("SELECT stream_id, window_bytes, alert_bytes FROM history_usage ORDER BY 1")
        return [tuple(row) for row in rows]


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


def test_a_device_that_sends_large_alerts_costs_no_other_its_windows(sqlite_url: URL) -> None:
    with closing(Database(sqlite_url)) as database:
        history = History(database, HistorySettings(max_bytes=CAP))
        for batch in batches(10, devices=20):
            history.write(batch)
        details = {f"{i} {'x' * 120}": 0.5 for i in range(64)}
        for start in range(0, 1500, 500):  # of which one takes more than the whole file
            several = range(start, start + 500)
            history.write(
                [
                    Accepted(alert(i, number=i, device="loud", layers=details, classes=details), NOW + DAY + i)
                    for i in several
                ]
            )
            assert file_size(sqlite_url) <= CAP
        left = counts(database)
    assert left["history_windows"] == 5_000
    assert 100 < left["history_alerts"] < 1_000


def test_a_device_that_sends_more_windows_than_others_is_the_one_that_loses_its_oldest(sqlite_url: URL) -> None:
    with closing(Database(sqlite_url)) as database:
        history = History(database, HistorySettings(max_bytes=CAP))
        for batch in batches(10, devices=20):
            history.write(batch)
        for start in range(0, 20_000, 500):
            history.write([Accepted(large_window(i, "loud"), NOW + DAY + i) for i in range(start, start + 500)])
        kept = times(database)
    assert kept[:5_000] == [NOW + i for i in range(5_000)]
    loud = [at - NOW - DAY for at in kept[5_000:]]
    assert loud == [float(i) for i in range(20_000 - len(loud), 20_000)]


def test_the_streams_of_a_device_count_together(sqlite_url: URL) -> None:
    with closing(Database(sqlite_url)) as database:
        history = History(database, HistorySettings(max_bytes=CAP))
        for batch in batches(5, devices=2):
            history.write(batch)
        loud = large_window(1, "loud")
        for start in range(0, 20_000, 500):
            several = range(start, start + 500)
            history.write([Accepted(replace(loud, seq=i, stream=f"s{i % 50}"), NOW + DAY + i) for i in several])
        kept = times(database)
    assert kept[:2_500] == [NOW + i for i in range(2_500)]


def test_what_is_whose_is_what_is_there(sqlite_url: URL) -> None:
    """Kept up by the database itself, it is what counting all of it anew gives, in a file of before as well."""
    with closing(Database(sqlite_url)) as database:
        history = History(database, HistorySettings(keep_days=1, keep_alerts_days=1, thumbnails=True))
        small = Thumbnail(frame="7.png", recorded_at=NOW, p_value=0.01, jpeg=b"\xff\xd8\xff" + b"x" * 500)
        for at in (NOW - 2 * DAY, NOW):
            for _ in range(2):  # what comes again takes no more
                history.write(
                    [
                        *[Accepted(large_window(int(at) + i, f"pi-{i % 3}"), at) for i in range(20)],
                        *[
                            Accepted(alert(i, number=int(at) + i, revision=i % 2, layers={"a": i / 9}), at)
                            for i in range(9)
                        ],
                        Accepted(alert(9, number=int(at), revision=7, summary="x", thumbnails=(small,)), at),
                    ]
                )
        history.tidy(NOW)
        counted = usage(database)
        with database.writing() as db:
            names = db.exec_driver_sql("SELECT name FROM sqlite_master WHERE type = 'trigger'").scalars().all()
            for name in names:
                db.exec_driver_sql(f"DROP TRIGGER {name}")
            db.exec_driver_sql("DROP TABLE history_usage")
    with closing(Database(sqlite_url)) as again:
        assert usage(again) == counted
    assert [windows > 0 for _, windows, _ in counted] == [True] * 3
    assert [alerts > 500 for *_, alerts in counted] == [False, True, False]  # those of pi-1


def test_nothing_is_too_old_by_a_clock_that_is_not_settled(database: Database) -> None:
    history = History(database, HistorySettings(keep_days=2))
    history.write([Accepted(window(1), NOW - 3 * DAY)])
    assert history.tidy(NOW, settled=False) == Tidied(windows=0, alerts=0)
    assert history.tidy(NOW) == Tidied(windows=1, alerts=0)


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
