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
from starlette.types import ASGIApp, Receive, Scope, Send

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


@dataclass(frozen=True)
class Whole:
    """A running server within the test.

    Attributes:
        url: where it serves.
        app: its application, as whoever bears `token` sees it.
        token: of an operator.
    """

    url: str
    app: ASGIApp
    token: str

    def client(self) -> httpx.Client:
        """The operator."""
        return httpx.Client(base_url=self.url, headers={"Authorization": f"Bearer {self.token}"}, timeout=60)


def bearing(token: str, app: ASGIApp) -> ASGIApp:
    """An application that is asked by whoever bears a token alone, and by its own name."""
    ours = [(b"authorization", f"Bearer {token}".encode()), (b"host", b"localhost")]

    async def ask(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            others = [header for header in scope["headers"] if header[0] not in (b"authorization", b"host")]
            scope = {**scope, "headers": [*others, *ours]}
        await app(scope, receive, send)

    return ask


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
    app = cast("ASGIApp", server.app)
    whole = Whole(f"http://127.0.0.1:{port}", bearing(token, app), token)
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
    assert check_contract(whole.app, paths=rf"^/api/(?!{no_end})", known=known, examples=25) > 25


def test_every_operation_says_how_it_may_be_refused(whole: Whole) -> None:
    with whole.client() as admin:
        paths = admin.get("/openapi.json").json()["paths"]
    for path, methods in paths.items():
        for method, operation in methods.items():
            if path.startswith("/api/"):
                assert {"400", "401", "403", "421", "429", "503"} <= set(operation["responses"]), (method, path)


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
