import sqlite3
from contextlib import closing

import pytest
from sqlalchemy.engine import URL

from driftprint.messages import AlertStatus, Thumbnail
from driftprint_server.audit import Audit
from driftprint_server.history.database import Database
from driftprint_server.history.decisions import AlertDecisions, AlertKey
from driftprint_server.history.history import History
from driftprint_server.history.settings import HistorySettings
from driftprint_server.operators import OperatorStore
from driftprint_server.sinks import Accepted
from tests.server.clocks import FakeClock
from tests.server.history.messages import window
from tests.server.history.site import BEN, VERA, Site
from tests.server.messages import OLD, alert

FIRST = f"{1:032x}"
KEY = AlertKey("north", "pi-1", "belt", FIRST)
UNKNOWN = f"{99:032x}"
JPEG = b"\xff\xd8\xff\xe0 a picture"


@pytest.fixture
def raised(site: Site) -> Site:
    """With an alert that is up."""
    thumbnail = Thumbnail(frame="f", recorded_at=1.0, p_value=0.001, jpeg=JPEG)
    message = alert(1, layers={"layer1": 0.5}, classes={"cat": 1.0}, thumbnails=(thumbnail,))
    site.history.write([Accepted(message, site.clock.wall)])
    return site


def test_a_series_is_that_of_the_last_day_unless_times_are_given(site: Site) -> None:
    now = site.clock.wall
    site.history.write([Accepted(window(i), now - age) for i, age in enumerate([1.0, 80_000.0, 90_000.0])])
    where = {"site": "north", "device": "pi-1", "stream": "belt"}
    assert len(site.get("/api/history/series", **where).json()["points"]) == 2
    earlier = site.get("/api/history/series", **where, start=now - 100_000, end=now - 85_000).json()
    (point,) = earlier["points"]
    assert point == {
        "at": now - 90_000,
        "outlier_ratio": 0.04,
        "evidence": 0.2,
        "alarm": False,
        "class_mix_alarm": False,
        "camera_faults": [],
        "frames_per_second": 10.0,
        "frames_total": 200,
        "outliers_total": 8,
        "classes": {"cat": 0.04, "dog": 0.0},
    }


def test_an_alert_is_told_with_all_that_is_known_of_it(raised: Site) -> None:
    now = raised.clock.wall
    told = {
        "site": "north",
        "device": "pi-1",
        "stream": "belt",
        "alert_id": FIRST,
        "instance": OLD,
        "revision": 0,
        "status": "raised",
        "current": False,
        "cause": "drift",
        "raised_at": now,
        "suspected_at": None,
        "cleared_at": None,
        "updated_at": now,
        "frames_total": 100,
        "outlier_ratio": 0.9,
        "p0": 0.06,
        "frames_per_false_alarm": 50_000.0,
        "layers": {"layer1": 0.5},
        "classes": {"cat": 1.0},
        "summary": "The model sees data it was not trained for.",
        "bundle": {"name": "digits", "version": 1},
        "thumbnails": 1,
        "acknowledged": None,
        "muted": None,
    }
    assert raised.get("/api/history/alerts").json() == {"total": 1, "alerts": [told]}
    revision = {"revision": 0, "status": "raised", "at": now, "outlier_ratio": 0.9, "summary": told["summary"]}
    assert raised.get(f"/api/history/alerts/{FIRST}").json() == {**told, "revisions": [revision]}


def test_alerts_are_asked_for_by_status(raised: Site) -> None:
    cleared = alert(2, number=2, status=AlertStatus.CLEARED, cleared_at=1_000.0)
    raised.history.write([Accepted(cleared, raised.clock.wall)])
    assert raised.get("/api/history/alerts", status="cleared").json()["total"] == 1
    assert raised.get("/api/history/alerts", status=["raised", "updated"]).json()["alerts"][0]["alert_id"] == FIRST
    assert raised.get("/api/history/alerts", status=["raised", "cleared"]).json()["total"] == 2


def test_whether_an_alert_is_raised_still_is_told_with_it(raised: Site) -> None:
    assert [one["current"] for one in raised.get("/api/history/alerts").json()["alerts"]] == [False]
    raised.current.add(FIRST)
    assert [one["current"] for one in raised.get("/api/history/alerts").json()["alerts"]] == [True]
    assert raised.get(f"/api/history/alerts/{FIRST}").json()["current"] is True


def test_the_streams_that_anything_is_on_record_of_are_named(raised: Site) -> None:
    raised.history.write([Accepted(window(1, stream="attic"), 1.0), Accepted(window(1, device="pi-2"), 1.0)])
    assert raised.get("/api/history/streams", site="north", device="pi-1").json() == {"streams": ["attic", "belt"]}
    assert raised.get("/api/history/streams", site="south", device="pi-1").json() == {"streams": []}
    raised.history.tidy(1.0 + 31 * 86_400, settled=True)
    assert raised.get("/api/history/streams", site="north", device="pi-1").json() == {"streams": ["belt"]}


def test_a_thumbnail_is_a_jpeg_file_and_nothing_else(raised: Site) -> None:
    answer = raised.get(f"/api/history/alerts/{FIRST}/thumbnails/0.jpg")
    assert (answer.status_code, answer.content) == (200, JPEG)
    assert answer.headers["content-type"] == "image/jpeg"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert raised.get(f"/api/history/alerts/{FIRST}/thumbnails/1.jpg").status_code == 404


@pytest.mark.parametrize(
    ("path", "query", "complaint"),
    [
        ("series", {"site": "north", "device": "pi-1"}, "stream: Field required"),
        ("series", {"site": "a b", "device": "x", "stream": "y"}, "site: String should match pattern"),
        ("series", {"site": "a", "device": "x", "stream": "y", "points": 1}, "points: Input should be greater"),
        ("series", {"site": "a", "device": "x", "stream": "y", "points": 5001}, "points: Input should be less"),
        ("alerts", {"start": "yesterday"}, "start: Input should be a valid number"),
        ("alerts", {"start": "nan"}, "start: "),
        ("alerts", {"end": "inf"}, "end: "),
        ("alerts", {"end": -1}, "end: Input should be greater"),
        ("alerts", {"limit": 0}, "limit: "),
        ("alerts", {"limit": 1001}, "limit: "),
        ("alerts", {"offset": -1}, "offset: "),
        ("alerts", {"status": "gone"}, "status.0: Input should be 'raised', 'updated' or 'cleared'"),
        ("alerts/xyz", {}, "alert_id: String should match pattern"),
        ("windows.csv", {"device": "../x"}, "device: String should match pattern"),
        ("alerts", {"limit": 0, "offset": -1}, "limit: Input should be greater than or equal to 1; offset: "),
        ("alerts.csv", {"status": "gone"}, "status.0: "),
        ("alerts.parquet", {"end": "soon"}, "end: "),
    ],
)
def test_a_wrong_query_is_answered_with_what_is_wrong(
    site: Site, path: str, query: dict[str, object], complaint: str
) -> None:
    answer = site.get(f"/api/history/{path}", **query)
    assert answer.status_code == 422
    assert answer.json()["detail"].startswith(complaint)


def test_between_a_time_and_one_before_it_there_is_nothing(raised: Site) -> None:
    raised.history.write([Accepted(window(1), raised.clock.wall - 50)])
    now = raised.clock.wall
    assert raised.get("/api/history/alerts", start=now - 1, end=now + 1).json()["total"] == 1
    for start, end in ((now + 1, now + 1), (now + 2, now + 1), (9e9, None)):
        asked = {"start": start} if end is None else {"start": start, "end": end}
        series = raised.get("/api/history/series", site="north", device="pi-1", stream="belt", **asked)
        assert (series.status_code, series.json()) == (200, {"bucket_seconds": 0.0, "points": []})
    backwards = {"start": now + 2, "end": now + 1}  # and the alert is raised still
    assert raised.get("/api/history/alerts", **backwards).json() == {"total": 0, "alerts": []}
    for name in ("windows", "alerts"):
        assert len(raised.get(f"/api/history/{name}.csv", **backwards).text.splitlines()) == 1
        assert raised.get(f"/api/history/{name}.parquet", **backwards).status_code == 200


def test_an_alert_that_is_unknown_is_not_found(site: Site) -> None:
    assert site.get(f"/api/history/alerts/{UNKNOWN}").status_code == 404
    assert site.get(f"/api/history/alerts/{UNKNOWN}/thumbnails/0.jpg").status_code == 404
    for decision, body in (("acknowledgement", {"note": ""}), ("mute", {"seconds": 60})):
        answer = site.put(f"/api/alerts/{UNKNOWN}/{decision}", body)
        assert (answer.status_code, answer.json()["detail"]) == (404, f"there is no alert {UNKNOWN} on record")
        assert site.delete(f"/api/alerts/{UNKNOWN}/{decision}").status_code == 404
    assert site.audit.lines(limit=10) == []


def test_who_has_acknowledged_an_alert_is_told_with_it_and_in_the_audit(raised: Site) -> None:
    made = {"who": "anna", "at": raised.clock.wall, "note": "on my way"}
    answer = raised.put(f"/api/alerts/{FIRST}/acknowledgement", {"note": "on my way"})
    assert (answer.status_code, answer.json()) == (200, made)
    assert raised.get(f"/api/history/alerts/{FIRST}").json()["acknowledged"] == made
    assert raised.get("/api/history/alerts").json()["alerts"][0]["acknowledged"] == made
    assert raised.decisions.of([KEY])[0].keys() == {FIRST}
    (line,) = raised.audit.lines(limit=10)
    assert (line.who, line.action, line.target) == ("anna", "alert.acknowledge", FIRST)
    assert line.detail == {"site": "north", "device": "pi-1", "stream": "belt", "note": "on my way"}


def test_an_acknowledgement_needs_no_note_and_can_be_taken_back_once(raised: Site) -> None:
    assert raised.put(f"/api/alerts/{FIRST}/acknowledgement").json()["note"] == ""
    assert raised.delete(f"/api/alerts/{FIRST}/acknowledgement").status_code == 204
    assert raised.get(f"/api/history/alerts/{FIRST}").json()["acknowledged"] is None
    again = raised.delete(f"/api/alerts/{FIRST}/acknowledgement")
    assert (again.status_code, again.json()["detail"]) == (404, f"nobody has acknowledged alert {FIRST}")
    assert [line.action for line in raised.audit.lines(limit=10)] == ["alert.unacknowledge", "alert.acknowledge"]


def test_of_two_who_decide_at_once_the_last_one_holds_and_the_audit_has_both(raised: Site) -> None:
    raised.put(f"/api/alerts/{FIRST}/acknowledgement", {"note": "mine"})
    raised.put(f"/api/alerts/{FIRST}/mute", {"seconds": 60})
    raised.who = BEN
    raised.put(f"/api/alerts/{FIRST}/acknowledgement", {"note": "no, mine"})
    raised.put(f"/api/alerts/{FIRST}/mute", {"seconds": 3600})
    told = raised.get(f"/api/history/alerts/{FIRST}").json()
    assert told["acknowledged"] == {"who": "ben", "at": raised.clock.wall, "note": "no, mine"}
    assert told["muted"]["until"] == raised.clock.wall + 3600
    assert [line.who for line in raised.audit.lines(limit=10)] == ["ben", "ben", "anna", "anna"]


def test_a_mute_silences_the_stream_and_ends_by_itself(raised: Site) -> None:
    start = raised.clock.wall
    made = {"who": "anna", "at": start, "until": start + 60, "note": "lens being cleaned"}
    answer = raised.put(f"/api/alerts/{FIRST}/mute", {"seconds": 60, "note": "lens being cleaned"})
    assert (answer.status_code, answer.json()) == (200, made)
    assert raised.get("/api/history/alerts").json()["alerts"][0]["muted"] == made
    assert raised.decisions.muted_streams(start + 59) == {("north", "pi-1", "belt")}
    assert raised.decisions.muted_streams(start + 60) == set()
    raised.clock.wall = start + 60
    assert raised.get(f"/api/history/alerts/{FIRST}").json()["muted"] is None
    assert raised.delete(f"/api/alerts/{FIRST}/mute").status_code == 404


def test_a_mute_can_be_taken_back(raised: Site) -> None:
    raised.put(f"/api/alerts/{FIRST}/mute", {"seconds": 60})
    assert raised.delete(f"/api/alerts/{FIRST}/mute").status_code == 204
    assert raised.decisions.muted_streams(raised.clock.wall) == set()
    assert [line.action for line in raised.audit.lines(limit=10)] == ["alert.unmute", "alert.mute"]


def test_a_mute_is_told_with_every_alert_of_its_stream_and_taken_back_by_any(raised: Site) -> None:
    later = [alert(2, number=2), alert(2, number=3, stream="attic")]
    raised.history.write([Accepted(message, raised.clock.wall) for message in later])
    made = raised.put(f"/api/alerts/{FIRST}/mute", {"seconds": 60, "note": "lens being cleaned"}).json()
    told = {one["alert_id"]: one["muted"] for one in raised.get("/api/history/alerts").json()["alerts"]}
    assert told == {FIRST: made, f"{2:032x}": made, f"{3:032x}": None}
    assert raised.delete(f"/api/alerts/{3:032x}/mute").status_code == 404
    assert raised.delete(f"/api/alerts/{2:032x}/mute").status_code == 204
    assert raised.decisions.muted_streams(raised.clock.wall) == set()


def test_a_stream_is_muted_until_the_end_that_was_said_last(raised: Site) -> None:
    raised.history.write([Accepted(alert(2, number=2), raised.clock.wall)])
    raised.put(f"/api/alerts/{FIRST}/mute", {"seconds": 3600})
    raised.put(f"/api/alerts/{2:032x}/mute", {"seconds": 60})
    assert raised.get(f"/api/history/alerts/{FIRST}").json()["muted"]["until"] == raised.clock.wall + 60
    assert raised.decisions.muted_streams(raised.clock.wall + 60) == set()


@pytest.mark.parametrize(
    "body", [{}, {"seconds": 0}, {"seconds": 1e9}, {"seconds": 60, "note": "x" * 501}, {"seconds": 60, "until": 9}]
)
def test_a_mute_without_a_fitting_end_is_refused(raised: Site, body: dict[str, object]) -> None:
    answer = raised.put(f"/api/alerts/{FIRST}/mute", body)
    assert answer.status_code == 422
    assert isinstance(answer.json()["detail"], str)
    assert raised.audit.lines(limit=10) == []


def test_whoever_may_only_look_cannot_decide(raised: Site) -> None:
    raised.who = VERA
    assert raised.get("/api/history/alerts").status_code == 200
    assert raised.put(f"/api/alerts/{FIRST}/mute", {"seconds": 60}).status_code == 403
    assert raised.put(f"/api/alerts/{UNKNOWN}/acknowledgement").status_code == 403
    assert raised.delete(f"/api/alerts/{FIRST}/mute").status_code == 403
    assert raised.audit.lines(limit=10) == []


@pytest.mark.parametrize(
    "path", ["series", "alerts", f"alerts/{FIRST}", f"alerts/{FIRST}/thumbnails/0.jpg", "windows.csv", "alerts.parquet"]
)
def test_nobody_is_told_anything_without_logging_in(raised: Site, path: str) -> None:
    raised.who = None
    assert raised.get(f"/api/history/{path}").status_code == 401


def test_decisions_are_there_after_a_restart(raised: Site, store: OperatorStore) -> None:
    raised.put(f"/api/alerts/{FIRST}/acknowledgement", {"note": "mine"})
    assert AlertDecisions(store, raised.audit, raised.clock).of([KEY])[0].keys() == {FIRST}


def test_a_database_that_is_away_is_an_answer_of_its_own(
    sqlite_url: URL, decisions: AlertDecisions, audit: Audit, clock: FakeClock
) -> None:
    with closing(Database(sqlite_url)) as database:
        site = Site(database, History(database, HistorySettings()), decisions, audit, clock)
        with closing(sqlite3.connect(str(sqlite_url.database))) as db:
            db.execute("DROP TABLE history_streams")
        for path in ("alerts", f"alerts/{FIRST}", "windows.csv", "alerts.parquet"):
            answer = site.get(f"/api/history/{path}")
            assert answer.status_code == 503
            assert "the history cannot be used" in answer.json()["detail"]
