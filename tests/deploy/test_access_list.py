"""What no access list can promise, and dynamic security can, with a real mosquitto."""

from __future__ import annotations

import base64
import hashlib
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from driftprint.topics import DeviceTopic, device_topic
from tests.brokers import Mosquitto, find_mosquitto, wait_for
from tests.deploy.alerting_programs import DEPLOY
from tests.deploy.peers import Peer

ACL = DEPLOY / "mosquitto/acl"
SERVER, DEVICE, NEIGHBOUR = "driftprint-server", "line-3", "line-4"
GROUP = "$share/ingest/"
STATES = device_topic("+", "+", DeviceTopic.STATE)
END = device_topic("+", "+", DeviceTopic.HEALTH)

Connect = Callable[..., Peer]


def topic(device: str, kind: DeviceTopic) -> str:
    return device_topic("default", device, kind)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Connect]]:
    """Starts a broker with an access list, or with other settings, and gives a way to connect by user name."""
    brokers: list[Mosquitto] = []
    peers: list[Peer] = []

    def started(acl: str = "", *settings: str) -> Connect:
        (tmp_path / "acl").write_text(acl)
        settings = settings or (f"acl_file {tmp_path / 'acl'}",)
        broker = Mosquitto(find_mosquitto(), tmp_path / "mosquitto", settings=settings)
        brokers.append(broker)
        broker.start()

        def connect(name: str, **options: Any) -> Peer:
            peers.append(Peer(broker, None, username=name, client_id=f"{name}-{len(peers)}", **options))
            assert peers[-1].gets_in()
            return peers[-1]

        return connect

    yield started
    for peer in peers:
        peer.close()
    for broker in brokers:
        broker.kill()


def heard_of_ten(server: Peer, device: Peer) -> int:
    """How many of ten messages the server hears as a replica, while somebody else may be in its group."""
    server.listen(END)
    assert all(device.say(topic(DEVICE, DeviceTopic.STATE)) for _ in range(10))
    assert device.say(topic(DEVICE, DeviceTopic.HEALTH))
    wait_for(lambda: topic(DEVICE, DeviceTopic.HEALTH) in server.topics(), what="what it says last")
    return len(server.live()) - 1


@pytest.mark.parametrize(
    "rules",
    [
        "",
        "user line-4\ntopic deny $share/#",
        f"user line-4\ntopic deny {GROUP}{STATES}",
        f"user line-4\ntopic deny {STATES}",
        "user line-4\ntopic deny #",
        "pattern deny $share/#",
    ],
)
def test_no_rule_keeps_a_device_that_knows_its_name_out_of_a_group(start: Callable[..., Connect], rules: str) -> None:
    """So the name is a secret, as docs/scaling.md says. Who joins hears nothing, and takes turns all the same."""
    connect = start(f"{ACL.read_text()}\n{rules}\n")
    server, intruder = connect(SERVER), connect(NEIGHBOUR)
    assert server.listen(GROUP + STATES)
    assert intruder.listen(GROUP + STATES), "granted, whatever the rules say"
    assert heard_of_ten(server, connect(DEVICE)) == 5
    assert intruder.heard == []


def test_dynamic_security_does(start: Callable[..., Connect], tmp_path: Path) -> None:
    plugin = next(Path("/usr/lib").glob("*/mosquitto_dynamic_security.so"), None)
    if plugin is None:
        pytest.skip("mosquitto's dynamic security is not installed")
    config = tmp_path / "dynamic-security.json"
    config.write_text(json.dumps(dynamic_security()))
    connect = start("", f"plugin {plugin}", f"plugin_opt_config_file {config}")
    server, intruder = connect(SERVER, password=SERVER), connect(NEIGHBOUR, password=NEIGHBOUR)
    assert server.listen(GROUP + STATES)
    assert not intruder.listen(GROUP + STATES)
    assert heard_of_ten(server, connect(DEVICE, password=DEVICE)) == 10


def dynamic_security() -> dict[str, Any]:
    """Its file: a server that may join the group, and devices that may speak and join nothing. Names are passwords."""
    rules: dict[str, dict[str, tuple[str, ...]]] = {
        SERVER: {"subscribePattern": (GROUP + "#", END), "publishClientReceive": ("#",)},
        DEVICE: {"publishClientSend": ("#",)},
        NEIGHBOUR: {"publishClientSend": ("#",)},
    }
    denied = dict.fromkeys(("publishClientSend", "publishClientReceive", "subscribe", "unsubscribe"), False)
    return {
        "defaultACLAccess": denied,
        "clients": [_client(name) for name in rules],
        "roles": [{"rolename": name, "acls": list(_acls(allowed))} for name, allowed in rules.items()],
    }


def _client(name: str) -> dict[str, Any]:
    salt, iterations = os.urandom(12), 101
    key = hashlib.pbkdf2_hmac("sha512", name.encode(), salt, iterations)
    secret = {"password": base64.b64encode(key).decode(), "salt": base64.b64encode(salt).decode()}
    return {"username": name, "iterations": iterations, "roles": [{"rolename": name}], **secret}


def _acls(allowed: dict[str, tuple[str, ...]]) -> Iterator[dict[str, Any]]:
    for kind, topics in allowed.items():
        for one in topics:
            yield {"acltype": kind, "topic": one, "priority": 0, "allow": True}
