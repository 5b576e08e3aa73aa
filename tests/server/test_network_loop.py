"""The network traffic of the server's client, over a real broker and, for what none can be made to do, a script."""

from __future__ import annotations

import signal
import socket
import ssl
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from random import Random

import paho.mqtt.client as paho
import pytest
import trustme
from paho.mqtt.reasoncodes import ReasonCode

from driftprint.mqtt import MqttSettings, make_client, prepare
from driftprint_server.network_loop import NetworkLoop
from tests.brokers import Mosquitto, find_mosquitto, free_port, wait_for

TOPIC = "b"
WAYS = ["tcp", "tls", "websockets", "websockets over tls"]
ACCEPTED, REFUSED = b"\x20\x02\x00\x00", b"\x20\x02\x00\x05"
RECORD = 16_384
"""Bytes of plain text in a TLS record, at most."""


class Impatient(Random):
    """Scatters attempts over no time at all."""

    def uniform(self, a: float, b: float) -> float:
        return 0.01 * super().uniform(a, b)


class Patient(Random):
    """Scatters attempts over more time than a test has."""

    def uniform(self, a: float, b: float) -> float:
        return 10_000 * super().uniform(a, b)


class Client:
    """A client over the loop, subscribed to one topic, and what it has heard there."""

    def __init__(self, settings: MqttSettings, *, random: Random | None = None) -> None:
        self.heard: list[bytes] = []
        self.subscriptions = 0
        self.refusals = 0
        self.losses = 0
        self.faulty: set[str] = set()
        """The callbacks that raise when they are called next."""
        self.faults: list[tuple[str, bool]] = []
        """What the loop was told of, and whether it served meanwhile."""
        self.reading = threading.Event()
        """While it is not set the first message is not done with, and nothing more is read."""
        self.reading.set()
        self._client = make_client(settings, "loop", clean_session=True)
        self._client.on_connect = self._on_connect
        self._client.on_subscribe = self._on_subscribe
        self._client.on_disconnect = self._on_disconnect
        self._client.on_message = self._on_message
        prepare(self._client, settings)
        self.loop = NetworkLoop(
            self._client,
            received=lambda: len(self.heard),
            on_fault=self._on_fault,
            random=random or Impatient(0),
        )

    def start(self) -> None:
        self.loop.start()
        self.wait_for_subscription(1)

    def wait_for_subscription(self, number: int) -> None:
        wait_for(lambda: self.subscriptions >= number, what=f"subscription {number}")

    def wait_to_hear(self, messages: int, *, seconds: float = 30) -> None:
        wait_for(lambda: len(self.heard) >= messages, what=lambda: f"all, got {len(self.heard)}", seconds=seconds)

    def wait_for_loss(self, number: int) -> None:
        wait_for(lambda: self.losses >= number, what=f"loss {number} to be noticed")

    def publish(self, payload: bytes, *, topic: str = TOPIC, qos: int = 0) -> None:
        self._client.publish(topic, payload, qos=qos)
        self.loop.wake()

    def stop(self) -> None:
        self.reading.set()
        self.loop.stop()

    def _on_fault(self, fault: Exception) -> None:
        self._fail("fault")
        self.faults.append((str(fault), self.loop.serving))

    def _fail(self, callback: str) -> None:
        if callback in self.faulty:
            self.faulty.remove(callback)
            raise ZeroDivisionError(callback)

    def _on_connect(self, client: paho.Client, _data: object, _flags: object, reason: ReasonCode, *_: object) -> None:
        self._fail("connect")
        if reason.is_failure:
            self.refusals += 1
        else:
            client.subscribe(TOPIC, qos=1)

    def _on_subscribe(self, *_: object) -> None:
        self._fail("subscribe")
        self.subscriptions += 1

    def _on_disconnect(self, *_: object) -> None:
        self._fail("disconnect")
        self.losses += 1

    def _on_message(self, _client: object, _data: object, message: paho.MQTTMessage) -> None:
        self.heard.append(bytes(message.payload))
        self.reading.wait(60)
        self._fail("message")


class Broker(Mosquitto):
    """A mosquitto that can be made to stand still, and that drops nothing."""

    def __init__(self, folder: Path) -> None:
        authority = trustme.CA()
        certificate = authority.issue_cert("127.0.0.1")
        folder.mkdir()
        self.authority = folder / "ca.pem"
        authority.cert_pem.write_to_path(self.authority)
        certificate.private_key_and_cert_chain_pem.write_to_path(folder / "broker.pem")
        self._ports = {way: free_port() for way in WAYS}
        lines = ["max_queued_messages 0", "max_inflight_messages 0"]
        for way in WAYS[1:]:
            lines += [f"listener {self._ports[way]} 127.0.0.1"]
            lines += ["protocol websockets"] if "websockets" in way else []
            lines += [f"certfile {folder}/broker.pem", f"keyfile {folder}/broker.pem"] if "tls" in way else []
        super().__init__(find_mosquitto(), folder, settings=lines)
        self._ports["tcp"] = self.port

    def settings(self, way: str) -> MqttSettings:
        return MqttSettings(
            host=self.host,
            port=self._ports[way],
            transport="websockets" if "websockets" in way else "tcp",
            websocket_path="/",
            ca_file=self.authority if "tls" in way else None,
        )

    def pause(self) -> None:
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)


class Script:
    """A peer that speaks just enough MQTT 3.1.1 to accept clients, or to refuse them, and to send what a test says.

    Args:
        answers: to its first clients' CONNECT; the others are accepted.
        tls: how it speaks TLS; without it it does not.
    """

    def __init__(self, *answers: bytes, tls: ssl.SSLContext | None = None) -> None:
        self._answers = list(answers)
        self._tls = tls
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self.clients = 0
        self.subscribed = threading.Event()
        self._connection: socket.socket | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def send(self, packets: bytes) -> None:
        assert self._connection is not None
        self._connection.sendall(packets)

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(10)
        if self._connection is not None:
            self._connection.close()

    def _run(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            if self._tls is not None:
                connection = self._tls.wrap_socket(connection, server_side=True)
            connection.recv(1000)  # CONNECT
            self.clients += 1
            answer = self._answers.pop(0) if self._answers else ACCEPTED
            connection.sendall(answer)
            if answer != ACCEPTED:
                connection.close()
                continue
            subscribe = connection.recv(1000)
            connection.sendall(b"\x90\x03" + subscribe[2:4] + b"\x01")
            self._connection = connection
            self.subscribed.set()


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    broker = Broker(tmp_path / "broker")
    broker.start()
    yield broker
    broker.resume()
    broker.kill()


@pytest.fixture
def connect() -> Iterator[Callable[..., Client]]:
    """Makes clients, not yet started, and stops them in the end."""
    clients: list[Client] = []

    def make(settings: MqttSettings, **options: Random) -> Client:
        clients.append(Client(settings, **options))
        return clients[-1]

    yield make
    for client in clients:
        client.stop()


Connect = Callable[..., Client]


@pytest.mark.parametrize("way", WAYS)
def test_all_of_a_burst_is_received_in_order(broker: Broker, connect: Connect, way: str) -> None:
    client = connect(broker.settings(way))
    client.start()
    payloads = [b"%06d" % number + bytes(number % 3000) for number in range(3000)]
    client.reading.clear()
    say(broker, payloads)
    client.wait_to_hear(1)

    client.reading.set()
    client.wait_to_hear(len(payloads))
    assert client.heard == payloads


@pytest.mark.parametrize("way", WAYS)
def test_what_another_thread_publishes_goes_out_at_once(broker: Broker, connect: Connect, way: str) -> None:
    client = connect(broker.settings(way))
    client.start()
    heard = threading.Semaphore(0)
    listener = make_client(broker.settings("tcp"), "listener", clean_session=True)
    listener.on_connect = lambda client, *_: client.subscribe("elsewhere")
    listener.on_subscribe = lambda *_: heard.release()
    listener.on_message = lambda *_: heard.release()
    listener.connect(broker.host, broker.port)
    listener.loop_start()
    assert heard.acquire(timeout=30)

    def say_and_listen() -> None:
        for _ in range(100):
            client.publish(b"x", topic="elsewhere")  # nothing comes back, so the client waits
            heard.acquire(timeout=30)

    assert ends(say_and_listen)  # one a second would not
    listener.disconnect()
    listener.loop_stop()


def test_what_many_threads_publish_at_once_goes_out(broker: Broker, connect: Connect) -> None:
    client = connect(broker.settings("tcp"))
    client.start()

    def talk(name: int) -> None:
        for number in range(200):
            client.publish(b"%d %d" % (name, number), qos=1)

    threads = [threading.Thread(target=talk, args=(name,)) for name in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    client.wait_to_hear(1600)
    assert len(set(client.heard)) == 1600


@pytest.mark.parametrize("way", WAYS)
def test_a_broker_that_was_killed_is_connected_to_once_it_is_back(broker: Broker, connect: Connect, way: str) -> None:
    client = connect(broker.settings(way))
    client.start()
    for number in (2, 3):
        broker.kill()
        client.wait_for_loss(number - 1)
        broker.start()
        client.wait_for_subscription(number)
    client.publish(b"here again")
    client.wait_to_hear(1)


@pytest.mark.parametrize("way", WAYS)
def test_a_broker_that_is_not_there_yet_is_waited_for(broker: Broker, connect: Connect, way: str) -> None:
    broker.kill()
    client = connect(broker.settings(way))
    client.loop.start()
    broker.start()
    client.wait_for_subscription(1)


@pytest.mark.parametrize("callback", ["connect", "subscribe", "message", "disconnect"])
@pytest.mark.parametrize("way", WAYS)
def test_a_fault_is_told_and_ends_nothing_but_the_connection(
    broker: Broker, connect: Connect, way: str, callback: str
) -> None:
    client = connect(broker.settings(way))
    client.faulty = {callback}
    client.start()
    client.publish(b"heard")
    client.wait_to_hear(1)
    if callback == "disconnect":
        broker.kill()
        wait_for(lambda: client.faults, what="the fault")
        broker.start()
    client.wait_for_subscription(2 if callback in ("message", "disconnect") else 1)
    assert client.faults == [(callback, False)]
    client.publish(b"heard again")
    client.wait_to_hear(2)


@pytest.mark.parametrize("callbacks", [{"message"}, {"message", "disconnect"}], ids=sorted)
def test_after_a_fault_the_connection_is_ended_before_the_next_is_due(
    broker: Broker, connect: Connect, callbacks: set[str]
) -> None:
    client = connect(broker.settings("tcp"), random=Patient())
    client.faulty = callbacks
    client.start()
    client.publish(b"heard")
    wait_for(lambda: "Client loop disconnected" in broker.log, what=lambda: f"the goodbye\n{broker.log}")
    assert client.faults == [("message", False)]


def test_after_a_fault_the_connection_is_ended_while_the_broker_reads_nothing(broker: Broker, connect: Connect) -> None:
    client = connect(broker.settings("tcp"), random=Patient())
    client.faulty = {"message"}
    client.start()
    client.reading.clear()
    client.publish(b"heard")
    client.wait_to_hear(1)
    broker.pause()
    for _ in range(100):
        client.publish(bytes(100_000))  # more than a connection has room for, so there is none for a goodbye
    client.reading.set()
    wait_for(lambda: client.faults, what="the fault")
    broker.resume()
    wait_for(lambda: "Client loop closed its connection" in broker.log, what=lambda: f"the end\n{broker.log[-2000:]}")


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_where_telling_of_a_fault_is_another_one_the_loop_has_ended(broker: Broker, connect: Connect) -> None:
    client = connect(broker.settings("tcp"))
    assert not client.loop.ended
    client.faulty = {"message", "fault"}
    client.start()
    assert not client.loop.ended
    client.publish(b"heard")
    wait_for(lambda: client.loop.ended, what="the end")
    assert not client.loop.serving


def test_a_broker_that_refuses_is_asked_again(connect: Connect) -> None:
    script = Script(REFUSED, REFUSED, REFUSED)
    client = connect(MqttSettings(host="127.0.0.1", port=script.port))
    try:
        client.start()
        assert (client.refusals, script.clients) == (3, 4)
    finally:
        script.close()


def test_a_broker_that_hangs_up_without_a_word_is_asked_again(connect: Connect) -> None:
    script = Script(b"", b"\x20", b"\xff\xff\xff\xff\xff\xff")
    client = connect(MqttSettings(host="127.0.0.1", port=script.port))
    try:
        client.start()
        assert script.clients == 4
    finally:
        script.close()


def test_a_certificate_of_somebody_else_is_not_accepted_and_is_asked_for_again(
    broker: Broker, connect: Connect, tmp_path: Path
) -> None:
    foreign = tmp_path / "foreign.pem"
    trustme.CA().cert_pem.write_to_path(foreign)
    client = connect(broker.settings("tls").model_copy(update={"ca_file": foreign}))
    client.loop.start()
    wait_for(lambda: broker.log.count("unknown ca") >= 3, what=lambda: f"three attempts\n{broker.log}")
    assert (client.subscriptions, client.refusals) == (0, 0)


def test_what_a_record_of_tls_holds_beyond_the_first_messages_is_read_without_waiting_for_more(
    connect: Connect, tmp_path: Path
) -> None:
    """A proxy that speaks TLS for its broker gathers what it passes on: a record then holds thousands."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    script = Script(tls=context)
    client = connect(MqttSettings(host="127.0.0.1", port=script.port, ca_file=tmp_path / "ca.pem"))
    publish = b"\x30\x03\x00\x01" + TOPIC.encode()
    each = RECORD // len(publish)
    try:
        client.start()
        for number in range(1, 11):  # read a few hundred a second, each round would take ten
            script.send(publish * each)
            client.wait_to_hear(number * each, seconds=8)
    finally:
        script.close()


def test_an_idle_connection_is_kept_alive(broker: Broker, connect: Connect) -> None:
    client = connect(broker.settings("tcp").model_copy(update={"keepalive_seconds": 5}))
    client.start()
    wait_for(lambda: "Sending PINGRESP to loop" in broker.log, what=lambda: f"a ping\n{broker.log}")


def test_a_broker_that_has_fallen_silent_is_left(broker: Broker, connect: Connect) -> None:
    client = connect(broker.settings("tcp").model_copy(update={"keepalive_seconds": 5}))
    client.start()
    broker.pause()
    wait_for(lambda: client.losses, what="the silence to be noticed")
    broker.resume()
    client.wait_for_subscription(2)


def test_it_disconnects_in_good_order(broker: Broker, connect: Connect) -> None:
    client = connect(broker.settings("tcp"))
    client.start()
    client.publish(b"the last word")
    client.stop()
    wait_for(lambda: "Received DISCONNECT from loop" in broker.log, what=lambda: broker.log)
    assert broker.log.index("Received PUBLISH from loop") < broker.log.index("Received DISCONNECT from loop")


@pytest.mark.parametrize("way", WAYS)
def test_it_can_be_stopped_while_the_broker_reads_nothing(broker: Broker, connect: Connect, way: str) -> None:
    client = connect(broker.settings(way))
    client.start()
    broker.pause()
    for _ in range(100):
        client.publish(bytes(100_000))  # more than a connection has room for
    assert ends(client.stop)


def test_it_can_be_stopped_while_a_broker_does_not_answer_its_greeting(broker: Broker, connect: Connect) -> None:
    broker.pause()
    client = connect(broker.settings("tls"))
    client.loop.start()
    assert ends(client.stop)


def test_it_can_be_stopped_while_there_is_no_broker_and_before_it_was_started(connect: Connect) -> None:
    client = connect(MqttSettings(host="127.0.0.1", port=free_port()))
    assert ends(client.stop)
    client = connect(MqttSettings(host="127.0.0.1", port=free_port()))
    client.loop.start()
    assert ends(client.stop)


def say(broker: Broker, payloads: Sequence[bytes]) -> None:
    """Publish, and wait until the broker has all of it."""
    talker = make_client(broker.settings("tcp"), "talker", clean_session=True)
    talker.max_inflight_messages_set(1000)
    talker.connect(broker.host, broker.port)
    talker.loop_start()
    for sent in [talker.publish(TOPIC, payload, qos=1) for payload in payloads]:
        sent.wait_for_publish(30)
    talker.disconnect()
    talker.loop_stop()


def ends(what: Callable[[], object]) -> bool:
    """Whether something comes to its end, sooner or later."""
    thread = threading.Thread(target=what, daemon=True)
    thread.start()
    thread.join(45)
    return not thread.is_alive()
