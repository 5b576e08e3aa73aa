"""What a hostile or broken device can send, and that it costs nobody else.

First in process, where much can be tried; then over a real broker into a server that a real Prometheus scrapes.
"""

import json
import random
import threading
import tracemalloc
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from paho.mqtt.enums import CallbackAPIVersion

from driftprint.messages import ClassStats, WindowKind, WindowStats, encode
from driftprint_server.aggregates import AggregateCollector
from driftprint_server.counts import Counts, Reason
from driftprint_server.device import MOST_ALERTS, MOST_STREAMS
from driftprint_server.fleet import Fleet
from driftprint_server.inbox import Inbox, Received
from driftprint_server.keepers import FleetKeeper
from driftprint_server.metrics import DeviceMetrics, exposition
from driftprint_server.store import Store
from driftprint_server.views import fleet_view
from driftprint_server.worker import Worker
from tests.brokers import Mosquitto, wait_for
from tests.line.prometheus import Prometheus
from tests.promtool import promtool_complaints
from tests.server.clocks import FakeClock
from tests.server.messages import alert, health, state, topic_of, window
from tests.server.processes import DeviceClient, ServerProcess

KINDS = {"window": window(1), "alert": alert(2), "health": health(), "state": state()}
CLOCKS = (0.0, 2_145_916_800.0)
"""In 1970 and in 2037."""


class Ingest:
    """A worker with a real store, and all that shows its fleet."""

    def __init__(self, path: Path, *, max_devices: int = 1000) -> None:
        self.clock = FakeClock()
        self.counts = Counts()
        self.path = path
        self.store = Store(path)
        self.fleet = Fleet(self.store.load(), max_devices=max_devices, forget_after_seconds=10**6)
        self.acked = 0
        self.worker = Worker(
            Inbox(),
            keeper=FleetKeeper(self.fleet, self.store, now=self.clock.now()),
            publish=self._publish,
            counts=self.counts,
            clock=self.clock,
        )

    def _publish(self, _topic: str, _payload: bytes) -> bool:
        self.acked += 1
        return True

    def deliver(self, *messages: tuple[str, bytes]) -> None:
        self.worker.step([Received(topic, payload, False, self.clock.wall) for topic, payload in messages])

    def exposition(self) -> str:
        """Of the devices, and of the fleet as a whole."""
        metrics = DeviceMetrics(self.fleet, clock=self.clock, stale_after_seconds=60, max_classes=20)
        whole = AggregateCollector(self.fleet, clock=self.clock, stale_after_seconds=60)
        return b"".join(exposition(metrics.text(), whole)).decode()

    def page(self) -> str:
        """What the page is told."""
        return fleet_view(self.fleet, self.clock.wall, stale_after_seconds=60).model_dump_json()


@pytest.fixture(scope="module")
def ingest(tmp_path_factory: pytest.TempPathFactory) -> Ingest:
    """One for all that is tried: nothing may spoil it."""
    return Ingest(tmp_path_factory.mktemp("ingest") / "server.db")


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(10**15, 10**40)
    | st.floats()
    | st.text(max_size=200)
    | st.sampled_from([2**63 - 1, 2**63, 2**64, -1, 1e308, -1e308, 5e-324, "", "\0", '"\\\n', "\u2028", "é" * 128]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=20), inner, max_size=4),
    max_leaves=8,
)


@st.composite
def forgeries(draw: st.DrawFn) -> tuple[str, bytes]:
    """A message in which some values are others."""
    message = draw(st.sampled_from(list(KINDS.values())))
    body = json.loads(encode(message))
    for _ in range(draw(st.integers(1, 3))):
        place: Any = body
        while True:
            key = draw(st.sampled_from(sorted(place) if isinstance(place, dict) else range(len(place))))
            inner = place[key]
            if not isinstance(inner, dict | list) or not inner or draw(st.booleans()):
                break
            place = inner
        if isinstance(place, dict) and draw(st.booleans()):
            place[draw(st.text(max_size=130))] = place[key]
        else:
            place[key] = draw(JSON)
    return topic_of(message), json.dumps(body).encode("utf-8", "surrogatepass")


@given(topic=st.sampled_from([topic_of(message) for message in KINDS.values()]), payload=st.binary(max_size=500))
def test_random_bytes_are_invalid_and_nothing_else(ingest: Ingest, topic: str, payload: bytes) -> None:
    before = ingest.counts.rejected[Reason.INVALID]
    ingest.deliver((topic, payload + b"!"))
    assert ingest.counts.rejected[Reason.INVALID] == before + 1


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow], max_examples=500)
@given(forged=forgeries())
def test_whatever_is_said_is_taken_in_or_refused_for_a_reason_that_was_foreseen(
    ingest: Ingest, forged: tuple[str, bytes]
) -> None:
    ingest.deliver(forged)
    assert ingest.counts.rejected[Reason.INTERNAL] == 0, forged
    assert ingest.worker.store_problem is None, forged
    assert "nan" not in ingest.exposition().casefold(), forged
    json.loads(ingest.page(), parse_constant=lambda word: pytest.fail(f"{word} on the page: {forged}"))


def test_what_was_made_of_it_all_is_shown_and_kept(ingest: Ingest) -> None:
    assert promtool_complaints(ingest.exposition()) == ""
    assert tuple(Store(ingest.path).load()) == ingest.fleet.devices()


def body_of(kind: str, **fields: object) -> bytes:
    return json.dumps({**json.loads(encode(KINDS[kind])), **fields}).encode()


@pytest.mark.parametrize("clock", [*CLOCKS, -1e308, 1e308])
@pytest.mark.parametrize("age", [0.0, 1e308])
def test_a_clock_that_is_wrong_dates_nothing_in_the_future_nor_in_another_age(
    tmp_path: Path, clock: float, age: float
) -> None:
    ingest = Ingest(tmp_path / "server.db")
    wrong = {"recorded_at": clock, "age_seconds": age}
    ingest.deliver(
        (topic_of(KINDS["state"]), body_of("state", started_at=clock)),
        (topic_of(KINDS["window"]), body_of("window", **wrong)),
        (topic_of(KINDS["alert"]), body_of("alert", **wrong, raised_at=-clock, cleared_at=clock, suspected_at=-clock)),
    )
    assert sum(ingest.counts.rejected.values()) == 0
    month = 31 * 86_400
    now = ingest.clock.wall
    (device,) = ingest.fleet.devices()
    belt = device.streams["belt"]
    assert belt.window is not None
    dates = [belt.window.at, *(kept.at for kept in belt.alerts.values())]
    assert all(now - month <= at <= now for at in dates)
    (shown,) = json.loads(ingest.page())["alerts"]
    assert now - 2 * month <= shown["raised_at"] <= now


@pytest.mark.parametrize(
    "payload",
    [
        b'{"a":' * 50_000,
        b"[" * 50_000 + b"]" * 50_000,
        encode(window(1))[:-1] + b',"x":' + b"[" * 50_000 + b"]" * 50_000 + b"}",
        encode(window(1))[:-1] + b',"x":' + b'{"a":' * 20_000 + b"1" + b"}" * 20_000 + b"}",
        encode(window(1)).replace(b'"frames_total":100', b'"frames_total":' + b"9" * 100_000),
        encode(window(1)).replace(b'"version":1', b'"version":' + b"9" * 4000),
        encode(window(1)).replace(b'"version":1', b'"version":' + b"9" * 5000),
        encode(window(1)).replace(b'"evidence":0.2', b'"evidence":1e999'),
        encode(window(1)).replace(b'"evidence":0.2', b'"evidence":-Infinity'),
        encode(window(1)).replace(b'"frames_per_second":10.0', b'"frames_per_second":NaN'),
        encode(window(1)).replace(b'"cat"', b'"' + b"c" * 100_000 + b'"'),
        encode(window(1)).replace(b'"cat"', b'"\\ud800"'),
    ],
    ids=lambda payload: f"{payload[:12]!r}...{len(payload)}",
)
def test_what_no_honest_device_sends_is_invalid(tmp_path: Path, payload: bytes) -> None:
    ingest = Ingest(tmp_path / "server.db")
    ingest.deliver((topic_of(window()), payload), (topic_of(window(device="pi-2")), encode(window(device="pi-2"))))
    assert {reason: total for reason, total in ingest.counts.rejected.items() if total} == {Reason.INVALID: 1}
    assert [device.name for device in ingest.fleet.devices()] == ["pi-2"]


def test_labels_with_any_characters_are_a_valid_exposition(tmp_path: Path) -> None:
    ingest = Ingest(tmp_path / "server.db")
    names = ['"', "\\", "\n", "\r\n", "\0", "\u2028", "{}", "é" * 128, 'x",device="pi-2', "\x7f", "\U0001f600"]
    classes = {name: ClassStats(frames=1, outlier_ratio=0.5) for name in names}
    stats = WindowStats(kind=WindowKind.COUNT, limit=9, frames=9, outlier_ratio=0, classes=classes)
    forged = window(1, windows=(stats,), faults_total=dict.fromkeys(names, 1))
    ingest.deliver((topic_of(forged), encode(forged)), (topic_of(state()), body_of("state", agent_version='"\n\\')))
    assert sum(ingest.counts.rejected.values()) == 0
    assert promtool_complaints(ingest.exposition()) == ""
    assert len(ingest.fleet.devices()) == 1


def test_any_number_of_made_up_devices_is_refused_in_a_bounded_memory(tmp_path: Path) -> None:
    ingest = Ingest(tmp_path / "server.db", max_devices=10)
    body = encode(window(1, device="DEVICE", windows=()))

    def speak(numbers: range) -> None:
        for start in range(numbers.start, numbers.stop, 1000):
            named = [str(number).encode() for number in range(start, start + 1000)]
            ingest.deliver(
                *[(f"driftprint/v1/north/{name.decode()}/belt/window", body.replace(b"DEVICE", name)) for name in named]
            )

    speak(range(2000))
    tracemalloc.start()
    try:
        speak(range(2000, 52_000))
        grown, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert grown < 200_000
    assert len(ingest.fleet.devices()) == 10
    assert ingest.counts.rejected[Reason.TOO_MANY_DEVICES] == 52_000 - 10


def test_one_device_has_a_bounded_number_of_streams_and_alerts(tmp_path: Path) -> None:
    ingest = Ingest(tmp_path / "server.db")
    for number in range(3 * MOST_STREAMS):
        said = window(1, stream=f"stream-{number}")
        ingest.deliver((topic_of(said), encode(said)))
    for number in range(1, 3 * MOST_ALERTS):
        raised = alert(number, number=number, stream="stream-0")
        ingest.deliver((topic_of(raised), encode(raised)))
    (device,) = ingest.fleet.devices()
    assert len(device.streams) == MOST_STREAMS
    assert len(device.streams["stream-0"].alerts) == MOST_ALERTS
    assert ingest.counts.rejected[Reason.TOO_MANY_STREAMS] == 2 * MOST_STREAMS


HONEST = ("honest-1", "honest-2", "honest-3")
MOST_DEVICES = 20


class Flood:
    """A client that publishes as fast as it can, for as long as the context lasts.

    Args:
        broker: where to.
        message: the topic and payload of the n-th message.
    """

    def __init__(self, broker: Mosquitto, message: Callable[[int], tuple[str, bytes]]) -> None:
        self.sent = 0
        self._message = message
        self._stopping = threading.Event()
        self._client = paho.Client(CallbackAPIVersion.VERSION2)
        self._client.connect(broker.host, broker.port)
        self._client.loop_start()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> "Flood":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._thread.join()
        self._client.disconnect()
        self._client.loop_stop()

    def has_sent(self, count: int) -> bool:
        """Whether so many have gone out."""
        return self.sent >= count

    def _run(self) -> None:
        while not self._stopping.is_set():
            # What has gone out is waited for now and then, lest the client's own queue fills this process.
            for _ in range(100):
                last = self._client.publish(*self._message(self.sent), qos=0)
                self.sent += 1
            last.wait_for_publish(5)


@pytest.fixture
def mosquitto(start_mosquitto: Callable[..., Mosquitto]) -> Mosquitto:
    """With the limits that are deployed."""
    lines = (Path(__file__).parents[2] / "deploy/mosquitto/mosquitto.conf").read_text().splitlines()
    return start_mosquitto(settings=[line for line in lines if line.startswith("max_")])


@pytest.fixture
def small_server(mosquitto: Mosquitto, tmp_path: Path) -> Iterator[ServerProcess]:
    """A running server that takes in few devices."""
    process = ServerProcess(tmp_path, mosquitto.port, settings={"fleet": f"max_devices = {MOST_DEVICES}"})
    process.start()
    yield process
    process.kill()


@pytest.fixture
def prometheus(small_server: ServerProcess, tmp_path: Path) -> Iterator[Prometheus]:
    process = Prometheus(tmp_path / "prometheus", small_server.url.removeprefix("http://"))
    process.start()
    yield process
    process.kill()


def resident_bytes(process: ServerProcess) -> int:
    assert process._process is not None
    status = Path(f"/proc/{process._process.pid}/status").read_text()
    (line,) = [line for line in status.splitlines() if line.startswith("VmRSS:")]
    return int(line.split()[1]) * 1024


def rejected(server: ServerProcess, reason: Reason) -> int:
    return int(server.metric(f'driftprint_server_rejected_total{{reason="{reason.value}"}}'))


class HonestDevices:
    """Devices that report one state of things, and say it again until it is acknowledged."""

    def __init__(self, connect: Callable[..., DeviceClient]) -> None:
        self.clients = {name: connect(device=name) for name in HONEST}

    def report(self, seq: int) -> None:
        """Every one its totals, until all are acknowledged."""
        for number, (name, client) in enumerate(self.clients.items(), 1):
            said = window(seq, device=name, frames_total=1000 * number, ratio=number / 10)

            def acknowledged(client: DeviceClient = client, said: Any = said) -> bool:
                client.send(said)
                return seq in client.acked

            wait_for(acknowledged, what=f"an answer to {name}")


def floods() -> list[tuple[int, Callable[[int], tuple[str, bytes]]]]:
    """How many messages of what kind to send at least: the topic and payload of the n-th."""
    source = random.Random(0)
    body = json.loads(encode(window(1, device="evil")))
    in_its_name = json.dumps(body).encode()
    grown = {
        "faults_total": {f"{number}{'x' * 120}": 1 for number in range(32)},
        "windows": [
            {
                **body["windows"][0],
                "classes": {f"{number}{'y' * 120}": {"frames": 1, "outlier_ratio": 1} for number in range(1000)},
            }
        ],
    }
    here = topic_of(window(device="evil"))
    return [
        (5000, lambda _: (here, source.randbytes(200))),
        (100_000, lambda n: (here.replace("evil", f"evil-{n}"), in_its_name.replace(b"evil", b"evil-%d" % n))),
        (5000, lambda n: (here, in_its_name.replace(b"evil", HONEST[n % 3].encode()))),
        (200, lambda _: (here, b"[" * 100_000)),
        (200, lambda n: (here, json.dumps({**body, **grown, "seq": n}).encode())),
        (5000, lambda n: (here, encode(window(n, device="evil", recorded_at=CLOCKS[n % 2], age_seconds=1e300)))),
        (5000, lambda n: (topic_of(alert(device="evil")), encode(alert(n, number=n, device="evil")))),
    ]


def test_hostile_devices_cost_nobody_else_anything(
    small_server: ServerProcess,
    prometheus: Prometheus,
    mosquitto: Mosquitto,
    connect: Callable[..., DeviceClient],
) -> None:
    honest = HonestDevices(connect)
    honest.report(1)
    prometheus.wait_for('count(driftprint_frames_total{device=~"honest-.*"}) == 3')
    before = resident_bytes(small_server)

    for seq, (count, message) in enumerate(floods(), 2):
        with Flood(mosquitto, message) as flood:
            honest.report(2 * seq)
            wait_for(partial(flood.has_sent, count), what=f"flood {seq}")
            honest.report(2 * seq + 1)

    wait_for(lambda: small_server.metric("driftprint_server_queue_messages") == 0, what="an empty inbox")
    assert small_server.health() == (200, [])
    assert resident_bytes(small_server) - before < 150_000_000
    for reason in (Reason.INVALID, Reason.IDENTITY, Reason.TOO_MANY_DEVICES, Reason.RATE):
        assert rejected(small_server, reason) > 0, reason
    assert rejected(small_server, Reason.INTERNAL) == 0
    assert promtool_complaints(small_server.get("/metrics").text) == ""
    for number, name in enumerate(HONEST, 1):
        labels = f'device="{name}",site="north",stream="belt"'
        for series, value in (
            (f"driftprint_frames_total{{{labels}}}", 1000 * number),
            (f'driftprint_outlier_ratio{{{labels},window="count"}}', number / 10),
        ):
            assert prometheus.query(f"min_over_time({series}[1h])") == [value]
            assert prometheus.query(f"max_over_time({series}[1h])") == [value]
        assert prometheus.query(f'min_over_time(driftprint_device_up{{device="{name}"}}[1h])') == [1]
    assert len(prometheus.query("driftprint_device_up")) <= MOST_DEVICES


def test_every_rejection_is_counted_by_its_reason(
    small_server: ServerProcess, connect: Callable[..., DeviceClient]
) -> None:
    evil = connect(device="evil")
    there = topic_of(window(device="evil"))
    body = json.loads(encode(window(1, device="evil")))
    for payload in (
        b"\x00" * 100,
        b"[" * 100_000,
        json.dumps({**body, "recorded_at": float("nan")}).encode(),
        json.dumps({**body, "age_seconds": -1}).encode(),
        json.dumps({**body, "age_seconds": float("inf")}).encode(),
        json.dumps({**body, "bundle": {"name": "x" * 129, "version": 1}}).encode(),
        json.dumps({**body, "device": "honest-1"}).encode(),
        json.dumps({**body, "site": "south"}).encode(),
        json.dumps({**body, "stream": "chute"}).encode(),
    ):
        evil.publish(there, payload)
    for number in range(MOST_DEVICES + 5):
        evil.send(window(1, device=f"made-up-{number}"))
    expected = {Reason.INVALID: 6, Reason.IDENTITY: 3, Reason.TOO_MANY_DEVICES: 5}
    wait_for(
        lambda: {reason: rejected(small_server, reason) for reason in expected} == expected,
        what=lambda: str({reason: rejected(small_server, reason) for reason in Reason}),
    )
    assert sum(rejected(small_server, reason) for reason in Reason) == sum(expected.values())
