from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import pytest
from structlog.testing import capture_logs

from driftprint.clock import SystemClock
from driftprint.messages import MAX_MESSAGE_BYTES, encode
from driftprint.mqtt import MqttSettings, make_client
from driftprint_server.counts import Counts, Reason
from driftprint_server.inbox import Inbox, Received
from driftprint_server.link import Link
from tests.brokers import Mosquitto, wait_for
from tests.server.messages import alert, health, state, topic_of, window
from tests.server.processes import DeviceClient, ServerProcess

ROOM = 4


class Heard:
    """A link with little room, and what it has heard."""

    def __init__(
        self,
        broker: Mosquitto,
        *,
        room: int = ROOM,
        most_bytes: int = 64 * 2**20,
        version: Literal["3.1.1", "5"] = "3.1.1",
        counts: Counts | None = None,
        **options: Any,
    ) -> None:
        self.counts = counts or Counts()
        self.inbox = Inbox(most_messages=room, most_bytes=most_bytes)
        settings = MqttSettings(host=broker.host, port=broker.port, version=version)
        self.link = Link(
            settings,
            client_id="server",
            inbox=self.inbox,
            counts=self.counts,
            clock=SystemClock(),
            **options,
        )

    def start(self) -> None:
        self.link.start()
        wait_for(lambda: self.link.connected, what="the link")

    def take(self) -> list[Received]:
        """What has come in so far."""
        return self.inbox.take(1000, timeout=0)

    def next(self) -> Received:
        """What comes in next."""
        (received,) = self.inbox.take(1, timeout=60)
        return received


@pytest.fixture
def hear(mosquitto: Mosquitto) -> Iterator[Callable[..., Heard]]:
    """Makes links, not yet started, and stops them in the end."""
    links: list[Heard] = []

    def make(**options: Any) -> Heard:
        links.append(Heard(mosquitto, **options))
        return links[-1]

    yield make
    for heard in links:
        heard.link.stop()


@pytest.fixture
def heard(hear: Callable[..., Heard]) -> Heard:
    return hear()


def test_it_hears_what_devices_say_and_whether_it_was_retained(heard: Heard, device: DeviceClient) -> None:
    device.send(state(), retain=True)
    heard.start()
    retained = heard.next()
    assert (retained.topic, retained.payload, retained.retained) == (topic_of(state()), encode(state()), True)
    messages = [health(), window(1), alert(2)]
    device.send(*messages)
    live = [heard.next() for _ in messages]
    assert [received.topic for received in live] == [topic_of(message) for message in messages]
    assert not any(received.retained for received in live)


def test_what_finds_no_room_is_dropped_and_counted(heard: Heard, device: DeviceClient) -> None:
    heard.start()
    device.send(*[window(seq) for seq in range(1, ROOM + 4)])
    wait_for(lambda: heard.counts.rejected[Reason.QUEUE_FULL] == 3, what="the drops to be counted")
    assert heard.inbox.qsize() == ROOM


def test_what_is_larger_than_the_room_that_is_left_is_dropped_and_counted(
    hear: Callable[..., Heard], device: DeviceClient
) -> None:
    heard = hear(most_bytes=1000)
    heard.start()
    for size in (600, 600, 400):
        device.publish(topic_of(window()), bytes(size))
    wait_for(lambda: heard.inbox.qsize() == 2, what="the first and the last")
    assert [len(received.payload) for received in heard.take()] == [600, 400]
    assert heard.counts.rejected[Reason.QUEUE_FULL] == 1


def test_the_log_names_whose_messages_are_dropped_and_why(
    hear: Callable[..., Heard], connect: Callable[..., DeviceClient]
) -> None:
    with capture_logs() as lines:
        heard = hear(room=0, admits=lambda topic, _now: "fast" not in topic)
        heard.start()
        for name in ("fast", "faster", "large", "unlucky"):
            talker = connect(device=name)
            for _ in range(20):
                talker.publish(topic_of(window(device=name)), bytes(MAX_MESSAGE_BYTES + (name == "large")))
        wait_for(lambda: sum(heard.counts.rejected.values()) == 80, what="all of them")
    told = [(line["reason"], line["topic"]) for line in lines if line["event"] == "message rejected"]
    assert told == [
        ("rate", topic_of(window(device="fast"))),
        ("rate", topic_of(window(device="faster"))),
        ("too_large", topic_of(window(device="large"))),
        ("queue_full", topic_of(window(device="unlucky"))),
    ]


ODD_TOPICS = [
    "driftprint/v1/\ufeff/pi-1/state",
    "driftprint/v1/\u202e\u2028/\U0001f600/belt/window",
    "driftprint/v1//pi-1/state",
    "driftprint/v1/north/pi-1/health/window",
]
ODD_PAYLOADS = [b"", b"\xef\xbb\xbf{}", b"\xff\xfe\x00", "\U0001f600\u202e".encode()]


@pytest.mark.parametrize("version", ["3.1.1", "5"])
def test_odd_topics_and_payloads_are_heard_and_left_to_others(
    hear: Callable[..., Heard], device: DeviceClient, version: str
) -> None:
    heard = hear(version=version, room=100)
    heard.start()
    odd = [(topic, payload) for topic in ODD_TOPICS for payload in ODD_PAYLOADS]
    for topic, payload in odd:
        device.publish(topic, payload)
    device.publish(f"driftprint/v1/north/{65 * 'x'}/state", b"{}")
    device.publish(f"driftprint/v1/north/{60_000 * 'x'}/state", b"{}")  # no id is so long, it would fill the memory
    device.send(window(1))
    wait_for(lambda: heard.inbox.qsize() == len(odd) + 2, what="all but the long one")
    assert [(received.topic, received.payload) for received in heard.take()[: len(odd)]] == odd
    assert {reason: total for reason, total in heard.counts.rejected.items() if total} == {Reason.TOPIC: 1}


def test_a_message_that_cannot_be_taken_in_is_counted_and_ends_nothing(
    hear: Callable[..., Heard], device: DeviceClient
) -> None:
    def admits(topic: str, _now: float) -> bool:
        if topic == topic_of(window(1)):
            raise ZeroDivisionError
        return True

    heard = hear(admits=admits)
    heard.start()
    device.send(window(1), alert(2))
    assert heard.next().payload == encode(alert(2))
    assert heard.counts.rejected[Reason.INTERNAL] == 1
    assert heard.link.connected


def test_what_a_session_has_subscribed_to_beside_ours_is_counted_as_no_topic_of_ours(
    mosquitto: Mosquitto, tmp_path: Path, device: DeviceClient
) -> None:
    other = make_client(MqttSettings(), "driftprint-server", clean_session=False)
    subscribed: list[object] = []
    other.on_subscribe = lambda *_: subscribed.append(True)
    other.connect(mosquitto.host, mosquitto.port)
    other.loop_start()
    other.subscribe("hello", qos=1)
    wait_for(lambda: subscribed, what="the subscription")
    other.disconnect()
    other.loop_stop()
    server = ServerProcess(tmp_path, mosquitto.port)
    server.start()
    try:
        device.publish("hello", b"x")
        device.send(window(1))
        device.wait_for_acks([1])
        assert server.metric('driftprint_server_rejected_total{reason="topic"}') == 1
    finally:
        server.kill()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_where_its_thread_has_ended_it_is_not_connected(hear: Callable[..., Heard], device: DeviceClient) -> None:
    def admits(_topic: str, _now: float) -> bool:
        raise SystemExit  # which ends a thread without a word

    heard = hear(admits=admits)
    heard.start()
    assert not heard.link.ended
    device.send(window(1))
    wait_for(lambda: heard.link.ended, what="the end")
    assert not heard.link.connected
    assert not heard.link.publish("driftprint/v1/north/pi-1/ack", b"{}")


class Faulty(Counts):
    """Fails to count at first, and asks each time."""

    def __init__(self, ask: Callable[[], bool]) -> None:
        super().__init__()
        self._ask = ask
        self.answers: list[bool] = []

    def reject(self, reason: Reason) -> int:
        self.answers.append(self._ask())
        if len(self.answers) < 3:  # why the message is rejected, and then that it could not be counted
            raise ZeroDivisionError("cannot count")
        return super().reject(reason)


def test_after_a_fault_it_is_not_connected_until_it_hears_again(
    hear: Callable[..., Heard], device: DeviceClient
) -> None:
    counts = Faulty(lambda: faulty.link.connected)
    with capture_logs() as lines:
        faulty = hear(admits=lambda topic, _now: topic != topic_of(window(1)), counts=counts)
        faulty.start()
        device.send(window(1))
        wait_for(lambda: counts.rejected[Reason.INTERNAL] == 1, what="the fault to be counted")
        wait_for(lambda: counts.rejected[Reason.RATE] == 1, what="the message to come again")
        wait_for(lambda: faulty.link.connected, what="the new connection")
    assert counts.answers[:3] == [True, True, False]
    assert [line["what"] for line in lines if line["log_level"] == "error"] == ["ZeroDivisionError('cannot count')"]
    device.send(alert(2))
    assert faulty.next().payload == encode(alert(2))


def test_nothing_is_sent_later_that_cannot_be_sent_now(heard: Heard, mosquitto: Mosquitto) -> None:
    heard.start()
    mosquitto.kill()
    wait_for(lambda: not heard.link.connected, what="the loss to be noticed")
    assert not heard.link.publish("driftprint/v1/north/pi-1/ack", b"{}")


def test_what_was_said_while_it_was_away_it_hears_afterwards(hear: Callable[..., Heard], device: DeviceClient) -> None:
    before = hear()
    before.start()
    before.link.stop()
    device.send(window(1))
    after = hear()
    after.start()
    assert after.next().topic == topic_of(window(1))


def test_what_comes_too_fast_is_refused_and_what_the_broker_has_kept_is_not(
    hear: Callable[..., Heard], device: DeviceClient
) -> None:
    device.send(state(), retain=True)
    asked: list[str] = []

    def admits(topic: str, _now: float) -> bool:
        asked.append(topic)
        return topic != topic_of(window(1))

    heard = hear(admits=admits)
    heard.start()
    device.send(window(1), alert(2))
    wait_for(lambda: heard.inbox.qsize() == 2, what="both others")
    assert [received.topic for received in heard.take()] == [topic_of(state()), topic_of(alert(2))]
    assert heard.counts.rejected[Reason.RATE] == 1
    assert asked == [topic_of(window(1)), topic_of(alert(2))]


def test_what_is_too_large_finds_no_room_and_is_counted(heard: Heard, device: DeviceClient) -> None:
    heard.start()
    device.publish(topic_of(window(1)), bytes(MAX_MESSAGE_BYTES + 1))
    device.publish(topic_of(window(1)), bytes(MAX_MESSAGE_BYTES))
    assert len(heard.next().payload) == MAX_MESSAGE_BYTES
    assert heard.counts.rejected[Reason.TOO_LARGE] == 1


@pytest.mark.parametrize("version", ["3.1.1", "5"])
def test_replicas_share_what_is_said_and_each_message_is_heard_by_one(
    hear: Callable[..., Heard], device: DeviceClient, version: str
) -> None:
    replicas = [hear(share="group", room=1000, version=version) for _ in range(3)]
    for replica in replicas:
        replica.start()
    sent = [window(seq) for seq in range(1, 301)]
    device.send(*sent)

    wait_for(lambda: sum(one.inbox.qsize() for one in replicas) == len(sent), what="all messages")
    taken = [one.take() for one in replicas]
    assert all(taken)  # each of them its share, so none has put another one out
    assert sorted(received.payload for share in taken for received in share) == sorted(map(encode, sent))


@pytest.mark.parametrize("version", ["3.1.1", "5"])
def test_nothing_is_kept_at_the_broker_for_a_replica_that_is_gone(
    hear: Callable[..., Heard], device: DeviceClient, version: str
) -> None:
    gone = hear(share="group", version=version)
    gone.start()
    gone.link.stop()
    device.send(window(1))
    other = hear(share="group", version=version)
    other.start()
    device.send(window(2))
    assert other.next().payload == encode(window(2))
