"""Who gets past, and to where."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Callable

import httpx
import pytest
from fastapi import FastAPI
from starlette.types import Message

from driftprint.errors import ConfigError
from driftprint_server.access.doorkeeper import REMEMBERED_SECONDS, TRIES_OF_A_NAME
from driftprint_server.access.identity import Role
from driftprint_server.access.middleware import AccessControl
from driftprint_server.access.settings import AccessSettings, check_open
from tests.server.access.site import ANN, HTML, VERA, Site

OPEN = [
    "/healthz",
    "/login",
    "/static/some.css",
    "/bundles/capability/parts-1.driftprint",
    "/metrics",
    "/metrics/fleet",
]


def basic(name: str, password: str) -> dict[str, str]:
    return {"authorization": "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode()}


def bearer(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}


@pytest.mark.parametrize("path", OPEN)
def test_some_paths_are_open_to_all(site: Site, path: str) -> None:
    assert site.client().get(path).status_code == 200


@pytest.mark.parametrize(
    "path", ["/", "/api/fleet", "/api/unguarded", "/api/session", "/api/audit", "/openapi.json", "/nowhere", "/loginx"]
)
def test_everything_else_asks_for_a_log_in(site: Site, path: str) -> None:
    answer = site.client().get(path)
    assert answer.status_code == 401
    assert "log in first" in answer.json()["detail"]
    assert answer.headers["content-security-policy"]


@pytest.mark.parametrize("path", ["/static/../api/unguarded", "/static/%2e%2e/api/unguarded", "//api/unguarded"])
def test_no_spelling_of_a_path_gets_around_that(site: Site, path: str) -> None:
    assert "forgotten" not in site.client().get(httpx.URL(site.url).copy_with(raw_path=path.encode())).text


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
@pytest.mark.parametrize("path", ["/login", "/static/some.css", "/bundles/x/y", "/metrics", "/api/unguarded"])
def test_nobody_changes_anything_without_a_log_in(site: Site, method: str, path: str) -> None:
    assert site.client().request(method, path).status_code == 401


def test_a_page_leads_to_the_log_in_and_from_there_back(site: Site) -> None:
    client = site.client()
    answer = client.get("/?site=north&bundle=a/b", headers=HTML)
    assert (answer.status_code, answer.headers["location"]) == (303, "/login?next=%2F%3Fsite%3Dnorth%26bundle%3Da%2Fb")
    assert "Log in" in client.get(answer.headers["location"]).text
    logged_in = site.client(ANN).get(answer.headers["location"])
    assert (logged_in.status_code, logged_in.headers["location"]) == (303, "/?site=north&bundle=a/b")


@pytest.mark.parametrize("next", ["//evil.example", "https://evil.example", "/\\evil.example", "/\t/evil.example", ""])
def test_the_log_in_leads_nowhere_else(site: Site, next: str) -> None:
    assert site.client(ANN).get("/login", params={"next": next}).headers["location"] == "/"


def test_a_link_from_elsewhere_is_followed_by_a_page_of_ours_so_that_the_browser_sends_its_cookie(site: Site) -> None:
    answer = site.client().get("/", headers={**HTML, "sec-fetch-site": "cross-site"})
    assert answer.status_code == 200
    assert '<meta http-equiv="refresh" content="0">' in answer.text
    again = site.client().get("/", headers={**HTML, "sec-fetch-site": "same-origin"})
    assert again.status_code == 303


def test_a_viewer_looks_and_does_not_act(site: Site) -> None:
    vera = site.client(VERA)
    assert vera.get("/api/fleet").json() == "vera"
    for refused in (vera.put("/api/thing"), vera.post("/api/unguarded")):
        assert refused.status_code == 403
        assert "vera may look, not act" in refused.json()["detail"]
    assert site.acted == []
    assert vera.delete("/api/session").status_code == 204


def test_an_operator_acts(site: Site) -> None:
    assert site.client(ANN).put("/api/thing").status_code == 200
    assert site.acted == ["ann"]


@pytest.mark.parametrize("csrf", [None, "", "0" * 64, "other"])
def test_without_the_right_csrf_token_a_session_changes_nothing(site: Site, csrf: str | None) -> None:
    ann = site.client(ANN)
    del ann.headers["x-csrf-token"]
    other = site.client(ANN).headers["x-csrf-token"]
    headers = {} if csrf is None else {"x-csrf-token": other if csrf == "other" else csrf}
    for answer in (ann.put("/api/thing", headers=headers), ann.delete("/api/session", headers=headers)):
        assert answer.status_code == 403
        assert "X-CSRF-Token" in answer.json()["detail"]
    assert site.acted == []
    assert ann.get("/api/fleet").status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
    ],
)
def test_pages_of_other_sites_change_nothing_and_log_nobody_in(site: Site, headers: dict[str, str]) -> None:
    assert site.client(ANN).put("/api/thing", headers=headers).status_code == 403
    assert site.client().post("/api/session", json=ANN, headers=headers).status_code == 403
    assert site.acted == []


def test_our_own_page_does(site: Site) -> None:
    headers = {"origin": site.url, "sec-fetch-site": "same-origin"}
    assert site.client(ANN).put("/api/thing", headers=headers).status_code == 200


def test_a_token_acts_by_its_role_and_needs_no_csrf_token(site: Site) -> None:
    operator = site.gate.tokens.add("script", Role.OPERATOR, who="test")
    viewer = site.gate.tokens.add("prometheus", Role.VIEWER, who="test")
    client = site.client()
    assert client.get("/api/session", headers=bearer(viewer)).json() == {
        "name": "token prometheus",
        "role": "viewer",
        "csrf": "",
        "login": True,
    }
    assert client.put("/api/thing", headers=bearer(viewer)).status_code == 403
    assert client.put("/api/thing", headers=bearer(operator)).status_code == 200
    assert site.acted == ["token script"]
    assert client.delete("/api/session", headers=bearer(operator)).status_code == 409


def test_a_token_ends_with_its_days_and_when_it_is_removed(site: Site) -> None:
    token = site.gate.tokens.add("short", Role.VIEWER, who="test", days=1)
    lasting = site.gate.tokens.add("lasting", Role.VIEWER, who="test")
    client = site.client()
    assert client.get("/api/fleet", headers=bearer(token)).status_code == 200
    site.clock.wall += 86_400
    assert client.get("/api/fleet", headers=bearer(token)).status_code == 401
    assert client.get("/api/fleet", headers=bearer(lasting)).status_code == 200
    site.gate.tokens.remove("lasting", who="test")
    assert client.get("/api/fleet", headers=bearer(lasting)).status_code == 401


def test_when_a_token_was_last_used_is_known(site: Site) -> None:
    token = site.gate.tokens.add("prometheus", Role.VIEWER, who="test")
    assert [one.used_at for one in site.gate.tokens.all()] == [None]
    site.clock.wall += 100
    site.client().get("/api/fleet", headers=bearer(token))
    assert [one.used_at for one in site.gate.tokens.all()] == [site.clock.wall]


@pytest.mark.parametrize("value", ["Bearer", "Bearer nonsense", "Basic", "Basic !!", "Basic bm8=", "Digest x"])
def test_what_is_no_token_is_refused_even_with_a_session_beside_it(site: Site, value: str) -> None:
    assert site.client(ANN).get("/api/fleet", headers={"authorization": value}).status_code == 401


def test_metrics_can_be_closed_and_open_to_tokens_and_passwords(make_site: Callable[..., Site]) -> None:
    site = make_site(AccessSettings(metrics="login"))
    token = site.gate.tokens.add("prometheus", Role.VIEWER, who="test")
    client = site.client()
    for path in ("/metrics", "/metrics/fleet"):
        refused = client.get(path)
        assert (refused.status_code, refused.headers["www-authenticate"]) == (401, 'Basic realm="driftprint"')
        for headers in (bearer(token), basic("prometheus", token), basic(**VERA)):
            assert client.get(path, headers=headers).status_code == 200


def test_a_password_with_every_request_is_looked_up_and_holds_no_longer_than_it_is_the_users(site: Site) -> None:
    client = site.client()
    assert client.get("/api/fleet", headers=basic(**VERA)).json() == "vera"
    # Remembered: for none of these is a try needed.
    for _ in range(TRIES_OF_A_NAME):
        client.get("/api/fleet", headers=basic("vera", "guess guess guess"))
    assert client.get("/api/fleet", headers=basic("vera", "guess guess guess")).status_code == 429
    assert client.get("/api/fleet", headers=basic(**VERA)).status_code == 200
    site.gate.users.set_password("vera", "another to look", who="test")
    assert client.get("/api/fleet", headers=basic(**VERA)).status_code != 200
    site.clock.wall += REMEMBERED_SECONDS
    assert client.get("/api/fleet", headers=basic(**VERA)).status_code == 401
    assert client.get("/api/fleet", headers=basic("vera", "another to look")).status_code == 200
    site.gate.users.remove("vera", who="test")
    assert client.get("/api/fleet", headers=basic("vera", "another to look")).status_code == 401


def test_basic_is_for_reading_since_a_browser_sends_it_for_any_site(site: Site) -> None:
    answer = site.client().put("/api/thing", headers=basic(**ANN))
    assert answer.status_code == 403
    assert "Bearer" in answer.json()["detail"]
    assert site.acted == []


def test_events_stream_through_and_end_with_the_session(site: Site) -> None:
    ann = site.client(ANN)
    with ann.stream("GET", "/api/fleet/events") as response:
        chunks = response.iter_raw()
        assert b"heartbeat" in next(chunks)
        assert b"heartbeat" in next(chunks)
        assert (
            site.client().delete("/api/session", headers=dict(ann.headers) | {"cookie": cookie_header(ann)}).is_success
        )
        for _ in chunks:
            pass
    assert ann.get("/api/fleet/events").status_code == 401


def cookie_header(client: httpx.Client) -> str:
    return "; ".join(f"{cookie.name}={cookie.value}" for cookie in client.cookies.jar)


def test_events_end_when_the_user_is_removed(site: Site) -> None:
    with site.client(VERA).stream("GET", "/api/fleet/events") as response:
        chunks = response.iter_raw()
        next(chunks)
        site.gate.users.remove("vera", who="test")
        for _ in chunks:
            pass


def test_without_a_login_everybody_acts(make_site: Callable[..., Site]) -> None:
    site = make_site(AccessSettings(login=False, metrics="login"))
    client = site.client()
    assert client.get("/", headers=HTML).json() == "the page"
    assert client.get("/metrics").status_code == 200
    assert client.get("/api/session").json() == {"name": "anyone", "role": "operator", "csrf": "", "login": False}
    assert client.put("/api/thing").status_code == 200
    assert client.post("/api/session", json=ANN).status_code == 409
    assert client.delete("/api/session").status_code == 409
    assert client.get("/login").headers["location"] == "/"
    with client.stream("GET", "/api/fleet/events") as response:
        assert b"heartbeat" in next(response.iter_raw())


def test_without_a_login_no_strangers_name_leads_here_and_no_strangers_page_acts(
    make_site: Callable[..., Site],
) -> None:
    site = make_site(AccessSettings(login=False, allowed_hosts=("Fleet.example",)))
    client = site.client()
    for host in ("evil.example", "evil.example:8466", "127.0.0.1.evil.example", ""):
        assert client.get("/api/fleet", headers={"host": host}).status_code == 421
    for host in ("localhost:1", "127.0.0.1", "[::1]:8466", "fleet.EXAMPLE:443", "fleet.example."):
        assert client.get("/api/fleet", headers={"host": host}).status_code == 200
    assert client.get("/healthz", headers={"host": "evil.example"}).status_code == 200
    assert client.put("/api/thing", headers={"origin": "https://evil.example"}).status_code == 403


def test_with_a_login_any_name_will_do_unless_they_are_named(make_site: Callable[..., Site]) -> None:
    assert make_site().client().get("/login", headers={"host": "any.example"}).status_code == 200


def test_names_that_are_named_are_all(make_site: Callable[..., Site]) -> None:
    site = make_site(AccessSettings(allowed_hosts=("fleet.example",)))
    assert site.client().get("/login", headers={"host": "any.example"}).status_code == 421
    assert site.client().get("/login", headers={"host": "fleet.example"}).status_code == 200


@pytest.mark.parametrize("login", [True, False])
def test_a_device_fetches_a_bundle_by_whatever_name_it_calls_the_server(
    make_site: Callable[..., Site], login: bool
) -> None:
    client = make_site(AccessSettings(login=login, allowed_hosts=("fleet.example",))).client()
    elsewhere = {"host": "10.0.0.7:8466"}
    assert client.get("/bundles/capability/parts-1.driftprint", headers=elsewhere).status_code == 200
    assert client.put("/bundles/capability/parts-1.driftprint", headers=elsewhere).status_code == 421
    assert client.get("/bundles/../api/unguarded", headers=elsewhere).status_code in (404, 421)


def test_a_proxy_that_changes_the_host_is_fine_where_its_name_is_allowed(make_site: Callable[..., Site]) -> None:
    site = make_site(AccessSettings(allowed_hosts=("fleet.example",)))
    headers = {"origin": "https://fleet.example:8443", "host": "127.0.0.1:8466"}
    assert site.client(ANN).put("/api/thing", headers=headers).status_code == 200


def test_no_login_and_others_can_reach_it_is_an_error_that_teaches() -> None:
    check_open(AccessSettings(), "0.0.0.0")
    for host in ("127.0.0.1", "::1", "localhost"):
        check_open(AccessSettings(login=False), host)
    for host in ("0.0.0.0", "::", "fleet.example", "192.0.2.7"):
        with pytest.raises(ConfigError, match=r'access.login: .*; leave it true, or set host = "127.0.0.1"'):
            check_open(AccessSettings(login=False), host)


def test_a_store_that_cannot_be_read_lets_nobody_in_and_says_so(site: Site) -> None:
    ann = site.client(ANN)
    with site.store.transaction() as db:
        db.execute("DROP TABLE sessions")
    answer = ann.get("/api/fleet")
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
    assert site.client().get("/metrics").status_code == 200


def test_there_are_no_websockets(site: Site) -> None:
    sent: list[Message] = []

    async def receive() -> Message:
        raise AssertionError

    async def send(message: Message) -> None:
        sent.append(message)

    asyncio.run(AccessControl(FastAPI(), gate=site.gate)({"type": "websocket", "path": "/api/fleet"}, receive, send))
    assert sent == [{"type": "websocket.close", "code": 1008}]
