import threading
from collections.abc import Iterator

import pytest
from fastapi import FastAPI

from driftprint.clock import SystemClock
from driftprint.mqtt import MqttSettings
from driftprint_server.config import HttpSettings
from driftprint_server.counts import Counts, Reason
from driftprint_server.daemon import Daemon
from driftprint_server.inbox import Inbox
from driftprint_server.keepers import Relay
from driftprint_server.link import Link
from driftprint_server.worker import Worker
from tests.brokers import Mosquitto, free_port, wait_for
from tests.server.messages import topic_of, window
from tests.server.processes import DeviceClient


class Broken(Counts):
    """Which ends whoever counts a rejection."""

    def reject(self, reason: Reason) -> int:
        raise ZeroDivisionError(reason)


class Bench:
    """A daemon that has an end to it, and what `run` raised."""

    def __init__(self, broker: Mosquitto) -> None:
        self.error: Exception | None = None
        self.link_admits = True
        counts, clock, inbox, ending = Broken(), SystemClock(), Inbox(), threading.Event()
        self.link = Link(
            MqttSettings(host=broker.host, port=broker.port),
            client_id="server",
            inbox=inbox,
            counts=counts,
            clock=clock,
            admits=lambda _topic, _now: self.link_admits,
        )
        worker = Worker(inbox, keeper=Relay([]), publish=self.link.publish, counts=counts, clock=clock)
        self._daemon = Daemon(
            link=self.link, worker=worker, app=FastAPI(), http=HttpSettings(port=free_port()), ending=ending
        )
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        wait_for(lambda: self.link.connected, what="the link")

    @property
    def running(self) -> bool:
        return self._thread.is_alive()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join(60)

    def _run(self) -> None:
        try:
            self._daemon.run(self._stop)
        except RuntimeError as error:
            self.error = error


@pytest.fixture
def bench(mosquitto: Mosquitto) -> Iterator[Bench]:
    bench = Bench(mosquitto)
    yield bench
    bench.stop()
    bench.link.stop()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize(("part", "admits"), [("mqtt", False), ("worker", True)])
def test_it_does_not_run_on_without_a_part(bench: Bench, device: DeviceClient, part: str, admits: bool) -> None:
    bench.link_admits = admits
    device.publish(topic_of(window()), b"junk")
    wait_for(lambda: not bench.running, what="the end")
    assert str(bench.error) == f"the {part} thread has ended"


def test_it_runs_until_it_is_told_to_stop(bench: Bench, device: DeviceClient) -> None:
    device.send(window())
    bench.stop()
    assert not bench.running
    assert bench.error is None
