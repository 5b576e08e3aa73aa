import ssl
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
import trustme

from driftprint.messages import DeviceStatus, WindowMessage, encode
from tests.brokers import Mosquitto, wait_for
from tests.server.messages import health, state, topic_of, window
from tests.server.processes import ServerProcess
from tests.server.remote_write.databases import Database, Prometheus, VictoriaMetrics
from tests.server.remote_write.replicas import Devices, StartReplica

DEVICES = 20
WINDOWS = 60
INTERVAL = 10.0
TOTALS = "driftprint_frames_total"

Speak = Callable[[Sequence[WindowMessage]], Devices]


@pytest.fixture
def speak(mosquitto: Mosquitto) -> Iterator[Speak]:
    """Connects devices that have something to say."""
    speaking: list[Devices] = []

    def connect(windows: Sequence[WindowMessage]) -> Devices:
        speaking.append(Devices(mosquitto, windows))
        return speaking[-1]

    yield connect
    for devices in speaking:
        devices.close()


def by(version: str) -> dict[str, str]:
    """Settings for a version of MQTT."""
    return {"mqtt": f"version = '{version}'"}


def history(end: float) -> list[WindowMessage]:
    """What the devices have kept: ten minutes of windows, ten seconds apart, the last one at `end`."""
    return [
        window(
            seq,
            device=f"pi-{device}",
            instance=f"{device:016x}",
            recorded_at=end - (WINDOWS - seq) * INTERVAL,
            frames_total=total(device, seq),
        )
        for seq in range(1, WINDOWS + 1)
        for device in range(DEVICES)
    ]


def total(device: int, seq: int) -> int:
    return 1000 * device + 100 * seq


def by_device(database: Database, expression: str, *, at: float | None = None) -> dict[str, float]:
    return {dict(labels)["device"]: value for labels, value in database.query(expression, at=at).items()}


def assert_complete(database: Database, end: float) -> None:
    """Every window of the history is there once, at its time."""
    names = [f"pi-{device}" for device in range(DEVICES)]
    written = f"count_over_time({TOTALS}[20m])"
    wait_for(lambda: sum(by_device(database, written).values()) >= DEVICES * WINDOWS, what="all samples to be found")
    assert by_device(database, written) == dict.fromkeys(names, WINDOWS)
    assert by_device(database, f"last_over_time({TOTALS}[20m])") == {
        name: total(device, WINDOWS) for device, name in enumerate(names)
    }
    for seq in (1, 17, WINDOWS):
        at = end - (WINDOWS - seq) * INTERVAL + 1
        assert by_device(database, TOTALS, at=at) == {name: total(device, seq) for device, name in enumerate(names)}


@pytest.mark.parametrize("version", ["3.1.1", "5"])
def test_after_the_kill_of_a_replica_two_databases_have_all_windows_once_and_at_their_times(
    start_replica: StartReplica,
    speak: Speak,
    victoria_metrics: VictoriaMetrics,
    prometheus: Prometheus,
    version: str,
) -> None:
    databases: tuple[Database, Database] = (victoria_metrics, prometheus)
    urls = [database.write_url for database in databases]
    replicas = [start_replica(urls, settings=by(version)) for _ in range(3)]
    end = round(time.time(), 3)
    devices = speak(history(end))

    wait_for(lambda: devices.send() or devices.acknowledged > 300, what="the first acknowledgements")
    assert devices.acknowledged < DEVICES * WINDOWS
    replicas[0].kill()
    wait_for(devices.send, what=lambda: f"all acknowledgements, {devices.acknowledged} so far", seconds=120)

    for replica in replicas[1:]:
        taken = replica.metric('driftprint_server_messages_total{kind="window"}')
        assert 0 < taken < DEVICES * WINDOWS  # its share
        assert replica.metric("driftprint_remote_write_dropped_samples_total") == 0
    for database in databases:
        assert_complete(database, end)
    everything = 'last_over_time({__name__=~"driftprint_.*"}[5m])'
    found = [database.query(everything, at=end - 100) for database in databases]
    assert len(found[0]) > DEVICES * 20
    assert found[0] == found[1]


def test_while_the_database_is_away_nothing_is_acknowledged_and_then_the_replica_recovers(
    start_replica: StartReplica, speak: Speak, tmp_path: Path
) -> None:
    database = VictoriaMetrics(tmp_path / "later")
    replica = start_replica([database.write_url])
    devices = speak([window(1, recorded_at=time.time())])

    wait_for(
        lambda: devices.send() or replica.metric("driftprint_server_store_errors_total") > 0,
        what=lambda: f"an attempt\n{replica.log}",
    )
    assert devices.acknowledged == 0
    assert any(database.address in problem for problem in replica.problems() or [])

    database.start()
    try:
        wait_for(devices.send, what=lambda: f"the acknowledgement\n{replica.log}")
        wait_for(lambda: database.value(TOTALS) == 100, what="the sample")
    finally:
        database.kill()
    assert replica.problems() == []


def test_a_replica_with_a_wrong_path_acknowledges_nothing_and_says_what_is_wrong(
    start_replica: StartReplica, speak: Speak, victoria_metrics: VictoriaMetrics
) -> None:
    replica = start_replica([f"{victoria_metrics.url}/insert/0/prometheus/api/v1/write"])
    devices = speak([window(1, recorded_at=time.time())])

    wait_for(
        lambda: devices.send() or any("see to the path of url" in problem for problem in replica.problems() or []),
        what=lambda: f"the problem, in place of {replica.problems()}\n{replica.log}",
    )

    assert devices.acknowledged == 0
    assert replica.metric("driftprint_remote_write_dropped_samples_total") == 0
    assert "see to the path of url" in replica.log


def test_a_goodbye_that_was_said_while_the_database_was_away_is_written_once_it_is_back(
    start_replica: StartReplica, speak: Speak, victoria_metrics: VictoriaMetrics
) -> None:
    replica = start_replica([victoria_metrics.write_url])
    devices = speak([])
    for message in (state(), health()):
        devices.publish(topic_of(message), encode(message))
    wait_for(lambda: victoria_metrics.value("driftprint_device_up") == 1, what="the device to be up")

    victoria_metrics.kill()
    goodbye = state(DeviceStatus.OFFLINE)
    devices.publish(topic_of(goodbye), encode(goodbye))
    wait_for(
        lambda: replica.metric("driftprint_server_store_errors_total") > 0, what=lambda: f"an attempt\n{replica.log}"
    )
    victoria_metrics.start()

    wait_for(lambda: victoria_metrics.value("driftprint_device_up") == 0, what=lambda: f"the goodbye\n{replica.log}")


def test_what_is_no_message_is_counted_by_its_reason_and_costs_nobody_else_anything(
    start_replica: StartReplica,
    speak: Speak,
    victoria_metrics: VictoriaMetrics,
) -> None:
    replica = start_replica([victoria_metrics.write_url])
    good = window(1, recorded_at=time.time())
    devices = speak([good])
    for payload in (b"\xff\x00", b"{" * 100_000, topic_of(good).encode(), b"{}", b""):
        devices.publish(topic_of(good), payload)

    wait_for(devices.send, what=lambda: f"the acknowledgement\n{replica.log}")

    wait_for(lambda: replica.metric("driftprint_server_rejected_total") == 5, what="all to be counted")
    assert replica.metric('driftprint_server_rejected_total{reason="internal"}') == 0


def test_a_replica_ends_in_good_order(start_replica: StartReplica, victoria_metrics: VictoriaMetrics) -> None:
    replica = start_replica([victoria_metrics.write_url])

    assert replica.stop() == 0


@pytest.mark.parametrize("version", ["3.1.1", "5"])
def test_after_the_kill_of_a_server_that_writes_its_database_has_all_windows_once_and_at_their_times(
    mosquitto: Mosquitto, speak: Speak, victoria_metrics: VictoriaMetrics, tmp_path: Path, version: str
) -> None:
    target = {"[remote_write]": f"url = '{victoria_metrics.write_url}'"}
    server = ServerProcess(tmp_path, mosquitto.port, settings=by(version) | target)
    server.start()
    try:
        end = round(time.time(), 3)
        devices = speak(history(end))
        wait_for(lambda: devices.send() or devices.acknowledged > 300, what="the first acknowledgements")
        server.kill()
        assert devices.acknowledged < DEVICES * WINDOWS
        server.start()
        wait_for(devices.send, what=lambda: f"all acknowledgements, {devices.acknowledged} so far", seconds=120)
    finally:
        server.kill()

    assert_complete(victoria_metrics, end)


def test_a_replica_takes_in_only_devices_on_its_list_and_no_more_of_one_than_it_may_say(
    start_replica: StartReplica, speak: Speak, victoria_metrics: VictoriaMetrics
) -> None:
    replica = start_replica(
        [victoria_metrics.write_url],
        settings={
            "enrolment": "mode = 'list'\ndevices = ['north/pi-*']",
            "caps": "messages_per_second = 0.001\nmessage_burst = 20\nseries_per_device = 100",
        },
    )
    now = time.time()
    devices = speak(
        [window(1, device=f"pi-{number}", instance=f"{number:016x}", recorded_at=now) for number in range(3)]
    )
    wait_for(devices.send, what=lambda: f"the acknowledgements\n{replica.log}")

    foreign = window(1, device="stranger", recorded_at=now)
    devices.publish(topic_of(foreign), encode(foreign))
    growing = [window(2, device="pi-1", stream=f"belt-{number}", recorded_at=now) for number in range(8)]
    for message in growing:
        devices.publish(topic_of(message), encode(message))
    loud = window(2, device="pi-2", recorded_at=now)
    for _ in range(30):
        devices.publish(topic_of(loud), encode(loud))

    def rejected(reason: str) -> float:
        return replica.metric(f'driftprint_server_rejected_total{{reason="{reason}"}}')

    wait_for(lambda: rejected("rate") > 0, what=lambda: f"the flood to be refused\n{replica.log}")
    wait_for(lambda: rejected("not_enrolled") == 1, what=lambda: f"the stranger to be refused\n{replica.log}")
    assert 0 < rejected("too_many_series") < len(growing)
    streams = {"pi-0": 1, "pi-1": 1 + len(growing) - rejected("too_many_series"), "pi-2": 1}

    def written() -> dict[str, float]:
        return by_device(victoria_metrics, f"count by (device) ({TOTALS})")

    wait_for(lambda: written() == streams, what=lambda: f"{streams}, got {written()}")


def test_a_replica_speaks_tls(start_replica: StartReplica, victoria_metrics: VictoriaMetrics, tmp_path: Path) -> None:
    authority = trustme.CA()
    authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(tmp_path / "replica.pem")
    trust = ssl.create_default_context()
    authority.configure_trust(trust)
    certificate = f"cert_file = '{tmp_path}/replica.pem'\nkey_file = '{tmp_path}/replica.pem'"

    replica = start_replica([victoria_metrics.write_url], settings={"http": certificate}, trust=trust)

    assert replica.metric("driftprint_server_connected") == 1
