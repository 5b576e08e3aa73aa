"""What deploy/mosquitto-tls and `driftprint certificates` promise, with a real mosquitto and real certificates."""

from __future__ import annotations

import shutil
import socket
import ssl
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from driftprint.messages import DeviceStatus, encode
from driftprint.topics import DeviceTopic, StreamTopic, device_topic, stream_topic
from driftprint_edge.home_assistant import discovery
from driftprint_server.certificates import issuing
from driftprint_server.certificates.authority import Files, Office, found
from driftprint_server.certificates.holder import Kind, holder_of
from driftprint_server.certificates.instructions import BROKERS_FOLDER, for_holder
from tests.brokers import find_mosquitto, wait_for
from tests.core.test_cli import succeed
from tests.deploy.deployed_broker import DeployedBroker
from tests.deploy.peers import SAYING, Heard, Peer
from tests.line.agents import AgentProcess
from tests.server.messages import state
from tests.server.processes import ServerProcess

DEPLOYED = Path(__file__).parents[2] / "deploy/mosquitto-tls/mosquitto.conf"
NEIGHBOURS = ("pi-2@north", "pi-1@south")
"""Another device of the attacker's site, and one of the attacker's name at another site."""
ATTACKER = "pi-1@north"


class Fleet:
    """An authority and what it has issued, over a broker."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.brokers: list[DeployedBroker] = []
        self.peers: list[Peer] = []

    @property
    def office(self) -> Office:
        return Office(self.folder, now=datetime.now(timezone.utc))

    def command(self, action: str, *arguments: str) -> None:
        succeed("certificates", action, *arguments, "--folder", self.folder)

    def files(self, name: str, kind: Kind = Kind.DEVICE) -> Files:
        return self.office.files(holder_of(kind, name))

    def start_broker(self, files: Path | None = None) -> DeployedBroker:
        folder = self.folder.parent / f"mosquitto-{len(self.brokers)}"
        elsewhere = {
            BROKERS_FOLDER: str(files or self.folder / "broker"),
            "/var/lib/mosquitto/": f"{folder}/",
            "log_dest syslog": "log_dest stderr\nlog_type all",
        }
        self.brokers.append(DeployedBroker(find_mosquitto(), folder, DEPLOYED, elsewhere))
        self.brokers[-1].start()
        return self.brokers[-1]

    def peer(self, files: Files | str, **options: Any) -> Peer:
        """Somebody who may come in, and has."""
        peer = self.stranger(self.files(files) if isinstance(files, str) else files, **options)
        assert peer.gets_in()
        return peer

    def stranger(self, files: Files | None, **options: Any) -> Peer:
        self.peers.append(Peer(self.brokers[-1], files, **options))
        return self.peers[-1]

    def leave(self) -> None:
        """Everybody goes."""
        while self.peers:
            self.peers.pop().close()

    def end(self) -> None:
        self.leave()
        for broker in self.brokers:
            broker.kill()


@pytest.fixture(scope="module")
def standing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    fleet = Fleet(tmp_path_factory.mktemp("fleet") / "certificates")
    fleet.command("init")
    fleet.command("broker", "127.0.0.1", "broker.example")
    fleet.command("server")
    fleet.command("device", ATTACKER, *NEIGHBOURS)
    fleet.command("reader", "watcher")
    fleet.start_broker()
    yield fleet
    fleet.end()


@pytest.fixture
def fleet(standing: Fleet) -> Iterator[Fleet]:
    """A fleet and its broker, which tests share."""
    yield standing
    standing.leave()


@pytest.fixture
def own_fleet(standing: Fleet, tmp_path: Path) -> Iterator[Fleet]:
    """The same for one test alone, without a broker."""
    fleet = Fleet(shutil.copytree(standing.folder, tmp_path / "certificates"))
    yield fleet
    fleet.end()


def topics_of(device: str) -> list[str]:
    """All topics of a device, with a stream "belt"."""
    name, site = device.split("@")
    return [device_topic(site, name, kind) for kind in DeviceTopic] + [
        stream_topic(site, name, "belt", kind) for kind in StreamTopic
    ]


def state_of(device: str) -> str:
    name, site = device.split("@")
    return device_topic(site, name, DeviceTopic.STATE)


def said_by(device: str) -> list[str]:
    return [topic for topic in topics_of(device) if not topic.endswith(("/ack", "/command"))]


def heard_by(device: str) -> list[str]:
    return [topic for topic in topics_of(device) if topic.endswith(("/ack", "/command"))]


def test_a_device_writes_its_own_topics_and_the_server_reads_them(fleet: Fleet) -> None:
    server = fleet.peer(fleet.files("server", Kind.SERVER))
    server.listen("driftprint/v1/#")
    device = fleet.peer(ATTACKER)
    assert all(device.say(topic) for topic in said_by(ATTACKER))
    expected = [(topic, SAYING) for topic in said_by(ATTACKER)]
    wait_for(lambda: server.live() == expected, what=lambda: f"all topics, got {server.live()}")


def test_the_server_writes_acknowledgements_and_commands_and_their_device_reads_them(fleet: Fleet) -> None:
    device = fleet.peer(ATTACKER)
    device.listen(*heard_by(ATTACKER))
    server = fleet.peer(fleet.files("server", Kind.SERVER))
    assert all(server.say(topic) for topic in heard_by(ATTACKER))
    wait_for(lambda: device.topics() == set(heard_by(ATTACKER)), what="both")
    assert not any(server.say(topic) for topic in said_by(ATTACKER))


@pytest.mark.parametrize("retain", [False, True])
@pytest.mark.parametrize("neighbour", NEIGHBOURS)
def test_a_device_cannot_write_anothers_topics(fleet: Fleet, neighbour: str, retain: bool) -> None:
    watcher = fleet.peer(fleet.files("watcher", Kind.READER))
    watcher.listen("driftprint/v1/#")
    attacker = fleet.peer(ATTACKER)
    assert not any(attacker.say(topic, retain=retain) for topic in topics_of(neighbour))
    end = device_topic("north", "pi-1", DeviceTopic.HEALTH)
    assert attacker.say(end, b"end")
    wait_for(watcher.live, what="what it says last")
    assert watcher.live() == [(end, b"end")]


def test_a_device_cannot_write_outside_the_topics_of_devices(fleet: Fleet) -> None:
    attacker = fleet.peer(ATTACKER)
    forbidden = [
        *heard_by(ATTACKER),
        "driftprint/v1/north/ghost/state",
        "driftprint/v1/north/state",
        "driftprint/v1/north/pi-1/belt/ack",
        "driftprint/v1/north/pi-1/a/b/window",
        "driftprint/v1/north/pi-1",
        "driftprint/v2/north/pi-1/state",
        "homeassistant/device/driftprint_north__pi-1/config",
        "homeassistant/status",
        "$SYS/broker/uptime",
        "elsewhere",
    ]
    assert [topic for topic in forbidden if attacker.say(topic)] == []


SUBSCRIPTIONS = ("#", "+/#", "+/+/+/+/+", "driftprint/v1/#", "driftprint/v1/+/+/ack", "$share/all/#", "$SYS/#")


def test_a_device_hears_nothing_of_others_whatever_it_subscribes_to(fleet: Fleet) -> None:
    attacker = fleet.peer(ATTACKER)
    attacker.listen(*SUBSCRIPTIONS, *(topic for one in NEIGHBOURS for topic in topics_of(one)))
    server = fleet.peer(fleet.files("server", Kind.SERVER))
    for neighbour in NEIGHBOURS:
        device = fleet.peer(neighbour)
        assert all(device.say(topic, retain=retain) for topic in said_by(neighbour) for retain in (False, True))
        assert all(server.say(topic) for topic in heard_by(neighbour))
    attacker.listen(*SUBSCRIPTIONS)  # what is retained is told again
    assert server.say(device_topic("north", "pi-1", DeviceTopic.ACK))
    wait_for(lambda: attacker.heard, what="what is meant for it")
    assert attacker.topics() == {device_topic("north", "pi-1", DeviceTopic.ACK)}


def test_a_retained_state_is_neither_replaced_nor_taken_away_by_another_device(fleet: Fleet) -> None:
    for neighbour in NEIGHBOURS:
        true = encode(state(DeviceStatus.ONLINE))
        topic = state_of(neighbour)
        assert fleet.peer(neighbour).say(topic, true, retain=True)
        attacker = fleet.peer(ATTACKER)
        assert not attacker.say(topic, retain=True)
        assert not attacker.say(topic, b"", retain=True)
        watcher = fleet.peer(fleet.files("watcher", Kind.READER))
        watcher.listen(topic)
        wait_for(watcher.topics, what="the retained state")
        assert watcher.heard == [Heard(topic, true, True)]
        fleet.leave()


def test_a_last_will_speaks_for_its_own_device_alone(fleet: Fleet) -> None:
    watcher = fleet.peer(fleet.files("watcher", Kind.READER))
    watcher.listen("driftprint/v1/+/+/state")
    fleet.peer(ATTACKER, will=state_of("pi-2@north")).vanish()
    fleet.peer("pi-1@south", will=state_of("pi-1@south")).vanish()
    wait_for(watcher.live, what="the last will")
    assert watcher.live() == [(state_of("pi-1@south"), SAYING)]


def test_anothers_client_id_and_user_name_count_for_nothing(fleet: Fleet) -> None:
    watcher = fleet.peer(fleet.files("watcher", Kind.READER))
    watcher.listen("driftprint/v1/+/+/state")
    will = state_of("pi-2@north")
    victim = fleet.peer("pi-2@north", client_id="driftprint-agent-north-pi-2", will=will)
    for name in ("driftprint-agent-north-pi-2", "pi-2@north", "server"):
        attacker = fleet.peer(ATTACKER, client_id=name, username=name)
        assert not attacker.say(will, retain=True)
        assert not attacker.say(device_topic("north", "pi-1", DeviceTopic.ACK))
        attacker.close()
    assert victim.say(device_topic("north", "pi-2", DeviceTopic.HEALTH))
    assert (victim.losses, watcher.live()) == (0, [])


@pytest.mark.parametrize("name", ["#", "+", "+@+", "pi-1@north/#", "north/pi-2", "%u", "pi-9@north", "pi-2@north\0"])
def test_a_name_that_the_rules_do_not_have_opens_nothing(fleet: Fleet, tmp_path: Path, name: str) -> None:
    stranger = fleet.stranger(signed_by(fleet, name, tmp_path))
    if not stranger.gets_in():
        return
    stranger.listen("#", "driftprint/v1/north/pi-2/ack")
    neighbour = fleet.peer("pi-2@north")
    server = fleet.peer(fleet.files("server", Kind.SERVER))
    assert neighbour.say(state_of("pi-2@north"), retain=True)
    assert server.say(device_topic("north", "pi-2", DeviceTopic.ACK))
    assert not any(stranger.say(topic) for topic in topics_of("pi-2@north"))
    stranger.listen("#")  # its answer comes after whatever it was sent
    assert stranger.heard == []


def signed_by(fleet: Fleet, name: str, folder: Path, **options: Any) -> Files:
    """A certificate that the authority was tricked into, or that is old: made with no check of the name."""
    authority = issuing.load_authority(
        (fleet.folder / "authority.key").read_bytes(), (fleet.folder / "authority.pem").read_bytes(), where=""
    )
    key = issuing.make_key()
    choices = {"hosts": (), "now": datetime.now(timezone.utc), "days": 9, **options}
    certificate = issuing.issue(authority, name, key.public_key(), **choices)
    files = Files(folder, fleet.files(ATTACKER).ca, folder / "tricked.pem", folder / "tricked.key")
    files.certificate.write_bytes(issuing.pem(certificate))
    files.key.write_bytes(issuing.private_pem(key))
    return files


def foreign(fleet: Fleet, folder: Path) -> Files:
    """Of another authority, which has the same name."""
    office = found(folder / "foreign", now=datetime.now(timezone.utc))
    holder = holder_of(Kind.DEVICE, ATTACKER)
    office.issue(holder)
    return replace(office.files(holder), ca=fleet.files(ATTACKER).ca)


def bad_certificate(kind: str, fleet: Fleet, folder: Path) -> Files | None:
    if kind == "expired":
        return signed_by(fleet, ATTACKER, folder, now=datetime.now(timezone.utc) - timedelta(days=10))
    if kind == "foreign":
        return foreign(fleet, folder)
    return fleet.files("broker", Kind.BROKER) if kind == "the broker's own" else None


@pytest.mark.parametrize("kind", ["expired", "foreign", "the broker's own", "none"])
def test_without_a_good_certificate_nobody_gets_in(fleet: Fleet, tmp_path: Path, kind: str) -> None:
    bad = bad_certificate(kind, fleet, tmp_path)
    assert not fleet.stranger(bad, ca=fleet.files(ATTACKER).ca).gets_in()
    assert fleet.stranger(fleet.files(ATTACKER)).gets_in()


def test_without_tls_nobody_gets_in(fleet: Fleet) -> None:
    assert not fleet.stranger(None).gets_in()


def test_home_assistant_finds_a_device_and_a_device_announces_itself_alone(own_fleet: Fleet) -> None:
    own_fleet.command("device", "pi_3.b@north", "pi-4@north", "--home-assistant", "homeassistant")
    own_fleet.command("reader", "house", "--home-assistant", "homeassistant")
    own_fleet.start_broker()
    house = own_fleet.peer(own_fleet.files("house", Kind.READER))
    house.listen("homeassistant/#", "driftprint/v1/#")
    devices = {
        name: discovery(
            "homeassistant", site="north", device=name, version="1", streams={"belt": 1.0}, health_seconds=1.0
        ).topic
        for name in ("pi_3.b", "pi-4", "pi-2")
    }
    device = own_fleet.peer("pi_3.b@north")
    device.listen("homeassistant/#")
    assert device.say(devices["pi_3.b"], retain=True)
    assert not device.say(devices["pi-4"], retain=True)
    assert not device.say(devices["pi-2"], retain=True)
    assert not device.say("homeassistant/status")
    assert house.say("homeassistant/status")
    assert not any(house.say(topic) for topic in topics_of("pi_3.b@north"))
    wait_for(lambda: device.heard, what="the birth message")
    assert device.topics() == {"homeassistant/status"}
    assert house.topics() == {devices["pi_3.b"], "homeassistant/status"}


def test_a_device_is_let_in_once_the_broker_has_read_its_files_again_and_nobody_else_notices(own_fleet: Fleet) -> None:
    broker = own_fleet.start_broker()
    old = own_fleet.peer(ATTACKER)
    own_fleet.command("device", "pi-3@north")
    new = own_fleet.peer("pi-3@north")
    topic = state_of("pi-3@north")
    assert not new.say(topic)
    broker.reload()
    assert new.say(topic)
    assert old.say(state_of(ATTACKER))
    assert (old.losses, new.losses) == (0, 0)


def test_replicas_share_the_messages_with_a_certificate_each(own_fleet: Fleet) -> None:
    own_fleet.command("server", "replica-1", "replica-2")
    own_fleet.start_broker()
    replicas = [own_fleet.peer(own_fleet.files(name, Kind.SERVER)) for name in ("replica-1", "replica-2")]
    assert all(replica.listen("$share/ingest/driftprint/v1/+/+/state") for replica in replicas)
    device = own_fleet.peer(ATTACKER)
    assert all(device.say(state_of(ATTACKER)) for _ in range(10))
    wait_for(lambda: sum(len(replica.heard) for replica in replicas) == 10, what="each message, by one of them")
    assert all(replica.heard for replica in replicas)
    assert [replica.losses for replica in replicas] == [0, 0]


def test_a_revoked_device_is_shut_out_as_soon_as_the_broker_has_read_its_files_again(own_fleet: Fleet) -> None:
    broker = own_fleet.start_broker()
    device, other = own_fleet.peer(ATTACKER), own_fleet.peer("pi-2@north")
    device.listen("driftprint/v1/north/pi-1/ack")
    own_fleet.command("revoke", ATTACKER)
    broker.reload()
    assert not device.say(state_of(ATTACKER)), "a connection that is there may do nothing any longer"
    assert not own_fleet.stranger(own_fleet.files(ATTACKER)).gets_in()
    assert other.say(state_of("pi-2@north"))
    assert own_fleet.stranger(own_fleet.files("pi-1@south")).gets_in()


def test_a_new_key_shuts_out_the_old_one_and_a_renewed_certificate_does_not(own_fleet: Fleet, tmp_path: Path) -> None:
    former = {name: copied(own_fleet.files(name), tmp_path / name) for name in (ATTACKER, "pi-2@north")}
    own_fleet.command("device", ATTACKER, "--force")
    own_fleet.command("renew", "pi-2@north")
    own_fleet.start_broker()
    assert not own_fleet.stranger(former[ATTACKER]).gets_in()
    assert own_fleet.stranger(own_fleet.files(ATTACKER)).gets_in()
    for files in (former["pi-2@north"], own_fleet.files("pi-2@north")):
        renewed = own_fleet.peer(files)
        assert renewed.say(state_of("pi-2@north"))
        renewed.close()


def copied(files: Files, folder: Path) -> Files:
    folder.mkdir()
    for path in (files.ca, files.certificate, files.key):
        (folder / path.name).write_bytes(path.read_bytes())
    return Files(folder, folder / files.ca.name, folder / files.certificate.name, folder / files.key.name)


def test_an_agent_refuses_a_broker_that_is_not_its_own(own_fleet: Fleet, tmp_path: Path) -> None:
    own_fleet.start_broker()
    elsewhere = own_fleet.stranger(own_fleet.files(ATTACKER), host="localhost")
    with pytest.raises(ssl.SSLCertVerificationError, match="Hostname mismatch"):
        elsewhere.gets_in()
    office = found(tmp_path / "foreign", now=datetime.now(timezone.utc))
    office.issue(holder_of(Kind.BROKER, "broker"), hosts=["127.0.0.1"])
    own_fleet.start_broker(office.broker)
    with pytest.raises(ssl.SSLCertVerificationError, match="certificate verify failed"):
        own_fleet.stranger(own_fleet.files(ATTACKER)).gets_in()


def test_the_brokers_certificate_passes_the_strict_checks_that_python_makes_from_3_13_on(fleet: Fleet) -> None:
    files = fleet.files(ATTACKER)
    context = ssl.create_default_context(cafile=str(files.ca))
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    context.load_cert_chain(files.certificate, files.key)
    broker = fleet.brokers[-1]
    with (
        socket.create_connection((broker.host, broker.port), timeout=10) as plain,
        context.wrap_socket(plain, server_hostname=broker.host) as secure,
    ):
        assert secure.getpeercert()


def test_a_device_cannot_play_the_broker(own_fleet: Fleet, tmp_path: Path) -> None:
    files = copied(own_fleet.files("broker", Kind.BROKER), tmp_path / "played")
    for name in ("acl", "revoked.pem"):
        (files.folder / name).write_bytes((own_fleet.folder / "broker" / name).read_bytes())
    device = own_fleet.files(ATTACKER)
    files.certificate.write_bytes(device.certificate.read_bytes())
    files.key.write_bytes(device.key.read_bytes())
    own_fleet.start_broker(files.folder)
    with pytest.raises(ssl.SSLCertVerificationError, match="purpose"):
        own_fleet.stranger(own_fleet.files("pi-2@north")).gets_in()


def test_agent_and_server_work_over_it_and_the_last_will_is_told(own_fleet: Fleet, tmp_path: Path) -> None:
    broker = own_fleet.start_broker()
    frames = tmp_path / "frames"
    frames.mkdir()
    for number, frame in enumerate(np.random.default_rng(0).integers(0, 256, (50, 28, 28), np.uint8)):
        Image.fromarray(frame).save(frames / f"{number}.png")
    server = ServerProcess(tmp_path, broker.port)
    agent = AgentProcess(tmp_path, broker.port, device="pi-1", frames=frames)
    secure(tmp_path / "server.toml", own_fleet, Kind.SERVER, "server")
    secure(tmp_path / "agent-pi-1.toml", own_fleet, Kind.DEVICE, ATTACKER)
    try:
        server.start()
        agent.start()
        alert_id = agent.wait_for_alert()
        wait_for(
            lambda: [alert.alert_id for alert in server.fleet().alerts] == [alert_id],
            what=lambda: f"the alert\n{server.log}\n{agent.log}\n{broker.log}",
        )
        wait_for(lambda: [device.outbox_messages for device in server.fleet().devices] == [0], what="its acks")
        assert [device.state.value for device in server.fleet().devices] == ["online"]
        agent.kill()
        wait_for(lambda: [device.state.value for device in server.fleet().devices] == ["offline"], what="its last will")
    finally:
        agent.kill()
        server.kill()


def secure(config: Path, fleet: Fleet, kind: Kind, name: str) -> None:
    """Give an agent or a server the settings that the command prints."""
    office, holder = fleet.office, holder_of(kind, name)
    files = office.files(holder)
    told = for_holder(office.register.valid()[holder.name], files, office.hosts).splitlines()
    lines = [line.replace("/etc/driftprint", str(files.folder)) for line in told if "_file = " in line]
    assert len(lines) == 3
    config.write_text(config.read_text().replace("[mqtt]\n", "\n".join(("[mqtt]", *lines, ""))))
