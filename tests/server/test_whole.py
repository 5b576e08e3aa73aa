"""The whole server's API against its own OpenAPI document, and what browsers get that go astray."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import httpx
import pytest
from starlette.types import ASGIApp

from driftprint.clock import SystemClock
from driftprint_server.access.identity import Role
from driftprint_server.access.tables import operators_path
from driftprint_server.access.tokens import Tokens
from driftprint_server.audit import Audit
from driftprint_server.config import ServerSettings
from driftprint_server.operators import OperatorStore
from driftprint_server.server import Server
from tests.brokers import Mosquitto, free_port, wait_for
from tests.bundles import make_bundle
from tests.server.history.contract import check_contract
from tests.server.messages import alert, health, state, window
from tests.server.processes import DeviceClient

HTML = {"Accept": "text/html,application/xhtml+xml"}
ALERT = f"{2:032x}"

UNSAID = (
    "stages: must ascend",  # JSON Schema knows no order
    "a device is named together with its site",  # either may be null, too
    "neither a folder nor a whole zip file",  # of what is inside a file it knows nothing
)
"""Rules that no JSON Schema can say."""


@dataclass(frozen=True)
class Whole:
    """A running server within the test.

    Attributes:
        url: where it serves.
        app: its application.
        token: of an operator.
    """

    url: str
    app: ASGIApp
    token: str

    @property
    def headers(self) -> dict[str, str]:
        """By which the operator is known."""
        return {"Authorization": f"Bearer {self.token}"}

    def client(self) -> httpx.Client:
        """The operator."""
        return httpx.Client(base_url=self.url, headers=self.headers, timeout=60)


@pytest.fixture
def whole(mosquitto: Mosquitto, tmp_path: Path, connect: Callable[..., DeviceClient]) -> Iterator[Whole]:
    """The server with all of its parts, and two devices with an alert each."""
    bundles = tmp_path / "bundles"
    bundles.mkdir()
    for version in (1, 2):
        make_bundle(bundles / f"toy-{version}.driftprint", version=version, zipped=True)
    port = free_port()
    settings = ServerSettings.model_validate(
        {
            "mqtt": {"port": mosquitto.port},
            "http": {"port": port},
            "store": {"path": tmp_path / "server.db"},
            "enrolment": {"mode": "approve", "devices": ["north/*"]},
            "rollout": {"bundles": bundles},
            "history": {"thumbnails": True},
        }
    )
    server = Server(settings, clock=SystemClock())
    with closing(OperatorStore(operators_path(settings.store.path))) as store:
        clock = SystemClock()
        tokens = Tokens(store, audit=Audit(store, clock), clock=clock)
        token = tokens.add("contract", Role.OPERATOR, who="test")
    stop = threading.Event()
    thread = threading.Thread(target=server.run, args=(stop,), daemon=True)
    thread.start()
    whole = Whole(f"http://127.0.0.1:{port}", cast("ASGIApp", server.app), token)
    wait_for(lambda: not server.problems(), what="a healthy server")
    for number in (1, 2):
        device = connect(device=f"pi-{number}")
        names: dict[str, Any] = {"device": f"pi-{number}"}
        device.send(state(**names), health(**names), window(1, **names), alert(2, number=number, **names))
        device.wait_for_acks([1, 2])
    stranger = connect(site="south", device="new")
    stranger.send(window(1, site="south", device="new"))
    yield whole
    stop.set()
    thread.join(60)


def test_the_api_does_what_its_openapi_document_says(whole: Whole) -> None:
    with whole.client() as admin:
        started = admin.post("/api/rollouts", json={"bundle": "toy-2", "site": "north", "stream": "belt"})
        assert started.status_code == 201, started.text
        known = {
            "site": "north",
            "device": "pi-1",
            "alert_id": ALERT,
            "number": "0",
            "rollout_id": started.json()["id"],
        }
    no_end = "fleet/events$"
    operations = check_contract(
        whole.app,
        paths=rf"^/api/(?!{no_end})",
        headers=whole.headers,
        known=known,
        unsaid=UNSAID,
        examples=25,
    )
    assert operations > 25


def test_every_operation_says_how_it_may_be_refused(whole: Whole) -> None:
    with whole.client() as admin:
        paths = admin.get("/openapi.json").json()["paths"]
    for path, methods in paths.items():
        for method, operation in methods.items():
            if path.startswith("/api/"):
                refused = {status: told for status, told in operation["responses"].items() if status >= "400"}
                assert {"400", "401", "403", "421", "422", "429", "503"} <= set(refused), (method, path)
                for told in refused.values():
                    schema = told["content"]["application/json"]["schema"]
                    assert schema["required"] == ["detail"]
                    assert schema["properties"]["detail"]["type"] == "string"


def test_every_operation_but_the_log_in_says_by_what_one_is_known(whole: Whole) -> None:
    with whole.client() as admin:
        document = admin.get("/openapi.json").json()
    schemes = document["components"]["securitySchemes"]
    assert (schemes["token"]["type"], schemes["token"]["scheme"]) == ("http", "bearer")
    assert (schemes["session"]["in"], schemes["session"]["name"]) == ("cookie", "driftprint_session")
    opened = {
        f"{method} {path}"
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
        if operation.get("security") != [{"token": []}, {"session": []}]
    }
    assert opened == {"post /api/session", "get /healthz"}


def test_whatever_is_wrong_is_said_in_a_sentence(whole: Whole) -> None:
    with whole.client() as admin:
        for method, path, body in (
            ("GET", "/api/fleet/streams?limit=0", None),
            ("GET", "/api/history/alerts?limit=0", None),
            ("GET", "/api/audit?limit=0", None),
            ("PUT", "/api/enrolment/north/pi-1", {}),
            ("PUT", f"/api/alerts/{ALERT}/mute", {"seconds": 0}),
            ("POST", "/api/rollouts", {"bundle": "toy-2", "stages": [50, 10]}),
            ("POST", "/api/session", {"name": "ann"}),
        ):
            answer = admin.request(method, path, json=body)
            assert answer.status_code == 422, (method, path)
            assert isinstance(answer.json()["detail"], str), (method, path)
        no_type = admin.post("/api/rollouts", content=b"{}")
        assert "Content-Type: application/json" in no_type.json()["detail"]


def test_a_whole_number_may_be_written_as_json_allows(whole: Whole) -> None:
    with whole.client() as admin:
        asked = {"bundle": "toy-2", "site": "north", "stream": "belt"}
        begun = admin.post("/api/rollouts", json=asked | {"stages": [10.0, 100.0]}).json()
        assert begun["stages"] == [10, 100]
        widen = f"/api/rollouts/{begun['id']}/widen"
        for wrong in (50.5, True, "50", 1e300):
            assert admin.post(widen, json={"percent": wrong}).status_code == 422, wrong
        widened = admin.post(widen, json={"percent": 50.0, "revision": float(begun["revision"])})
        assert (widened.status_code, widened.json()["percent"]) == (200, 50)


def test_head_is_answered_as_get_without_the_body(whole: Whole) -> None:
    with whole.client() as admin:
        for path in ("/", "/login", "/healthz", "/metrics", "/rollouts", "/static/app.js", "/api/fleet"):
            head, get = admin.head(path, follow_redirects=True), admin.get(path, follow_redirects=True)
            assert (head.status_code, head.content) == (200, b""), path
            assert head.headers["content-type"] == get.headers["content-type"]
        endless = admin.head("/api/fleet/events")
        assert endless.headers["content-type"].startswith("text/event-stream")
        assert admin.head("/api/nothing").status_code == 404
    assert httpx.head(f"{whole.url}/api/fleet").status_code == 401


def test_programs_that_go_astray_are_told_so_in_a_sentence(whole: Whole) -> None:
    with whole.client() as admin:
        missing = admin.get("/api/fleets", headers=HTML)
        assert (missing.status_code, missing.headers["content-type"]) == (404, "application/json")
        assert "there is nothing at /api/fleets" in missing.json()["detail"]
        wrong = admin.patch("/api/session")
        assert (wrong.status_code, wrong.headers["allow"]) == (405, "DELETE, GET, HEAD, POST")
        assert wrong.json()["detail"] == "PATCH does nothing at /api/session; it takes DELETE, GET, HEAD, POST"
        assert admin.post("/static/app.js").headers["allow"] == "GET, HEAD"


def test_people_who_go_astray_are_shown_a_page(whole: Whole) -> None:
    with whole.client() as admin:
        for path in ("/devices/%3Cscript%3E", "/static/nothing.js"):
            missing = admin.get(path, headers=HTML)
            assert missing.status_code == 404
            assert missing.headers["content-type"].startswith("text/html")
            assert 'href="/"' in missing.text
            assert "<script>" not in missing.text
            assert "default-src 'none'" in missing.headers["content-security-policy"]
