"""The agent's connection, over a real broker."""

from __future__ import annotations

import json
import multiprocessing
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from driftprint.clock import SystemClock
from driftprint.messages import AckMessage, CommandMessage, Wanted, encode
from driftprint.mqtt import MqttSettings
from driftprint_edge.home_assistant import birth_topic, discovery
from driftprint_edge.link import AgentHealth, Discovery, Link
from driftprint_edge.store import Store
from tests.brokers import Mosquitto, wait_for
from tests.edge_agent.stores import open_store, put_alerts, put_windows
from tests.server.messages import window

TOPIC = "driftprint/v1/north/pi-1"


class Server:
    """Hears all that devices say, and acknowledges what it is told to."""

    def __init__(self, broker: Mosquitto) -> None:
        self.heard: list[paho.MQTTMessage] = []
        self._client = paho.Client(CallbackAPIVersion.VERSION2)
        self._client.on_message = lambda _client, _data, message: self.heard.append(message)
        subscribed = threading.Event()
        self._client.on_subscribe = lambda *_: subscribed.set()
        self._client.connect(broker.host, broker.port)
        self._client.loop_start()
        self._client.subscribe(f"{TOPIC}/#", qos=1)
        assert subscribed.wait(60)

    def said(self, kind: str) -> list[dict[str, Any]]:
        """The contents of the messages of one kind."""
        topic = f"{TOPIC}/{kind}"
        return [json.loads(m.payload) for m in list(self.heard) if m.topic == topic]

    def retained(self, kind: str) -> list[paho.MQTTMessage]:
        return [m for m in list(self.heard) if m.topic == f"{TOPIC}/{kind}" and m.retain]

    def acknowledge(self, instance: str, *seqs: int) -> None:
        self.say(encode(AckMessage(instance=instance, seqs=seqs)))

    def say(self, payload: bytes, *, kind: str = "ack") -> None:
        self._client.publish(f"{TOPIC}/{kind}", payload, qos=1).wait_for_publish(10)

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


@pytest.fixture
def server(mosquitto: Mosquitto) -> Iterator[Server]:
    server = Server(mosquitto)
    yield server
    server.close()


@pytest.fixture
def live_store(tmp_path: Path) -> Iterator[Store]:
    store = open_store(tmp_path / "live.db", SystemClock())
    yield store
    store.close()


def link_of(store: Store, port: int, **choices: Any) -> Link:
    return Link(
        MqttSettings(host="127.0.0.1", port=port, keepalive_seconds=5),
        site="north",
        device="pi-1",
        streams=["belt"],
        store=store,
        clock=SystemClock(),
        health_seconds=0.2,
        health=lambda: AgentHealth(store_errors_total=7, providers={"belt": ("CPUExecutionProvider",)}),
        **choices,
    )


@pytest.fixture
def link(live_store: Store, mosquitto: Mosquitto) -> Iterator[Link]:
    link = link_of(live_store, mosquitto.port)
    yield link
    link.stop()


def test_it_says_that_the_device_is_online_and_how_it_is(link: Link, live_store: Store, server: Server) -> None:
    link.start()
    wait_for(lambda: server.said("health"), what="a health message")
    state, health = server.said("state")[0], server.said("health")[0]
    assert (state["status"], state["streams"], state["instance"]) == ("online", ["belt"], live_store.instance)
    assert (health["store_errors_total"], health["outbox_messages"]) == (7, 0)
    assert health["providers"] == {"belt": ["CPUExecutionProvider"]}


def test_its_state_is_retained_for_those_who_come_later(link: Link, mosquitto: Mosquitto) -> None:
    link.start()
    later = Server(mosquitto)
    wait_for(lambda: later.said("state"), what="the state")
    later.close()
    link.stop()
    latest = Server(mosquitto)
    wait_for(lambda: latest.retained("state"), what="the retained state")
    assert latest.said("state")[0]["status"] == "offline"
    latest.close()


def _run_for_ever(path: Path, port: int) -> None:
    link_of(open_store(path, SystemClock()), port).start()
    time.sleep(600)


def test_a_killed_agent_is_said_to_be_offline_by_the_broker(
    tmp_path: Path, mosquitto: Mosquitto, server: Server
) -> None:
    process = multiprocessing.get_context("spawn").Process(
        target=_run_for_ever, args=(tmp_path / "killed.db", mosquitto.port)
    )
    process.start()
    wait_for(lambda: [s["status"] for s in server.said("state")] == ["online"], what="the agent")
    process.kill()
    process.join()
    wait_for(lambda: [s["status"] for s in server.said("state")] == ["online", "offline"], what="the last will")


def test_the_outbox_is_emptied_by_the_servers_word_alone(link: Link, live_store: Store, server: Server) -> None:
    windows = put_windows(live_store, 2)
    [alert] = put_alerts(live_store, 1)
    link.start()
    wait_for(lambda: len(server.said("belt/window")) == 2 and server.said("belt/alert"), what="the messages")
    assert live_store.outbox_messages == 3, "the broker's acknowledgement is no promise"
    server.acknowledge(live_store.instance, alert, windows[0])
    wait_for(lambda: live_store.outbox_messages == 1, what="the acknowledged to be forgotten")
    assert server.said("belt/alert")[0]["age_seconds"] >= 0


def test_a_message_put_in_later_is_sent_when_the_link_is_told(link: Link, live_store: Store, server: Server) -> None:
    link.start()
    wait_for(lambda: server.said("state"), what="the connection")
    put_windows(live_store, 1)
    link.wake()
    wait_for(lambda: server.said("belt/window"), what="the window")


def test_what_is_no_acknowledgement_of_ours_is_ignored(link: Link, live_store: Store, server: Server) -> None:
    [seq] = put_windows(live_store, 1)
    link.start()
    wait_for(lambda: server.said("belt/window"), what="the window")
    server.acknowledge("0" * 16, seq)
    for garbage in (b"", b"\xff", b"[]", b'{"schema": 9, "instance": "x"}', b"{" * 5000):
        server.say(garbage)
    second = put_windows(live_store, 1)
    server.acknowledge(live_store.instance, *second)
    wait_for(lambda: live_store.outbox_messages == 1, what="the last acknowledgement")
    assert [message.seq for message in live_store.find([seq])] == [seq]


def test_the_latest_alert_of_a_stream_is_retained(
    link: Link, live_store: Store, server: Server, mosquitto: Mosquitto
) -> None:
    put_alerts(live_store, 2)
    link.start()
    wait_for(lambda: len(server.said("belt/alert")) == 2, what="the alerts")
    wait_for(lambda: server.said("belt/alert/current"), what="the current alert")
    later = Server(mosquitto)
    wait_for(lambda: later.retained("belt/alert/current"), what="the retained alert")
    assert later.said("belt/alert/current")[0]["alert_id"] == server.said("belt/alert")[-1]["alert_id"]
    assert not later.retained("belt/alert")
    later.close()


def test_a_broker_that_comes_back_gets_everything_again(
    link: Link, live_store: Store, server: Server, mosquitto: Mosquitto
) -> None:
    put_alerts(live_store, 1)
    link.start()
    wait_for(lambda: server.said("belt/alert"), what="the alert")
    mosquitto.kill()
    put_windows(live_store, 3)
    mosquitto.start()
    again = Server(mosquitto)
    wait_for(
        lambda: again.said("belt/alert") and len(again.said("belt/window")) == 3,
        what="the messages, after a while",
    )
    again.close()


def test_home_assistant_is_told_of_the_device_again_when_it_starts_and_of_the_latest_window(
    live_store: Store, mosquitto: Mosquitto, server: Server
) -> None:
    found = discovery(
        "homeassistant", site="north", device="pi-1", version="1", streams={"belt": 1.0}, health_seconds=1.0
    )
    link = link_of(live_store, mosquitto.port, discovery=Discovery(found, birth_topic("homeassistant")))
    assistant = HomeAssistant(mosquitto)
    link.start()
    assistant.wait_for(found.topic, found.payload)
    assistant.say("homeassistant/status", b"offline")
    assistant.say("homeassistant/status", b"online")
    assistant.wait_for(found.topic, found.payload, times=2)
    link.show(window(3))
    wait_for(lambda: server.said("belt/window/current"), what="the window")
    link.stop()
    later = HomeAssistant(mosquitto)
    later.wait_for(found.topic, found.payload)
    assistant.close()
    later.close()


class HomeAssistant:
    """Subscribed to what it discovers devices by."""

    def __init__(self, broker: Mosquitto) -> None:
        self._heard: list[tuple[str, bytes]] = []
        self._client = paho.Client(CallbackAPIVersion.VERSION2)
        self._client.on_message = lambda _client, _data, message: self._heard.append(
            (message.topic, bytes(message.payload))
        )
        self._client.connect(broker.host, broker.port)
        self._client.loop_start()
        self._client.subscribe("homeassistant/device/+/config", qos=1)

    def wait_for(self, topic: str, payload: bytes, *, times: int = 1) -> None:
        wait_for(lambda: self._heard.count((topic, payload)) >= times, what=lambda: f"{topic} in {self._heard}")

    def say(self, topic: str, payload: bytes) -> None:
        self._client.publish(topic, payload, qos=1).wait_for_publish(10)

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


def test_a_command_is_handed_on_and_garbage_is_not(live_store: Store, mosquitto: Mosquitto, server: Server) -> None:
    commands: list[CommandMessage] = []
    link = link_of(live_store, mosquitto.port, on_command=commands.append)
    link.start()
    wait_for(lambda: server.said("state"), what="the connection")
    wanted = Wanted(name="parts", version=2, url="https://models.example/parts-2.driftprint")
    command = CommandMessage(wanted={"belt": wanted})
    for payload in (b"\xff", b'{"schema": 1, "wanted": {"belt": {"url": "file:///etc"}}}', encode(command), b""):
        server.say(payload, kind="command")
    wait_for(lambda: len(commands) == 2, what="the command, and its end")
    assert commands == [command, CommandMessage()]
    link.stop()
