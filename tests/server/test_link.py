import queue
from collections.abc import Iterator

import pytest

from driftprint.clock import SystemClock
from driftprint.messages import encode
from driftprint.mqtt import MqttSettings
from driftprint_server.counts import Counts, Reason
from driftprint_server.link import Link, Received
from tests.brokers import Mosquitto, wait_for
from tests.server.messages import alert, health, state, topic_of, window
from tests.server.processes import DeviceClient

ROOM = 4


class Heard:
    """A link with little room, and what it has heard."""

    def __init__(self, broker: Mosquitto) -> None:
        self.counts = Counts()
        self.inbox: queue.Queue[Received] = queue.Queue(ROOM)
        settings = MqttSettings(host=broker.host, port=broker.port)
        self.link = Link(settings, client_id="server", inbox=self.inbox, counts=self.counts, clock=SystemClock())

    def start(self) -> None:
        self.link.start()
        wait_for(lambda: self.link.connected, what="the link")


@pytest.fixture
def heard(mosquitto: Mosquitto) -> Iterator[Heard]:
    heard = Heard(mosquitto)
    yield heard
    heard.link.stop()


def test_it_hears_what_devices_say_and_whether_it_was_retained(heard: Heard, device: DeviceClient) -> None:
    device.send(state(), retain=True)
    heard.start()
    retained = heard.inbox.get(timeout=5)
    assert (retained.topic, retained.payload, retained.retained) == (topic_of(state()), encode(state()), True)
    messages = [health(), window(1), alert(2)]
    device.send(*messages)
    live = [heard.inbox.get(timeout=5) for _ in messages]
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
