"""What rollouts do by themselves, told over HTTP: by real rollouts, through a real queue, to a real receiver."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import pytest

from driftprint_server.rollout.model import SERVER, BundleId, Rollout, Status, Step
from driftprint_server.webhooks.rollout_payloads import rollout_payload
from driftprint_server.webhooks.settings import WebhookSettings
from driftprint_server.webhooks.sink import Webhooks
from tests.server.rollout.fleets import Scene
from tests.server.webhooks.receiver import HttpReceiver

OVERDUE_SECONDS = 1800.0


class Fleet(Scene):
    """Ten devices, rollouts over them, and webhooks that hear of these."""

    def __init__(self, folder: Path, receiver: HttpReceiver, **fields: Any) -> None:
        super().__init__(folder)
        self.fleet.add(*(f"pi-{number}" for number in range(10)))
        self.settings = WebhookSettings(**{"name": "ops", "url": receiver.url, **fields})
        self.connect()

    def connect(self) -> None:
        self.webhooks = Webhooks([self.settings], store=self.store, clock=self.clock, random=Random(1))
        self.news = self.webhooks
        self.rollouts = self.make_rollouts()

    def restart(self) -> None:
        super().restart()
        self.connect()

    def deliver(self) -> None:
        while self.webhooks.couriers["ops"].step() == 0:
            pass


def test_that_a_rollout_has_stopped_by_itself_is_told_once(tmp_path: Path, receiver: HttpReceiver) -> None:
    fleet = Fleet(tmp_path, receiver)
    rollout = fleet.start()
    fleet.follow(alarms=1)
    fleet.look()
    fleet.restart()
    fleet.look()
    fleet.deliver()
    (posted,) = receiver.posted
    told = posted.json
    assert told["type"] == "rollout.stopped"
    assert told["data"] == {
        "rollout": rollout,
        "bundle": {"name": "toy", "version": 2},
        "site": None,
        "device": None,
        "stream": None,
        "percent": 30,
        "back": True,
        "at": fleet.rollouts.steps(rollout)[-1].at,
        "summary": fleet.rollouts.find(rollout).reason,
    }


def test_a_hold_is_told_once_it_has_lasted(tmp_path: Path, receiver: HttpReceiver) -> None:
    fleet = Fleet(tmp_path, receiver, format="slack")
    fleet.start(stages=(10, 100))
    (one,) = fleet.broker.told()
    fleet.follow()
    fleet.fleet.report(one, alarms=1, alarm=True)
    fleet.look()
    fleet.deliver()
    assert receiver.posted == []
    for _ in range(2):
        fleet.look(OVERDUE_SECONDS)
        fleet.deliver()
    (posted,) = receiver.posted
    assert posted.json["text"].startswith("Held: the rollout of toy-2, at 10 % of the devices: for 18")
    assert posted.json["text"].endswith(f" s now: north/{one} is in alarm with it")


def test_what_operators_do_is_no_news(tmp_path: Path, receiver: HttpReceiver) -> None:
    fleet = Fleet(tmp_path, receiver)
    rollout = fleet.start()
    fleet.rollouts.widen(rollout, "ann", percent=50)
    fleet.rollouts.stop(rollout, "ann", back=True)
    fleet.rollouts.resume(rollout, "ann")
    fleet.deliver()
    assert receiver.posted == []


def test_a_webhook_that_is_not_to_hear_of_rollouts_does_not(tmp_path: Path, receiver: HttpReceiver) -> None:
    fleet = Fleet(tmp_path, receiver, rollouts=False)
    fleet.start()
    fleet.follow(alarms=1)
    fleet.look()
    fleet.deliver()
    assert receiver.posted == []


def test_where_the_stop_cannot_be_kept_nothing_is_told_of_it(tmp_path: Path, receiver: HttpReceiver) -> None:
    fleet = Fleet(tmp_path, receiver)
    rollout = fleet.start()
    fleet.follow(alarms=1)
    with fleet.store.transaction() as db:
        db.execute("CREATE TRIGGER full BEFORE INSERT ON audit BEGIN SELECT RAISE(ABORT, 'disk'); END")
    with pytest.raises(Exception, match="cannot be kept"):
        fleet.look()
    fleet.deliver()
    assert fleet.rollouts.find(rollout).status is Status.RUNNING
    assert receiver.posted == []
    with fleet.store.transaction() as db:
        db.execute("DROP TRIGGER full")
    fleet.look()
    fleet.deliver()
    assert [posted.json["type"] for posted in receiver.posted] == ["rollout.stopped"]


def test_the_page_shows_what_is_posted() -> None:
    page = (Path(__file__).parents[3] / "docs/webhooks.md").read_text()
    example = page.split("<!-- rollout-payload -->\n```json\n")[1].split("```")[0]
    base = Rollout(
        id="0f0f0f0f0f0f",
        number=1,
        bundle=BundleId("toy", 2),
        stream=None,
        site="north",
        device=None,
        stages=(30, 100),
        soak_seconds=60.0,
        created_at=0.0,
        created_by="ann",
        percent=30,
    )
    reason = "3 alarms in 180 frames, where other bundles gave 0 in 3,000"
    step = Step(base.id, 1_772_366_405.0, SERVER, "stop", reason)
    posted = rollout_payload(replace(base, status=Status.STOPPED, back=True), step, "json")
    assert json.loads(example) == json.loads(posted)
