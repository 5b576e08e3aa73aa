"""Rollouts of a real server process: killed in the midst of one, and asked for by two operators at once."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.brokers import Mosquitto, wait_for
from tests.server.processes import ServerProcess
from tests.server.rollout.devices import DEVICES, Devices, fleet
from tests.server.rollout.fleets import TOY1, TOY2
from tests.server.webhooks.receiver import HttpReceiver

BODY: dict[str, Any] = {"bundle": "toy-2", "stages": [30, 100], "soak_seconds": 3}


@pytest.fixture
def ten(mosquitto: Mosquitto, tmp_path: Path) -> Iterator[tuple[ServerProcess, Devices]]:
    with fleet(tmp_path, mosquitto) as both:
        yield both


def start(server: ServerProcess, **fields: Any) -> str:
    answer = server.client().post("/api/rollouts", json=BODY | fields)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


def found(server: ServerProcess, rollout: str) -> dict[str, Any]:
    answer: dict[str, Any] = server.get(f"/api/rollouts/{rollout}").json()
    return answer


def kill_and_start(server: ServerProcess) -> None:
    server.kill()
    server.start()


def wait(server: ServerProcess, devices: Devices, condition: Callable[[], object], what: str) -> None:
    def told() -> str:
        return f"{what}\n{ {device: devices.told(device) for device in DEVICES} }\n{server.log}"

    wait_for(condition, what=told)


def test_a_server_that_is_killed_again_and_again_takes_a_rollout_to_its_end_and_tells_each_device_once(
    ten: tuple[ServerProcess, Devices],
) -> None:
    server, devices = ten
    devices.follow = False
    rollout = start(server)
    kill_and_start(server)
    wait(server, devices, lambda: len(devices.told_anything()) == 3, "three to be told")
    first = devices.told_anything()
    kill_and_start(server)
    wait(server, devices, lambda: found(server, rollout)["progress"] == {"told": 3, "waiting": 7}, "the same three")
    assert devices.told_anything() == first

    devices.follow = True
    for device in first:
        devices.run(device, TOY2)
    wait(server, devices, lambda: found(server, rollout)["settled_at"], "the three to run it")
    settled_at = found(server, rollout)["settled_at"]
    kill_and_start(server)
    after = found(server, rollout)
    assert after["settled_at"] == settled_at or after["percent"] == 100, "what it has run well counts on"
    wait(server, devices, lambda: found(server, rollout)["percent"] == 100, "the next stage")
    kill_and_start(server)
    wait(server, devices, lambda: found(server, rollout)["status"] == "done", "the end")
    assert set(devices.runs().values()) == {TOY2}
    assert {device: devices.told(device) for device in DEVICES} == {device: ["toy-2"] for device in DEVICES}
    history = found(server, rollout)["history"]
    assert [step["action"] for step in history] == ["start", "widen", "done"]
    assert history[1]["at"] - settled_at >= BODY["soak_seconds"]


@pytest.mark.parametrize("moment", ["alarms sent", "stopped", "first one told to go back"])
def test_a_stop_is_not_lost_with_a_server_that_is_killed_over_it(
    ten: tuple[ServerProcess, Devices], moment: str
) -> None:
    server, devices = ten
    rollout = start(server)
    wait(server, devices, lambda: found(server, rollout)["progress"] == {"running": 3, "waiting": 7}, "three to run it")
    first = devices.told_anything()
    devices.report(*first, alarms=1)
    if moment == "stopped":
        wait(server, devices, lambda: found(server, rollout)["status"] == "stopped", moment)
    elif moment == "first one told to go back":
        wait(server, devices, lambda: any("back to toy-1" in devices.told(device) for device in first), moment)
    kill_and_start(server)
    wait(server, devices, lambda: found(server, rollout)["progress"] == {"back": 3, "waiting": 7}, "them to be back")
    assert found(server, rollout)["reason"].partition(" ")[2].startswith("alarms in")
    wait(server, devices, lambda: all(devices.told(device)[-1] == "nothing" for device in first), "no command left")
    assert [devices.told(device) for device in first] == [["toy-2", "back to toy-1", "nothing"]] * 3
    assert devices.told_anything() == first
    assert set(devices.runs().values()) == {TOY1}
    lines = server.get("/api/audit").json()["lines"]
    assert [(line["who"], line["action"]) for line in lines] == [
        ("server", "rollout.stop"),
        ("anyone", "rollout.start"),
    ]


def test_a_server_posts_that_a_rollout_has_stopped_and_warns_of_an_address_that_no_device_reaches(
    mosquitto: Mosquitto, tmp_path: Path
) -> None:
    receiver = HttpReceiver()
    receiver.start()
    try:
        with fleet(tmp_path, mosquitto, settings={"[webhook]": f"name = 'ops'\nurl = '{receiver.url}'"}) as (
            server,
            devices,
        ):
            assert "other machines cannot fetch bundles" in server.log
            assert "set public_url in [rollout]" in server.log
            rollout = start(server)
            wait(server, devices, lambda: len(devices.told_anything()) == 3, "three to be told")
            devices.report(*devices.told_anything(), alarms=1)
            wait(server, devices, lambda: receiver.posted, "it to be posted")
            assert receiver.posted[0].json["data"]["rollout"] == rollout
            assert receiver.posted[0].json["type"] == "rollout.stopped"
            left = tmp_path / "bundles" / ".0123456789abcdef.upload"
            left.write_bytes(b"PK and the first half")
            kill_and_start(server)
            assert not left.exists()
            schemas = server.get("/openapi.json").json()["components"]["schemas"]
            assert [name for name in schemas if "__" in name] == []
    finally:
        receiver.stop()


def test_of_two_operators_at_once_exactly_one_wins_and_the_other_is_told_what_to_do(
    mosquitto: Mosquitto, tmp_path: Path
) -> None:
    with fleet(tmp_path, mosquitto, login=True) as (server, _):
        clients = {
            who: server.client(token=server.users("token", "add", who, "--role", "operator")) for who in ("ann", "bob")
        }
        ann = clients["ann"]

        def at_once(path: str, **bodies: dict[str, Any]) -> tuple[str, httpx.Response, httpx.Response]:
            """Who has won, the answer that they got, and the other's."""
            ready = threading.Barrier(2)

            def ask(who: str) -> httpx.Response:
                ready.wait(60)
                return clients[who].post(path, json=bodies[who])

            with ThreadPoolExecutor(2) as pool:
                answers = dict(zip(bodies, pool.map(ask, bodies), strict=True))
            (winner,) = (who for who, answer in answers.items() if answer.is_success)
            (loser,) = (who for who in answers if who != winner)
            return winner, answers[winner], answers[loser]

        acted = []  # by whom, as the audit names tokens
        for _ in range(5):
            winner, begun, refused = at_once("/api/rollouts", ann=BODY, bob={**BODY, "bundle": "toy-3"})
            rollout = begun.json()
            assert refused.status_code == 409
            assert refused.json()["detail"] == (
                f"rollout {rollout['id']} of {rollout['bundle']} is running; stop it first, or let it come to its end"
            )
            acted.append((f"token {winner}", "rollout.start"))
            seen = ann.get(f"/api/rollouts/{rollout['id']}").json()
            stop = {"back": True, "revision": seen["revision"]}
            winner, _, refused = at_once(f"/api/rollouts/{rollout['id']}/stop", ann=stop, bob=stop)
            assert refused.status_code == 409
            assert "has changed meanwhile: it is at revision" in refused.json()["detail"]
            acted.append((f"token {winner}", "rollout.stop"))
        lines = ann.get("/api/audit").json()["lines"]
        assert [
            (line["who"], line["action"]) for line in reversed(lines) if line["action"].startswith("rollout.")
        ] == acted
