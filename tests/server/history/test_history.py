import random
import threading
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import Table, func, select
from sqlalchemy.engine import URL

from driftprint.errors import StoreError
from driftprint.messages import AlertMessage, AlertStatus, BundleRef, ClassStats, Thumbnail
from driftprint_server.history.database import Database
from driftprint_server.history.history import History
from driftprint_server.history.queries import Filters, Queries
from driftprint_server.history.settings import HistorySettings
from driftprint_server.history.tables import ALERTS, METADATA, REVISIONS, STREAMS, THUMBNAILS, WINDOWS
from driftprint_server.records import FleetMessage, of_health
from driftprint_server.sinks import Accepted
from tests.server.history.messages import of_classes, window
from tests.server.messages import NEW, alert, health, state

from .postgres import Postgres, find_postgres

NOW = 1_000_000.0
JPEG = b"\xff\xd8\xff\xe0 a picture"


def at(moment: float, *messages: FleetMessage) -> list[Accepted]:
    return [Accepted(message, moment) for message in messages]


def rows(database: Database, table: Table) -> list[tuple[object, ...]]:
    with database.reading() as db:
        return sorted((tuple(row) for row in db.execute(select(table))), key=repr)


def all_rows(database: Database) -> dict[str, list[tuple[object, ...]]]:
    return {table.name: rows(database, table) for table in METADATA.sorted_tables}


def thumbnail(jpeg: bytes = JPEG) -> Thumbnail:
    return Thumbnail(frame="f", recorded_at=1.0, p_value=0.001, jpeg=jpeg)


def revisions(number: int = 1, **fields: object) -> tuple[AlertMessage, AlertMessage, AlertMessage]:
    """An alert from raise to clear, 10 seconds a revision, as a device with a wrong clock tells of it."""
    return (
        alert(1, number=number, revision=0, recorded_at=50.0, raised_at=50.0, **fields),
        alert(2, number=number, revision=1, recorded_at=60.0, raised_at=50.0, status=AlertStatus.UPDATED, **fields),
        alert(
            3,
            number=number,
            revision=2,
            recorded_at=70.0,
            raised_at=50.0,
            cleared_at=70.0,
            status=AlertStatus.CLEARED,
            **fields,
        ),
    )


def life(number: int = 1, **fields: object) -> list[Accepted]:
    """Its revisions, taken in."""
    return [Accepted(message, NOW + 10 * i) for i, message in enumerate(revisions(number, **fields))]


def test_a_message_that_comes_again_with_another_date_changes_nothing(database: Database, history: History) -> None:
    batch = [*at(NOW, window(1), window(2)), *life(thumbnails=(thumbnail(),))]
    history.write(batch)
    before = all_rows(database)
    history.write([Accepted(one.message, one.at - 5) for one in batch])
    history.write([Accepted(one.message, one.at + 5) for one in batch])
    assert all_rows(database) == before


def test_batches_in_any_order_with_duplicates_leave_the_same_history(database: Database, history: History) -> None:
    messages = [*at(NOW, *(window(i, device=f"pi-{i % 3}") for i in range(30))), *life(1), *life(2, stream="chute")]
    random.Random(1).shuffle(messages)
    for start in range(0, len(messages), 7):
        history.write(messages[start : start + 7])
        history.write(messages[start : start + 3])
    assert len(rows(database, WINDOWS)) == 30
    assert len(rows(database, REVISIONS)) == 6
    with database.reading() as db:
        found = db.execute(select(ALERTS.c.revision, ALERTS.c.status, ALERTS.c.raised_at, ALERTS.c.cleared_at)).all()
    assert [tuple(row) for row in found] == [(2, "cleared", NOW, NOW + 20)] * 2


def test_an_alert_keeps_one_id_from_raise_to_clear_and_all_its_revisions(history: History, queries: Queries) -> None:
    history.write(life())
    story = queries.alert(f"{1:032x}")
    assert story is not None
    assert (story.status, story.revision, story.cause) == ("cleared", 2, "drift")
    assert [(one.revision, one.status, one.at) for one in story.revisions] == [
        (0, "raised", NOW),
        (1, "updated", NOW + 10),
        (2, "cleared", NOW + 20),
    ]


def test_of_a_devices_clock_only_differences_are_used(history: History, queries: Queries) -> None:
    history.write(
        at(
            NOW,
            alert(
                9,
                revision=3,
                status=AlertStatus.CLEARED,
                recorded_at=5_000.0,
                raised_at=4_900.0,
                suspected_at=4_890.0,
                cleared_at=4_999.0,
            ),
        )
    )
    story = queries.alert(f"{1:032x}")
    assert story is not None
    assert (story.raised_at, story.suspected_at, story.cleared_at) == (NOW - 100, NOW - 110, NOW - 1)


def test_a_clock_that_was_set_while_an_alert_was_up_does_not_move_its_start(history: History, queries: Queries) -> None:
    first, second, _ = revisions()
    history.write(at(NOW + 10, second.model_copy(update={"recorded_at": 1.7e9})))
    history.write(at(NOW, first))
    story = queries.alert(f"{1:032x}")
    assert story is not None
    assert story.raised_at == NOW


def test_an_id_that_another_device_copies_stays_with_the_one_that_used_it_first(
    history: History, queries: Queries, database: Database
) -> None:
    history.write(life(thumbnails=(thumbnail(),)))
    before = queries.alert(f"{1:032x}")
    forged = alert(1, device="evil", revision=99, summary="forged", thumbnails=(thumbnail(JPEG + b"forged"),))
    history.write(at(NOW + 50, forged))
    assert queries.alert(f"{1:032x}") == before
    assert len(rows(database, REVISIONS)) == 3
    assert JPEG + b"forged" not in {row[3] for row in rows(database, THUMBNAILS)}


def test_a_new_instance_may_count_from_the_start_again(database: Database, history: History) -> None:
    history.write(at(NOW, window(1)))
    history.write(at(NOW + 1, window(1, instance=NEW)))
    assert len(rows(database, WINDOWS)) == 2
    assert len(rows(database, STREAMS)) == 1


def test_state_and_health_are_no_history(database: Database, history: History) -> None:
    history.write([Accepted(state(), NOW), Accepted(of_health(health()), NOW)])
    assert rows(database, STREAMS) == []


def test_thumbnails_are_those_of_the_latest_revision_that_has_some(history: History, queries: Queries) -> None:
    frames = [JPEG + bytes([i]) for i in range(4)]
    history.write(at(NOW, alert(2, revision=1, thumbnails=(thumbnail(frames[2]),))))
    history.write(at(NOW, alert(1, revision=0, thumbnails=(thumbnail(frames[0]), thumbnail(frames[1])))))
    history.write(at(NOW, alert(3, revision=2)))
    story = queries.alert(f"{1:032x}")
    assert story is not None
    assert story.thumbnails == 1
    assert queries.thumbnail(story.alert_id, 0) == frames[2]
    assert queries.thumbnail(story.alert_id, 1) is None


def test_thumbnails_are_left_out_unless_they_are_allowed_and_jpeg_files(database: Database, history: History) -> None:
    History(database, HistorySettings()).write(at(NOW, alert(1, thumbnails=(thumbnail(),))))
    history.write(at(NOW, alert(2, number=2, thumbnails=(thumbnail(b"<script>"),))))
    assert rows(database, THUMBNAILS) == []


def test_classes_are_those_with_the_most_frames(database: Database, queries: Queries) -> None:
    classes = {f"class-{i}": ClassStats(frames=i, outlier_ratio=i / 100) for i in range(50)}
    history = History(database, HistorySettings(max_classes=2))
    history.write(at(NOW, window(1, windows=of_classes(classes))))
    series = queries.series(site="north", device="pi-1", stream="belt", start=NOW, end=NOW + 1, points=2)
    assert series.points[0].classes == {"class-49": 0.49, "class-48": 0.48}


def test_text_that_a_database_has_no_place_for_is_taken_all_the_same(history: History, queries: Queries) -> None:
    odd = "nul \0 quote ' \U0001f600"
    bundle = BundleRef(name=odd, version=2**63 - 1)
    message = alert(1, summary=odd, bundle=bundle, classes={odd: 1.0}, frames_total=2**63 - 1)
    history.write(at(NOW, message, window(2, bundle=BundleRef(name=odd, version=1), frames_total=2**63 - 1)))
    story = queries.alert(f"{1:032x}")
    assert story is not None
    assert story.summary == "nul \ufffd quote ' \U0001f600"
    assert list(story.classes) == [odd]


def test_what_was_written_is_there_after_a_restart(url: URL) -> None:
    with closing(Database(url)) as database:
        History(database, HistorySettings()).write([*at(NOW, window(1)), *life()])
        before = all_rows(database)
    with closing(Database(url)) as database:
        assert all_rows(database) == before
        History(database, HistorySettings()).write(at(NOW, window(2)))
        assert len(rows(database, STREAMS)) == 1


def test_a_history_of_a_later_version_is_refused(url: URL) -> None:
    with closing(Database(url)) as database:
        History(database, HistorySettings()).write(at(NOW, window(1)))
        with database.writing() as db:
            db.exec_driver_sql("UPDATE history_meta SET value = '2' WHERE key = 'version'")
    with pytest.raises(StoreError, match="version 2"), closing(Database(url)) as database:
        History(database, HistorySettings()).write(at(NOW, window(1)))


def test_several_that_write_the_same_at_once_leave_it_once(url: URL) -> None:
    """As replicas of the server do, each with a connection of its own."""
    batches = [[*at(NOW, *(window(i, device=f"pi-{i}") for i in range(100))), *life(1), *life(2)] for _ in range(4)]
    problems: list[Exception] = []

    def write(batch: Sequence[Accepted]) -> None:
        try:
            with closing(Database(url)) as database:
                History(database, HistorySettings()).write(batch)
        except Exception as error:
            problems.append(error)

    threads = [threading.Thread(target=write, args=(batch,)) for batch in batches]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert problems == []
    with closing(Database(url)) as database, database.reading() as db:
        counts = [db.execute(select(func.count()).select_from(table)).scalar_one() for table in (WINDOWS, ALERTS)]
    assert counts == [100, 2]


def test_a_refused_batch_is_not_half_written_and_can_be_repeated(sqlite_url: URL) -> None:
    with closing(Database(sqlite_url)) as database:
        history = History(database, HistorySettings())
        blocker = Database(sqlite_url)
        with blocker.writing(), pytest.raises(StoreError, match="locked"):
            history.write(at(NOW, window(1)))
        blocker.close()
        history.write(at(NOW, window(1)))
        assert len(rows(database, WINDOWS)) == len(rows(database, STREAMS)) == 1


@pytest.fixture
def own_postgres() -> Iterator[Postgres]:
    server = Postgres(find_postgres())
    server.start()
    yield server
    server.remove()


def test_an_outage_of_postgresql_is_a_store_error_until_it_is_back(own_postgres: Postgres) -> None:
    with closing(Database(own_postgres.new_database())) as database:
        history = History(database, HistorySettings())
        history.write(at(NOW, window(1)))
        own_postgres.kill()
        with pytest.raises(StoreError, match="cannot be used"):
            history.write(at(NOW, window(2)))
        with pytest.raises(StoreError):
            rows(database, WINDOWS)
        own_postgres.start()
        history.write(at(NOW, window(2)))
        assert len(rows(database, WINDOWS)) == 2


def test_a_postgresql_that_is_not_there_yet_is_found_once_it_is(own_postgres: Postgres) -> None:
    url = own_postgres.new_database()
    own_postgres.kill()
    with closing(Database(url)) as database:
        history = History(database, HistorySettings())
        with pytest.raises(StoreError):
            history.write(at(NOW, window(1)))
        own_postgres.start()
        history.write(at(NOW, window(1)))
        assert len(rows(database, WINDOWS)) == 1


def test_an_unusable_file_is_named(sqlite_url: URL) -> None:
    path = Path(str(sqlite_url.database))
    path.parent.mkdir()
    path.write_bytes(b"this is no database, but long enough to look at" * 100)
    with pytest.raises(StoreError, match=r"history\.db: the history cannot be used"):
        Database(sqlite_url)


def test_alerts_are_found_by_where_when_and_status(history: History, queries: Queries) -> None:
    history.write([*life(1), *at(NOW + 100, alert(9, number=2, site="south", recorded_at=1.0, raised_at=1.0))])

    def found(asked: Filters) -> list[int]:
        return [int(one.alert_id, 16) for one in queries.alerts(asked, limit=10, offset=0).alerts]

    assert found(Filters()) == [2, 1]
    assert found(Filters(site="south")) == [2]
    assert found(Filters(site="north", device="pi-1", stream="belt")) == [1]
    assert found(Filters(device="pi-9")) == []
    assert found(Filters(statuses=(AlertStatus.RAISED, AlertStatus.UPDATED))) == [2]
    assert found(Filters(start=NOW + 5, end=NOW + 6)) == [1]
    assert found(Filters(start=NOW + 21)) == [2]
    assert found(Filters(end=NOW + 100)) == [1]
    assert found(Filters(end=NOW)) == []
    page = queries.alerts(Filters(), limit=1, offset=1)
    assert (page.total, [int(one.alert_id, 16) for one in page.alerts]) == (2, [1])
