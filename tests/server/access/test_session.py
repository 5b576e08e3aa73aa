"""Logging in and out, over HTTP."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from driftprint_server.access.doorkeeper import TRIES_OF_A_NAME, TRIES_OF_AN_ADDRESS, TRY_SECONDS
from driftprint_server.access.gate import Gate
from driftprint_server.access.identity import Identity, Role
from driftprint_server.access.middleware import MOST_LOGIN_BYTES
from driftprint_server.access.sessions import MOST_OF_ONE_USER
from driftprint_server.access.settings import AccessSettings
from driftprint_server.audit import Audit
from driftprint_server.operators import OperatorStore
from tests.server.access.site import ANN, VERA, Site

WRONG = {"name": "ann", "password": "incorrect horse"}


def cookie_of(client: httpx.Client) -> str:
    (cookie,) = client.cookies.jar
    assert cookie.value is not None
    return cookie.value


def test_who_logs_in_is_known_from_then_on(site: Site) -> None:
    client = site.client()
    answer = client.post("/api/session", json=ANN)
    assert answer.status_code == 200
    csrf = answer.json()["csrf"]
    assert answer.json() == {"name": "ann", "role": "operator", "csrf": csrf, "login": True}
    assert len(csrf) == 64
    assert client.get("/api/session").json() == answer.json()
    assert client.get("/api/fleet").json() == "ann"
    assert ("ann", "session.start", "ann") in site.actions()


def test_the_cookie_is_for_this_site_and_no_script(site: Site) -> None:
    said = site.client().post("/api/session", json=ANN).headers["set-cookie"]
    attributes = {part.strip().lower() for part in said.split(";")[1:]}
    assert {"httponly", "samesite=strict", "path=/", "max-age=604800"} <= attributes
    assert not any(attribute.startswith("domain") for attribute in attributes)


def test_behind_a_proxy_with_tls_the_cookie_is_for_tls_alone(site: Site) -> None:
    said = site.client().post("/api/session", json=ANN, headers={"x-forwarded-proto": "https"}).headers["set-cookie"]
    assert said.startswith("__Host-driftprint_session=")
    assert "secure" in {part.strip().lower() for part in said.split(";")}


def test_a_wrong_password_and_an_unknown_name_get_the_same_answer(site: Site) -> None:
    wrong = site.client().post("/api/session", json=WRONG)
    unknown = site.client().post("/api/session", json={"name": "nobody", "password": "whatever it was"})
    assert wrong.status_code == unknown.status_code == 401
    assert wrong.json() == unknown.json()
    assert "driftprint users password" in wrong.json()["detail"]
    assert "set-cookie" not in wrong.headers


def test_a_failed_log_in_is_in_the_audit_but_not_what_was_typed_as_a_name(site: Site) -> None:
    site.client().post("/api/session", json=WRONG)
    site.client().post("/api/session", json={"name": "my-password-by-mistake", "password": "ann"})
    refused = [target for _, action, target in site.actions() if action == "session.refuse"]
    assert refused == ["ann", "unknown"]
    assert site.audit.lines(limit=1)[0].detail["address"] == "127.0.0.1"


def test_a_session_id_that_was_there_before_log_in_is_worth_nothing_after_it(site: Site) -> None:
    planted = "chosen-by-an-attacker"
    victim = site.client()
    victim.cookies.set("driftprint_session", planted)
    answer = victim.post("/api/session", json=ANN)
    assert planted not in answer.headers["set-cookie"]
    attacker = site.client()
    attacker.cookies.set("driftprint_session", planted)
    assert attacker.get("/api/fleet").status_code == 401


def test_logging_in_anew_ends_the_former_session(site: Site) -> None:
    client = site.client(ANN)
    former = cookie_of(client)
    client.post("/api/session", json=VERA)
    assert cookie_of(client) != former
    other = site.client()
    other.cookies.set("driftprint_session", former)
    assert other.get("/api/fleet").status_code == 401


def test_logging_out_ends_the_session_and_takes_the_cookie_away(site: Site) -> None:
    client = site.client(ANN)
    kept = cookie_of(client)
    assert client.delete("/api/session").status_code == 204
    assert not list(client.cookies.jar)
    client.cookies.set("driftprint_session", kept)
    assert client.get("/api/fleet").status_code == 401
    assert site.actions()[-1] == ("ann", "session.end", "ann")


def test_an_idle_session_ends_and_a_used_one_does_not(site: Site) -> None:
    used, idle = site.client(ANN), site.client(ANN)
    for _ in range(3):
        site.clock.wall += 6 * 3600
        assert used.get("/api/fleet").status_code == 200
    assert idle.get("/api/fleet").status_code == 401


def test_a_session_ends_a_week_after_log_in_however_much_it_is_used(site: Site) -> None:
    client = site.client(ANN)
    for _ in range(27):
        site.clock.wall += 6 * 3600
        assert client.get("/api/fleet").status_code == 200
    site.clock.wall += 6 * 3600
    assert client.get("/api/fleet").status_code == 401


def test_another_password_ends_all_sessions_of_the_user_and_nobody_elses(site: Site) -> None:
    ann, vera = site.client(ANN), site.client(VERA)
    site.gate.users.set_password("ann", "a different password", who="test")
    assert ann.get("/api/fleet").status_code == 401
    assert vera.get("/api/fleet").status_code == 200


def test_a_removed_user_is_out_at_once_and_stays_out_when_the_name_is_given_again(site: Site) -> None:
    vera = site.client(VERA)
    site.gate.users.remove("vera", who="test")
    assert vera.get("/api/fleet").status_code == 401
    site.gate.users.add("vera", Role.OPERATOR, VERA["password"], who="test")
    assert vera.get("/api/fleet").status_code == 401


def test_a_password_changed_while_it_was_being_checked_starts_no_session(site: Site) -> None:
    login = site.gate.users.login("ann")
    assert login is not None
    site.gate.users.set_password("ann", "a different password", who="test")
    assert site.gate.sessions.start("ann", login.password, address="192.0.2.7") is None


def test_a_user_has_so_many_sessions_at_most(site: Site) -> None:
    login = site.gate.users.login("ann")
    assert login is not None
    secrets = []
    for _ in range(MOST_OF_ONE_USER + 1):
        site.clock.wall += 1
        secrets.append(site.gate.sessions.start("ann", login.password, address="192.0.2.7"))
    known = [secret is not None and site.gate.sessions.find(secret) is not None for secret in secrets]
    assert known == [False] + [True] * MOST_OF_ONE_USER


def test_no_secret_is_in_the_file(site: Site, tmp_path: Path) -> None:
    client = site.client(ANN)
    token = site.gate.tokens.add("prometheus", Role.VIEWER, who="test")
    assert client.get("/api/fleet", headers={"authorization": f"Bearer {token}"}).status_code == 200
    kept = b"".join(path.read_bytes() for path in tmp_path.glob("operators.db*"))
    assert b"prometheus" in kept
    for secret in (ANN["password"], VERA["password"], token, cookie_of(client), client.headers["x-csrf-token"]):
        assert secret.encode() not in kept


def test_sessions_outlast_a_restart_of_the_server(site: Site) -> None:
    secret = cookie_of(site.client(ANN))
    again = OperatorStore(site.path)
    try:
        gate = Gate(AccessSettings(), store=again, audit=Audit(again, site.clock), clock=site.clock)
        found = gate.sessions.find(secret)
    finally:
        again.close()
    assert found == Identity(name="ann", role=Role.OPERATOR)


def test_guessing_one_name_is_slowed_down_from_whatever_address_and_the_owner_need_not_wait_long(site: Site) -> None:
    for number in range(TRIES_OF_A_NAME):
        headers = {"x-forwarded-for": f"192.0.2.{number}"}
        assert site.client().post("/api/session", json=WRONG, headers=headers).status_code == 401
    slowed = site.client().post("/api/session", json=ANN)
    assert slowed.status_code == 429
    assert int(slowed.headers["retry-after"]) == TRY_SECONDS
    assert "try again in 60 s" in slowed.json()["detail"]
    site.clock.wall += TRY_SECONDS
    site.client(ANN)


def test_guessing_many_names_from_one_address_is_slowed_down_for_nobody_else(site: Site) -> None:
    for number in range(TRIES_OF_AN_ADDRESS):
        guess = {"name": f"user-{number}", "password": "password1234"}
        assert site.client().post("/api/session", json=guess).status_code == 401
    assert site.client().post("/api/session", json=ANN).status_code == 429
    assert site.client().post("/api/session", json=ANN, headers={"x-forwarded-for": "192.0.2.7"}).status_code == 200


def test_who_knows_the_password_is_never_slowed_down(site: Site) -> None:
    for _ in range(TRIES_OF_A_NAME + 2):
        site.client(ANN)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b'{"name": "ann"}',
        b'{"name": "ann", "password": 5}',
        b'{"name": "ann", "password": NaN}',
        b'{"name": "ann", "password": "\\ud800"}',
        b'{"name": "ann", "password": "", "\\ud800": 1}',
        b'{"name": "' + b"x" * 65 + b'", "password": "secret secret"}',
    ],
)
def test_what_is_no_name_and_password_is_refused(site: Site, body: bytes) -> None:
    answer = site.client().post("/api/session", content=body, headers={"content-type": "application/json"})
    assert answer.status_code == 422
    assert isinstance(answer.json()["detail"], str)
    assert "secret" not in answer.text


def test_where_the_disk_refuses_nobody_logs_in_and_the_answer_says_why(site: Site) -> None:
    with site.store.transaction() as db:
        db.execute("CREATE TRIGGER full BEFORE INSERT ON sessions BEGIN SELECT RAISE(ABORT, 'disk is full'); END")
    answer = site.client().post("/api/session", json=ANN)
    assert answer.status_code == 503
    assert "disk is full" in answer.json()["detail"]
    assert "set-cookie" not in answer.headers


def test_a_stranger_can_send_no_large_body(site: Site) -> None:
    headers = {"content-type": "application/json"}
    answer = site.client().post("/api/session", content=b" " * (MOST_LOGIN_BYTES + 1), headers=headers)
    assert answer.status_code == 413


def test_the_audit_is_paged_the_newest_first(site: Site) -> None:
    client = site.client(VERA)
    lines = client.get("/api/audit").json()["lines"]
    assert [line["action"] for line in lines] == ["session.start", "user.add", "user.add"]
    older = client.get("/api/audit", params={"limit": 1, "before": lines[0]["line"]}).json()["lines"]
    assert older == [lines[1]]
    assert client.get("/api/audit", params={"limit": 0}).status_code == 422
