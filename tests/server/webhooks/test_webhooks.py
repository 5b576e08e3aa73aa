"""Alerts told over HTTP: by a real queue to a real receiver."""

from __future__ import annotations

import json
import re
import ssl
import sys
import time
from collections.abc import Iterator
from email.utils import formatdate
from pathlib import Path
from random import Random
from typing import Any

import pytest
import trustme
from pydantic import ValidationError
from standardwebhooks.webhooks import Webhook

from driftprint.errors import ConfigError, StoreError
from driftprint.messages import AlertMessage, AlertStatus, Cause, Thumbnail
from driftprint_server.operators import OperatorStore
from driftprint_server.sinks import Accepted
from driftprint_server.webhooks.counts import Drop, Failure
from driftprint_server.webhooks.courier import MOST_SECONDS, STEPS_SECONDS
from driftprint_server.webhooks.settings import WebhookSettings, check_names
from driftprint_server.webhooks.sink import MOST_AGE_SECONDS, Webhooks
from driftprint_server.webhooks.waiting import MOST_OF_A_DEVICE, MOST_WAITING
from tests.brokers import wait_for
from tests.server.clocks import FakeClock
from tests.server.messages import alert, state
from tests.server.webhooks.receiver import HttpReceiver

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

SECRET = "whsec_" + "c2VjcmV0" * 5


class Station:
    """The webhooks of a server, one of which is named "ops"; its store outlasts `restart`."""

    def __init__(self, folder: Path, receiver: HttpReceiver) -> None:
        self.clock = FakeClock(wall=time.time())
        self.receiver = receiver
        self._path = folder / "operators.db"
        self._settings: list[WebhookSettings] = []
        self.muted: set[tuple[str, str, str]] = set()
        self.open(self.settings())

    def settings(self, **fields: Any) -> WebhookSettings:
        return WebhookSettings(**{"name": "ops", "url": self.receiver.url, **fields})

    def open(self, *settings: WebhookSettings) -> None:
        self._settings = list(settings)
        self.store = OperatorStore(self._path)
        self.webhooks = Webhooks(
            settings, store=self.store, clock=self.clock, random=Random(1), muted=lambda _now: self.muted
        )

    def restart(self, *settings: WebhookSettings) -> None:
        self.close()
        self.open(*(settings or self._settings))

    def close(self) -> None:
        self.webhooks.stop()
        self.store.close()

    def write(self, *messages: AlertMessage, age: float = 0.0, retained: bool = False) -> None:
        at = self.clock.wall - age
        self.webhooks.write([Accepted(message, at, retained=retained) for message in messages])

    def deliver(self, name: str = "ops") -> float:
        """All that is due; returns the seconds until more is."""
        while (wait := self.webhooks.couriers[name].step()) == 0:
            pass
        return wait

    def told(self) -> list[tuple[str, str]]:
        return [(posted.json["data"]["alert_id"][-1], posted.json["type"]) for posted in self.receiver.posted]

    def due(self) -> list[float]:
        """When what waits is to be sent: Unix time."""
        with self.store.transaction() as db:
            return [due for (due,) in db.execute("SELECT due FROM webhook_waiting ORDER BY number")]

    def dropped(self) -> dict[Drop, int]:
        return {reason: number for (_, reason), number in self.webhooks.counts.dropped.items() if number}

    def failed(self) -> dict[Failure, int]:
        return {reason: number for (_, reason), number in self.webhooks.counts.failed.items() if number}


@pytest.fixture
def station(tmp_path: Path, receiver: HttpReceiver) -> Iterator[Station]:
    station = Station(tmp_path, receiver)
    yield station
    station.close()


def raised(number: int = 1, **fields: Any) -> AlertMessage:
    return alert(number, number=number, **fields)


def updated(number: int = 1, *, revision: int = 1) -> AlertMessage:
    return alert(number, number=number, revision=revision, status=AlertStatus.UPDATED)


def cleared(number: int = 1, *, revision: int = 2) -> AlertMessage:
    return alert(
        number, number=number, revision=revision, status=AlertStatus.CLEARED, recorded_at=1_100.0, cleared_at=1_090.0
    )


def test_of_a_muted_stream_only_the_end_is_told_of_what_had_been_told(station: Station) -> None:
    station.write(raised(1))
    station.muted = {("north", "pi-1", "belt")}
    station.write(raised(2), updated(1), cleared(1, revision=2), cleared(2))
    station.muted = set()
    station.write(raised(3))
    station.deliver()
    assert station.told() == [("1", "alert.raised"), ("1", "alert.cleared"), ("3", "alert.raised")]


def test_an_alert_is_told_when_it_is_raised_and_when_it_is_cleared(station: Station) -> None:
    station.write(raised(), updated(), cleared())
    station.deliver()
    assert station.told() == [("1", "alert.raised"), ("1", "alert.cleared")]
    assert station.webhooks.counts.delivered == {"ops": 2}
    assert station.webhooks.waiting == {"ops": 0}


def test_updates_are_told_where_they_are_wanted(station: Station) -> None:
    station.restart(station.settings(updates=True))
    station.write(raised(), updated(), cleared())
    station.deliver()
    assert station.told() == [("1", "alert.raised"), ("1", "alert.updated"), ("1", "alert.cleared")]


def test_an_alert_whose_raise_was_lost_is_told_by_its_update(station: Station) -> None:
    station.write(updated())
    station.deliver()
    assert station.told() == [("1", "alert.updated")]


def test_it_is_told_with_times_by_the_servers_clock_and_without_pictures(station: Station) -> None:
    picture = Thumbnail(frame="17", recorded_at=0, p_value=0.001, jpeg=b"\xff\xd8")
    said = alert(5, status=AlertStatus.CLEARED, recorded_at=5_000.0, raised_at=4_700.0, cleared_at=4_990.0)
    station.write(said.model_copy(update={"thumbnails": (picture,), "classes": {"cat": 1.0}}), age=3600)
    station.deliver()
    [posted] = station.receiver.posted
    at = station.clock.wall - 3600
    data = posted.json["data"]
    assert posted.path == "/alerts"
    assert posted.headers["content-type"] == "application/json"
    assert [data[name] - at for name in ("raised_at", "cleared_at", "updated_at")] == pytest.approx([-300, -10, 0])
    assert (data["site"], data["device"], data["stream"], data["cause"]) == ("north", "pi-1", "belt", "drift")
    assert (data["status"], data["revision"], data["bundle"]) == ("cleared", 0, {"name": "digits", "version": 1})
    assert (data["thumbnails"], data["classes"]) == (1, {"cat": 1.0})
    assert data["summary"] == said.summary
    assert b"/9g" not in posted.body


def test_what_comes_again_is_told_once_in_whatever_order_and_after_a_restart(station: Station) -> None:
    for _ in range(2):
        station.write(raised(), cleared(), raised())
        station.deliver()
        station.restart()
    station.write(raised(), updated())
    station.deliver()
    assert len(station.receiver.posted) == 2


def test_other_messages_are_not_told(station: Station) -> None:
    station.webhooks.write([Accepted(state(), station.clock.wall)])
    assert station.webhooks.waiting == {"ops": 0}


def test_only_the_causes_that_were_asked_for_are_told(station: Station) -> None:
    station.restart(station.settings(causes=["drift", "covered"]))
    station.write(raised(1), raised(2, cause=Cause.FROZEN), raised(3, cause=Cause.COVERED))
    station.deliver()
    assert [number for number, _ in station.told()] == ["1", "3"]


def test_every_request_is_signed_as_standard_webhooks_has_it(station: Station) -> None:
    station.restart(station.settings(secret=SECRET))
    station.write(raised(summary="Grüße: ünïcode"))
    station.deliver()
    [posted] = station.receiver.posted
    verified = Webhook(SECRET).verify(posted.body, dict(posted.headers))
    assert verified["data"]["summary"] == "Grüße: ünïcode"
    with pytest.raises(Exception, match="No matching signature"):
        Webhook(SECRET).verify(posted.body + b" ", dict(posted.headers))


def test_further_headers_are_sent(station: Station) -> None:
    station.restart(station.settings(headers={"Authorization": "Bearer abc"}))
    station.write(raised())
    station.deliver()
    assert station.receiver.posted[0].headers["authorization"] == "Bearer abc"


def test_while_the_receiver_is_down_alerts_wait_and_then_all_come_in_order(station: Station) -> None:
    station.receiver.stop()
    station.write(raised(1), raised(2), cleared(1))
    for step in STEPS_SECONDS:
        wait = station.deliver()
        assert 0 < wait <= 60
        station.clock.wall += step * 1.2
    station.receiver.start()
    station.write(raised(3))
    station.deliver()
    assert sorted(station.told()) == [
        ("1", "alert.cleared"),
        ("1", "alert.raised"),
        ("2", "alert.raised"),
        ("3", "alert.raised"),
    ]
    order = station.told()
    assert order.index(("1", "alert.raised")) < order.index(("1", "alert.cleared"))
    assert station.failed() == {Failure.UNREACHABLE: station.failed()[Failure.UNREACHABLE]}


def test_what_waits_outlasts_a_restart(station: Station) -> None:
    station.receiver.stop()
    station.write(raised())
    station.deliver()
    station.restart()
    station.receiver.start()
    station.clock.wall += STEPS_SECONDS[0] * 1.2
    station.deliver()
    assert station.told() == [("1", "alert.raised")]


def test_an_attempt_keeps_its_id_and_is_signed_anew(station: Station) -> None:
    station.restart(station.settings(secret=SECRET))
    station.receiver.status = 500
    station.write(raised(1), raised(2))
    station.deliver()
    station.receiver.status = 204
    station.clock.wall += STEPS_SECONDS[0] * 1.2
    station.deliver()
    ids = [posted.id for posted in station.receiver.posted]
    assert len(ids) == 4
    assert len(set(ids)) == 2
    first, again = (posted for posted in station.receiver.posted if posted.id == ids[0])
    assert again.body == first.body
    assert int(again.headers["webhook-timestamp"]) > int(first.headers["webhook-timestamp"])
    for posted in (first, again):
        Webhook(SECRET).verify(posted.body, dict(posted.headers))


@pytest.mark.parametrize(
    ("status", "failure"),
    [
        (302, Failure.REDIRECT),
        (307, Failure.REDIRECT),
        (400, Failure.REFUSED),
        (404, Failure.REFUSED),
        (429, Failure.REFUSED),
        (500, Failure.BROKEN),
        (503, Failure.BROKEN),
    ],
)
def test_whatever_is_not_2xx_is_tried_again(station: Station, status: int, failure: Failure) -> None:
    elsewhere = HttpReceiver()
    elsewhere.start()
    station.receiver.status, station.receiver.headers = status, {"Location": elsewhere.url}
    station.write(raised())
    wait = station.deliver()
    elsewhere.stop()
    assert 0.8 * STEPS_SECONDS[0] <= wait <= 1.2 * STEPS_SECONDS[0]
    assert station.failed() == {failure: 1}
    assert station.webhooks.waiting == {"ops": 1}
    assert elsewhere.posted == []


def test_a_receivers_certificate_is_checked_against_the_authority_that_is_named(
    station: Station, tmp_path: Path
) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    secure = HttpReceiver()
    secure.start(tls=context)
    url = secure.url.replace("http:", "https:")
    station.restart(station.settings(url=url), station.settings(name="trusting", url=url, ca_file=tmp_path / "ca.pem"))
    station.write(raised())
    station.deliver("ops")
    assert station.failed() == {Failure.TLS: 1}
    station.deliver("trusting")
    secure.stop()
    assert station.webhooks.counts.delivered == {"ops": 0, "trusting": 1}
    assert len(secure.posted) == 1


def test_a_receiver_that_never_answers_is_a_failure_too(station: Station) -> None:
    station.restart(station.settings(timeout_seconds=1))
    station.receiver.silent.set()
    station.write(raised())
    station.deliver()
    assert station.failed() == {Failure.TIMEOUT: 1}


def test_a_receiver_is_given_the_time_that_it_asks_for(station: Station) -> None:
    station.receiver.status, station.receiver.headers = 429, {"Retry-After": "50"}
    station.write(raised(1), raised(2))
    assert station.deliver() == pytest.approx(50)
    assert len(station.receiver.posted) == 1


def test_a_date_is_understood_too(station: Station) -> None:
    date = formatdate(station.clock.wall + 1800, usegmt=True)
    station.receiver.status, station.receiver.headers = 503, {"Retry-After": date}
    station.write(raised())
    station.deliver()
    (due,) = station.due()
    assert due == pytest.approx(station.clock.wall + 1800, abs=1)


@pytest.mark.parametrize("asked", ["nan", "inf", "-5", "1e999", "soon", "Thu, 99 Jan 2026 00:00:00 GMT", ""])
def test_one_that_makes_no_sense_holds_up_no_other_message(station: Station, asked: str) -> None:
    station.receiver.status, station.receiver.headers = 500, {"Retry-After": asked}
    station.write(raised(1), raised(2))
    station.deliver()
    assert len({posted.id for posted in station.receiver.posted}) == len(station.receiver.posted) == 2


def test_one_that_the_receiver_does_not_take_keeps_no_other_from_it(station: Station) -> None:
    station.receiver.first_statuses = [400]
    station.write(raised(1), raised(2))
    station.deliver()
    assert station.webhooks.counts.delivered == {"ops": 1}
    assert station.webhooks.waiting == {"ops": 1}


def test_that_an_alert_is_cleared_is_never_told_before_it_was_raised(station: Station) -> None:
    station.receiver.first_statuses = [400]
    station.write(raised())
    station.deliver()
    station.write(cleared())
    station.deliver()
    assert station.told() == [("1", "alert.raised")]
    station.clock.wall += STEPS_SECONDS[0] * 1.2
    station.deliver()
    assert station.told()[1:] == [("1", "alert.raised"), ("1", "alert.cleared")]


def test_once_the_receiver_is_back_nothing_waits_any_longer(station: Station) -> None:
    station.receiver.stop()
    station.write(raised(1))
    for step in STEPS_SECONDS:
        station.deliver()
        station.clock.wall += step * 1.2
    assert station.deliver() > 0
    station.receiver.start()
    station.write(raised(2))
    station.deliver()
    assert station.told() == [("2", "alert.raised"), ("1", "alert.raised")]


def test_a_day_later_it_is_given_up_and_counted(station: Station) -> None:
    station.receiver.status = 500
    station.write(raised())
    start = station.clock.wall
    while station.webhooks.waiting["ops"]:
        station.clock.wall += station.deliver()
        assert station.clock.wall - start < MOST_SECONDS + 700
    assert station.dropped() == {Drop.EXPIRED: 1}
    assert 100 < station.failed()[Failure.BROKEN] < 200


def test_a_receiver_that_is_gone_is_asked_no_more_until_a_restart(station: Station) -> None:
    station.receiver.status = 410
    station.write(raised(1), raised(2))
    station.deliver()
    station.write(raised(3))
    station.deliver()
    assert len(station.receiver.posted) == 1
    assert station.dropped() == {Drop.GONE: 3}
    station.receiver.status = 204
    station.restart()
    station.write(raised(4))
    station.deliver()
    assert station.told()[-1] == ("4", "alert.raised")


def test_news_of_a_week_ago_is_none_but_what_a_device_could_not_tell_for_days_is(station: Station) -> None:
    station.write(raised(1), age=MOST_AGE_SECONDS - 1)
    station.write(raised(2), age=MOST_AGE_SECONDS + 1)
    station.deliver()
    assert station.told() == [("1", "alert.raised")]
    assert station.dropped() == {Drop.TOO_OLD: 1}


def test_what_the_broker_kept_is_told_if_it_has_not_been(station: Station) -> None:
    station.write(raised(1))
    station.write(raised(1), raised(2), cleared(3), retained=True, age=MOST_AGE_SECONDS + 1)
    station.deliver()
    assert station.told() == [("1", "alert.raised"), ("2", "alert.raised")]


def test_the_queue_is_bounded_and_a_device_takes_no_others_room(station: Station) -> None:
    station.receiver.stop()
    station.write(raised(1, device="quiet"))
    station.write(*(raised(number, device="loud") for number in range(1, MOST_OF_A_DEVICE + 11)))
    assert station.webhooks.waiting == {"ops": 1 + MOST_OF_A_DEVICE}
    assert station.dropped() == {Drop.QUEUE_FULL: 10}
    station.write(*(raised(number, device=f"pi-{number}") for number in range(1, MOST_WAITING + 1)))
    assert station.webhooks.waiting == {"ops": MOST_WAITING}


def test_a_device_that_uses_anothers_ids_keeps_nothing_from_being_told(station: Station) -> None:
    station.write(cleared(1, revision=2**62).model_copy(update={"device": "forger"}), raised(1))
    station.deliver()
    assert station.told() == [("1", "alert.cleared"), ("1", "alert.raised")]
    assert len({posted.id for posted in station.receiver.posted}) == 2


def test_each_webhook_has_its_own_queue_and_what_waits_for_one_that_is_removed_is_dropped(station: Station) -> None:
    other = HttpReceiver()
    station.restart(station.settings(), station.settings(name="away", url=other.url))
    station.write(raised())
    station.deliver("away")
    station.deliver("ops")
    assert station.webhooks.waiting == {"ops": 0, "away": 1}
    station.restart(station.settings())
    station.restart(station.settings(), station.settings(name="away", url=other.url))
    assert station.webhooks.waiting == {"ops": 0, "away": 0}


def test_where_the_store_refuses_nothing_is_queued_and_the_batch_may_come_again(station: Station) -> None:
    with station.store.transaction() as db:
        db.execute("CREATE TRIGGER full BEFORE INSERT ON webhook_waiting BEGIN SELECT RAISE(ABORT, 'disk'); END")
    with pytest.raises(StoreError):
        station.write(raised())
    with station.store.transaction() as db:
        db.execute("DROP TRIGGER full")
    station.write(raised())
    station.deliver()
    assert station.told() == [("1", "alert.raised")]


def test_its_threads_deliver_as_soon_as_something_comes_and_wait_for_no_receiver_to_stop(
    station: Station, receiver: HttpReceiver
) -> None:
    stuck = HttpReceiver()
    stuck.start()
    stuck.silent.set()
    station.restart(station.settings(), station.settings(name="stuck", url=stuck.url))
    station.webhooks.start()
    station.write(raised(1))
    wait_for(lambda: receiver.posted and stuck.posted, what="both requests")
    station.write(raised(2))
    wait_for(lambda: len(receiver.posted) == 2, what="the second alert")
    station.webhooks.stop()
    assert not station.webhooks.threads[0].is_alive()
    stuck.stop()


def test_slack_gets_a_line_in_which_a_device_can_ring_nobodys_bell(station: Station) -> None:
    station.restart(station.settings(format="slack"))
    station.write(raised(summary="<!channel> & @here\nlook"))
    station.deliver()
    assert station.receiver.posted[0].json == {
        "text": "Raised: north/pi-1/belt: drift. &lt;!channel&gt; &amp; @\u200bhere look"
    }


def test_discord_gets_a_line_that_is_not_too_long_and_mentions_nobody(station: Station) -> None:
    station.restart(station.settings(format="discord"))
    station.write(cleared(), raised(2, summary="<" * 1024))
    station.deliver()
    first, second = (posted.json for posted in station.receiver.posted)
    assert first["content"].startswith("Cleared: north/pi-1/belt: drift. ")
    assert first["allowed_mentions"] == {"parse": []}
    assert len(second["content"]) <= 2000


@pytest.mark.parametrize(
    ("fields", "complaint"),
    [
        ({"url": "ftp://receiver.example"}, "must be an address such as"),
        ({"url": "https://"}, "must be an address such as"),
        ({"url": "https://receiver.example/a b"}, "must be an address such as"),
        ({"url": "https://ann:secret@receiver.example"}, "give an Authorization header"),
        ({"secret": "whsec_c2hvcnQ="}, "openssl rand -base64 32"),
        ({"secret": "c2VjcmV0" * 5}, "whsec_"),
        ({"headers": {"Webhook-Id": "1"}}, "is set by the server"),
        ({"headers": {"X-A": "1\r\nX-B: 2"}}, "must be one line"),
        ({"name": "a b"}, "pattern"),
        ({"format": "mail"}, "'json', 'slack' or 'discord'"),
    ],
)
def test_settings_that_will_not_do_are_explained(fields: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValidationError, match=complaint):
        WebhookSettings(**{"name": "ops", "url": "https://receiver.example", **fields})


def test_two_of_one_name_are_refused() -> None:
    twice = [WebhookSettings(name="ops", url=f"https://{host}.example") for host in ("a", "b")]
    with pytest.raises(ConfigError, match=r"webhook\.ops: two have this name"):
        check_names(twice)


def test_an_authority_that_is_none_is_explained(station: Station, tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("nothing")
    with pytest.raises(ConfigError, match=r"webhook\.ops\.ca_file: cannot load the TLS certificates"):
        station.restart(station.settings(ca_file=tmp_path / "ca.pem"))


def test_a_kill_between_delivery_and_its_record_tells_it_again_under_the_same_id(station: Station) -> None:
    station.write(raised())
    with station.store.transaction() as db:
        db.execute("CREATE TRIGGER stuck BEFORE DELETE ON webhook_waiting BEGIN SELECT RAISE(ABORT, 'disk'); END")
    with pytest.raises(StoreError):
        station.deliver()
    with station.store.transaction() as db:
        db.execute("DROP TRIGGER stuck")
    station.restart()
    station.deliver()
    assert len(station.receiver.posted) == 2
    assert len({posted.id for posted in station.receiver.posted}) == 1


def test_the_page_shows_what_is_posted_and_settings_that_are_valid(station: Station) -> None:
    page = (Path(__file__).parents[3] / "docs/webhooks.md").read_text()
    station.clock.wall = 1_772_366_405.0
    station.write(raised())
    station.deliver()
    example = page.split("<!-- payload -->\n```json\n")[1].split("```")[0]
    assert json.loads(example) == station.receiver.posted[0].json
    tables = tomllib.loads(page.split("```toml\n")[1].split("```")[0])["webhook"]
    check_names([WebhookSettings(**table) for table in tables])
    rows = re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE)
    assert rows == list(dict.fromkeys(rows))
    assert set(rows) == set(WebhookSettings.model_fields)
