import sqlite3
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi import FastAPI, Request
from fastapi.testclient import TestClient
from pydantic import ValidationError

from driftprint.errors import MessageError, StoreError
from driftprint_server.access.identity import Identity, Role
from driftprint_server.audit import Audit
from driftprint_server.counts import Reason
from driftprint_server.enrolment.decisions import EnrolmentDecisions
from driftprint_server.enrolment.gate import Enrolment
from driftprint_server.enrolment.router import make_router
from driftprint_server.enrolment.settings import EnrolmentSettings, Mode
from driftprint_server.enrolment.waiting import SILENT_SECONDS, WaitingList
from driftprint_server.operators import OperatorStore
from driftprint_server.refusals import add_refusals
from tests.server.clocks import FakeClock

NOW = 1_000_000.0


class Office:
    """An enrolment over a real store, and the devices whose rejection it has told."""

    def __init__(self, path: Path, mode: Mode = Mode.APPROVE, *devices: str, most: int = 3) -> None:
        self.path = path
        self.clock = FakeClock(NOW)
        self.store = OperatorStore(path)
        self.audit = Audit(self.store, self.clock)
        self.forgotten: list[tuple[str, str]] = []
        self.enrolment = Enrolment(
            EnrolmentSettings(mode=mode, devices=devices),
            decisions=EnrolmentDecisions(self.store, self.audit, self.clock),
            waiting=WaitingList(most),
            on_rejected=lambda site, device: self.forgotten.append((site, device)),
        )

    def admits(self, name: str, at: float = NOW) -> bool:
        try:
            site, device = name.split("/")
            self.enrolment.check(site, device, at)
        except MessageError as error:
            return Reason(error.reason) is not Reason.NOT_ENROLLED
        return True

    def decide(self, name: str, *, approved: bool) -> None:
        site, device = name.split("/")
        self.enrolment.decide(site, device, approved=approved, who="ann")

    @property
    def waiting(self) -> dict[str, tuple[float, float, int]]:
        listed = self.enrolment.waiting
        return {f"{one.site}/{one.device}": (one.first_seen, one.last_seen, one.messages) for one in listed}

    @property
    def lines(self) -> list[tuple[str, str, str]]:
        return [(line.who, line.action, line.target) for line in reversed(self.audit.lines(limit=100))]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "operators.db"


def break_audit(path: Path) -> None:
    """The store takes no line of the audit from now on."""
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("DROP TABLE audit")
    other.close()


def test_an_open_fleet_takes_in_whoever_has_not_been_rejected(path: Path) -> None:
    office = Office(path, Mode.OPEN)
    office.decide("north/pi-2", approved=False)
    assert [office.admits(name) for name in ("north/pi-1", "north/pi-2")] == [True, False]


@pytest.mark.parametrize("mode", [Mode.LIST, Mode.APPROVE])
def test_a_list_names_devices_or_has_stars_for_parts_of_names(path: Path, mode: Mode) -> None:
    office = Office(path, mode, "north/*", "*/gate-*", "south/pi-7")
    for name in ("north/pi-1", "west/gate-1", "south/pi-7"):
        assert office.admits(name), name
    for name in ("northern/pi-1", "west/pi-7", "south/pi-77", "south/xpi-7"):
        assert not office.admits(name), name


def test_an_empty_list_takes_in_nobody(path: Path) -> None:
    office = Office(path, Mode.LIST)
    assert not office.admits("north/pi-1")
    assert office.waiting == {}


def test_an_operators_decision_goes_before_the_list(path: Path) -> None:
    office = Office(path, Mode.LIST, "north/*")
    office.decide("north/pi-1", approved=False)
    office.decide("south/pi-1", approved=True)
    assert [office.admits(name) for name in ("north/pi-1", "south/pi-1")] == [False, True]


def test_a_device_that_nobody_knows_waits_until_it_is_approved(path: Path) -> None:
    office = Office(path)
    assert not office.admits("north/pi-1", NOW)
    assert not office.admits("north/pi-1", NOW + 5)
    assert office.waiting == {"north/pi-1": (NOW, NOW + 5, 2)}
    office.decide("north/pi-1", approved=True)
    assert office.admits("north/pi-1")
    assert office.waiting == {}


def test_a_rejected_device_waits_no_longer_and_is_to_be_forgotten(path: Path) -> None:
    office = Office(path)
    office.admits("north/pi-1")
    office.decide("north/pi-1", approved=False)
    assert not office.admits("north/pi-1")
    assert office.waiting == {}
    assert office.forgotten == office.enrolment.rejected == [("north", "pi-1")]


def test_a_decision_that_is_taken_back_leaves_the_device_waiting(path: Path) -> None:
    office = Office(path)
    office.decide("north/pi-1", approved=False)
    assert office.enrolment.forget("north", "pi-1", who="bob")
    assert not office.enrolment.forget("north", "pi-1", who="bob")
    office.admits("north/pi-1")
    assert list(office.waiting) == ["north/pi-1"]


def test_decisions_outlast_a_restart(path: Path) -> None:
    before = Office(path)
    before.decide("north/pi-1", approved=True)
    before.decide("north/pi-2", approved=False)
    before.decide("north/pi-3", approved=True)
    before.enrolment.forget("north", "pi-3", who="ann")
    before.store.close()
    office = Office(path)
    assert [office.admits(f"north/pi-{number}") for number in (1, 2, 3)] == [True, False, False]
    assert office.enrolment.decided == before.enrolment.decided


def test_every_change_is_in_the_audit_and_only_changes_are(path: Path) -> None:
    office = Office(path)
    office.decide("north/pi-1", approved=True)
    office.decide("north/pi-1", approved=True)
    office.decide("north/pi-1", approved=False)
    office.enrolment.forget("north", "pi-1", who="bob")
    assert office.lines == [
        ("ann", "enrolment.approve", "north/pi-1"),
        ("ann", "enrolment.reject", "north/pi-1"),
        ("bob", "enrolment.forget", "north/pi-1"),
    ]


def test_a_decision_that_the_disk_refuses_is_none(path: Path) -> None:
    office = Office(path)
    office.admits("north/pi-1")
    break_audit(office.path)
    with pytest.raises(StoreError):
        office.decide("north/pi-1", approved=True)
    assert not office.admits("north/pi-1")
    assert list(office.waiting) == ["north/pi-1"]
    assert office.enrolment.decided == []


def test_the_list_of_those_who_wait_is_short_and_what_finds_no_room_is_counted(path: Path) -> None:
    office = Office(path, most=3)
    for number in range(1, 6):
        assert not office.admits(f"north/pi-{number}", NOW + number)
    assert list(office.waiting) == ["north/pi-1", "north/pi-2", "north/pi-3"]
    assert office.enrolment.without_room == 2
    office.decide("north/pi-5", approved=True)  # whoever knows its name need not wait for it to be shown
    assert office.admits("north/pi-5")


def test_who_has_fallen_silent_makes_room(path: Path) -> None:
    office = Office(path, most=2)
    office.admits("north/pi-1", NOW)
    office.admits("north/pi-2", NOW + 1)
    office.admits("north/pi-1", NOW + 2)
    office.admits("north/pi-3", NOW + SILENT_SECONDS)
    assert "north/pi-3" not in office.waiting
    office.admits("north/pi-3", NOW + SILENT_SECONDS + 1)
    assert list(office.waiting) == ["north/pi-1", "north/pi-3"]


@pytest.mark.parametrize("mode", [Mode.LIST, Mode.APPROVE])
def test_any_number_of_made_up_devices_takes_a_bounded_memory(path: Path, mode: Mode) -> None:
    office = Office(path, mode, "north/*", most=100)
    for number in range(1000):
        office.admits(f"evil/{number}")
    tracemalloc.start()
    try:
        for number in range(1000, 50_000):
            office.admits(f"evil/{number}")
        grown, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert grown < 100_000
    assert len(office.waiting) == (100 if mode is Mode.APPROVE else 0)


def test_an_open_fleet_with_a_list_is_refused() -> None:
    with pytest.raises(ValidationError, match="devices are a list"):
        EnrolmentSettings(devices=("north/*",))


class Api:
    """The routes, for a user of a role."""

    def __init__(self, office: Office) -> None:
        self.role: Role | None = Role.OPERATOR
        app = FastAPI()
        app.include_router(make_router(office.enrolment))
        add_refusals(app)

        @app.middleware("http")
        async def identify(request: Request, call_next):  # type: ignore[no-untyped-def]
            if self.role is not None:
                request.state.identity = Identity("ann", self.role)
            return await call_next(request)

        self.client = TestClient(app)


@pytest.fixture
def office(path: Path) -> Office:
    return Office(path)


@pytest.fixture
def api(office: Office) -> Iterator[Api]:
    api = Api(office)
    with api.client:
        yield api


def test_an_operator_sees_who_waits_and_decides(office: Office, api: Api) -> None:
    office.admits("north/pi-1", NOW + 1)
    assert api.client.get("/api/enrolment").json() == {
        "mode": "approve",
        "waiting": [
            {"site": "north", "device": "pi-1", "first_seen": NOW + 1, "last_seen": NOW + 1, "messages": 1},
        ],
        "without_room": 0,
        "decided": [],
    }
    decision = {"site": "north", "device": "pi-1", "approved": True, "who": "ann", "at": NOW}
    answer = api.client.put("/api/enrolment/north/pi-1", json={"approved": True})
    assert (answer.status_code, answer.json()) == (200, decision)
    shown = api.client.get("/api/enrolment").json()
    assert (shown["waiting"], shown["decided"]) == ([], [decision])
    assert office.admits("north/pi-1")

    assert api.client.put("/api/enrolment/north/pi-1", json={"approved": False}).json()["approved"] is False
    assert not office.admits("north/pi-1")
    assert api.client.delete("/api/enrolment/north/pi-1").status_code == 204
    assert api.client.get("/api/enrolment").json()["decided"] == []


def test_a_viewer_may_look_and_not_decide(office: Office, api: Api) -> None:
    api.role = Role.VIEWER
    assert api.client.get("/api/enrolment").status_code == 200
    assert api.client.put("/api/enrolment/north/pi-1", json={"approved": True}).status_code == 403
    assert api.client.delete("/api/enrolment/north/pi-1").status_code == 403
    api.role = None
    assert api.client.get("/api/enrolment").status_code == 401
    assert office.lines == []


@pytest.mark.parametrize("body", [{}, {"approved": "yes"}, {"approved": 1}, {"approved": True, "also": 1}, []])
def test_a_verdict_is_yes_or_no(office: Office, api: Api, body: object) -> None:
    assert api.client.put("/api/enrolment/north/pi-1", json=body).status_code == 422
    assert office.lines == []


def test_what_can_be_no_devices_name_is_refused(office: Office, api: Api) -> None:
    for name in ("north/pi%201", "north/" + "x" * 65, "n%F6rth/pi-1"):
        assert api.client.put(f"/api/enrolment/{name}", json={"approved": True}).status_code == 422, name
    assert office.lines == []


def test_what_has_not_been_decided_cannot_be_taken_back(api: Api) -> None:
    answer = api.client.delete("/api/enrolment/north/pi-1")
    assert answer.status_code == 404
    assert "north/pi-1" in answer.json()["detail"]


def test_a_disk_that_refuses_is_told(office: Office, api: Api) -> None:
    break_audit(office.path)
    answer = api.client.put("/api/enrolment/north/pi-1", json={"approved": True})
    assert answer.status_code == 503
    assert "operators.db" in answer.json()["detail"]
    assert not office.admits("north/pi-1")
