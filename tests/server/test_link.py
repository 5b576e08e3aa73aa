import queue
from collections.abc import Callable, Iterator
from typing import Any, Literal

import pytest

from driftprint.clock import SystemClock
from driftprint.messages import MAX_MESSAGE_BYTES, encode
from driftprint.mqtt import MqttSettings
from driftprint_server.counts import Counts, Reason
from driftprint_server.link import Link, Received
from tests.brokers import Mosquitto, wait_for
from tests.server.messages import alert, health, state, topic_of, window
from tests.server.processes import DeviceClient

ROOM = 4


class Heard:
    """A link with little room, and what it has heard."""

    def __init__(
        self, broker: Mosquitto, *, room: int = ROOM, version: Literal["3.1.1", "5"] = "3.1.1", **options: Any
    ) -> None:
        self.counts = Counts()
        self.inbox: queue.SimpleQueue[Received] = queue.SimpleQueue()
        settings = MqttSettings(host=broker.host, port=broker.port, version=version)
        self.link = Link(
            settings,
            client_id="server",
            inbox=self.inbox,
            counts=self.counts,
            clock=SystemClock(),
            most_waiting=room,
            **options,
        )

    def start(self) -> None:
        self.link.start()
        wait_for(lambda: self.link.connected, what="the link")

    def take(self) -> list[Received]:
        """What has come in so far."""
        taken = []
        while not self.inbox.empty():
            taken.append(self.inbox.get_nowait())
        return taken


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
    retained = heard.inbox.get(timeout=60)
    assert (retained.topic, retained.payload, retained.retained) == (topic_of(state()), encode(state()), True)
    messages = [health(), window(1), alert(2)]
    device.send(*messages)
    live = [heard.inbox.get(timeout=60) for _ in messages]
    assert [received.topic for received in live] == [topic_of(message) for message in messages]
    assert not any(received.retained for received in live)


def test_what_finds_no_room_is_dropped_and_counted(heard: Heard, device: DeviceClient) -> None:
    heard.start()
    device.send(*[window(seq) for seq in range(1, ROOM + 4)])
    wait_for(lambda: heard.counts.rejected[Reason.QUEUE_FULL] == 3, what="the drops to be counted")
    assert heard.inbox.qsize() == ROOM


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
    assert after.inbox.get(timeout=60).topic == topic_of(window(1))


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
    assert len(heard.inbox.get(timeout=60).payload) == MAX_MESSAGE_BYTES
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
    assert other.inbox.get(timeout=60).payload == encode(window(2))
