"""What deploy/mosquitto promises, its broker with user names and passwords, with a real mosquitto."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from driftprint.topics import DeviceTopic, StreamTopic, device_topic, object_id, stream_topic
from tests.brokers import find_mosquitto, wait_for
from tests.deploy.alerting_programs import DEPLOY
from tests.deploy.deployed_broker import DeployedBroker, add_users
from tests.deploy.peers import SAYING, Peer

SITE = "default"
SERVER, DEVICE, NEIGHBOUR = "driftprint-server", "line-3", "line-4"
REPLICAS = ("driftprint-replica-1", "driftprint-replica-2")
WATCHER, HOUSE, NAMESAKE = "watcher", "house", "pi-7@north"
USERS = (SERVER, DEVICE, NEIGHBOUR, *REPLICAS, WATCHER, HOUSE, NAMESAKE)
SAID_TO_DEVICES = (DeviceTopic.ACK, DeviceTopic.COMMAND)
LISTED = (DEPLOY / "mosquitto/acl").read_text()

Connect = Callable[..., Peer]


def said_by(device: str, *, site: str = SITE) -> list[str]:
    """The topics that a device writes, with a stream "belt"."""
    of_device = [device_topic(site, device, kind) for kind in DeviceTopic if kind not in SAID_TO_DEVICES]
    return of_device + [stream_topic(site, device, "belt", kind) for kind in StreamTopic]


def heard_by(device: str, *, site: str = SITE) -> list[str]:
    return [device_topic(site, device, kind) for kind in SAID_TO_DEVICES]


def state_of(device: str) -> str:
    return device_topic(SITE, device, DeviceTopic.STATE)


def with_examples(rules: str) -> str:
    """The access list with what is commented out in it."""
    return re.sub(r"^# (?=(user|topic) )", "", rules, flags=re.MULTILINE)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[[str], Connect]]:
    """Starts the broker with an access list, and gives a way to connect by user name."""
    etc = tmp_path / "etc"
    shutil.copytree(DEPLOY / "mosquitto", etc, ignore=shutil.ignore_patterns("passwords"))
    add_users(etc / "passwords", [(name, f"of {name}") for name in USERS])
    folder = tmp_path / "mosquitto"
    elsewhere = {
        "/etc/driftprint/mosquitto": str(etc),
        "persistence true": f"persistence true\npersistence_location {folder}/",
    }
    broker = DeployedBroker(find_mosquitto(), folder, etc / "mosquitto.conf", elsewhere)
    peers: list[Peer] = []

    def started(rules: str) -> Connect:
        (etc / "acl").write_text(rules)
        broker.start()

        def connect(name: str, *, gets_in: bool = True, **options: Any) -> Peer:
            options = {"password": f"of {name}", **options}
            peers.append(Peer(broker, None, username=name, **options))
            assert peers[-1].gets_in() is gets_in
            return peers[-1]

        return connect

    yield started
    for peer in peers:
        peer.close()
    broker.kill()


@pytest.fixture
def connect(start: Callable[[str], Connect]) -> Connect:
    """Connects to the broker as we ship it."""
    return start(LISTED)


def test_a_device_writes_its_own_topics_and_the_server_reads_them(connect: Connect) -> None:
    server = connect(SERVER)
    server.listen("driftprint/v1/#")
    device = connect(DEVICE)
    assert all(device.say(topic) for topic in said_by(DEVICE))
    wait_for(lambda: server.live() == [(topic, SAYING) for topic in said_by(DEVICE)], what="all of its topics")


def test_the_server_alone_speaks_to_devices_and_each_hears_its_own(connect: Connect) -> None:
    server, device = connect(SERVER), connect(DEVICE)
    device.listen("#", *heard_by(NEIGHBOUR), *heard_by(DEVICE))
    assert not any(device.say(topic) for topic in heard_by(NEIGHBOUR) + heard_by(DEVICE))
    assert not any(server.say(topic) for topic in said_by(DEVICE))
    assert all(server.say(topic) for topic in heard_by(NEIGHBOUR) + heard_by(DEVICE))
    wait_for(lambda: device.topics() == set(heard_by(DEVICE)), what=lambda: f"its own, got {device.topics()}")


@pytest.mark.parametrize("site", ["site-0", "north", "driftprint", "Default"])
def test_a_device_cannot_make_up_sites_to_be_another_device_at_each(connect: Connect, site: str) -> None:
    device = connect(DEVICE)
    assert [topic for topic in said_by(DEVICE, site=site) if device.say(topic)] == []
    assert device.say(state_of(DEVICE))


def test_a_device_speaks_for_no_other(connect: Connect) -> None:
    device = connect(DEVICE)
    assert [topic for topic in said_by(NEIGHBOUR) if device.say(topic, retain=True)] == []


@pytest.mark.parametrize("victim", [SERVER, REPLICAS[0], NEIGHBOUR])
def test_nobody_is_thrown_out_by_another_who_takes_their_client_id(connect: Connect, victim: str) -> None:
    own_id = f"driftprint-agent-{SITE}-{victim}" if victim == NEIGHBOUR else victim
    server = connect(SERVER)
    server.listen(state_of(NEIGHBOUR))
    there = server if victim == SERVER else connect(victim, client_id=own_id, will=state_of(victim))
    for taken in (own_id, victim):
        attacker = connect(DEVICE, client_id=taken)
        assert attacker.say(state_of(DEVICE))
        attacker.close()
        connect(victim, gets_in=False, client_id=taken, password="of somebody").close()
    assert there.listen("driftprint/v1/#")
    assert (there.losses, server.heard) == (0, [])


def test_replicas_that_have_a_name_each_share_the_messages_of_all_devices(connect: Connect) -> None:
    replicas = [connect(name) for name in REPLICAS]
    assert all(replica.listen("$share/ingest/driftprint/v1/+/+/state") for replica in replicas)
    for name in (DEVICE, NEIGHBOUR):
        device = connect(name)
        assert all(device.say(state_of(name)) for _ in range(5))
    wait_for(lambda: sum(len(replica.heard) for replica in replicas) == 10, what="each message, by one of them")
    assert all(replica.heard for replica in replicas)
    assert all(replica.say(topic) for replica in replicas for topic in heard_by(DEVICE))
    assert [replica.losses for replica in replicas] == [0, 0]


def test_a_device_that_is_gone_is_cleared_by_its_own_name(connect: Connect) -> None:
    assert connect(DEVICE).say(state_of(DEVICE), retain=True)
    assert connect(DEVICE, client_id="mosquitto_pub").say(state_of(DEVICE), b"", retain=True)
    server = connect(SERVER)
    assert connect(NEIGHBOUR).say(state_of(NEIGHBOUR), retain=True)
    server.listen("driftprint/v1/#")
    wait_for(lambda: server.heard, what="what is retained")
    assert server.topics() == {state_of(NEIGHBOUR)}


def test_by_the_examples_home_assistant_finds_a_device_and_a_watcher_looks_on(start: Callable[[str], Connect]) -> None:
    connect = start(with_examples(LISTED))
    watcher, house, device, neighbour = (connect(name) for name in (WATCHER, HOUSE, DEVICE, NEIGHBOUR))
    for reader in (watcher, house, device):
        reader.listen("driftprint/v1/#", "homeassistant/#")
    config = f"homeassistant/device/{object_id(SITE, DEVICE)}/config"
    assert device.say(config, retain=True)
    assert device.say(state_of(DEVICE))
    assert house.say("homeassistant/status")
    wait_for(lambda: house.topics() == {config, state_of(DEVICE), "homeassistant/status"}, what="all of it")
    wait_for(lambda: watcher.topics() == {state_of(DEVICE)}, what="what the device says")
    wait_for(lambda: device.topics() == {"homeassistant/status"}, what="the birth message")
    assert not neighbour.say(config, retain=True)
    assert not any(reader.say(topic) for reader in (watcher, house) for topic in said_by(DEVICE))


def test_another_site_is_the_same_lines_with_its_id(start: Callable[[str], Connect]) -> None:
    patterns = [line for line in LISTED.splitlines() if line.startswith("pattern")]
    north = "\n".join(line.replace(f"/{SITE}/", "/north/") for line in patterns)
    device = start(f"{LISTED}\n{north}\n")(DEVICE)
    assert all(device.say(topic) for site in (SITE, "north") for topic in said_by(DEVICE, site=site))
    assert not device.say(device_topic("south", DEVICE, DeviceTopic.STATE))


def test_a_namesake_at_another_site_is_held_to_it_by_topics_in_full(start: Callable[[str], Connect]) -> None:
    in_full = (DEPLOY / "mosquitto-tls/acl").read_text().split(f"user {NAMESAKE}\n")[1].split("\n\n")[0]
    device = start(f"{LISTED}\nuser {NAMESAKE}\n{in_full}\n")(NAMESAKE)
    assert all(device.say(topic) for topic in said_by("pi-7", site="north"))
    assert [topic for topic in said_by("pi-7") if device.say(topic)] == []
