"""The server as a process over a real mosquitto."""

import json
import sqlite3
from collections.abc import Callable

import httpx

from driftprint.messages import AlertStatus, DeviceStatus, encode
from driftprint_server.device import Liveness
from tests.brokers import Mosquitto, wait_for
from tests.server.messages import NEW, OLD, alert, health, state, topic_of, window
from tests.server.processes import DeviceClient, ServerProcess


def stored_windows(server: ServerProcess) -> list[int]:
    with sqlite3.connect(server.store) as db:
        rows = db.execute("SELECT window FROM stream WHERE window IS NOT NULL").fetchall()
    return [json.loads(text)["seq"] for (text,) in rows]


def test_a_device_appears_and_gets_its_acknowledgements(server: ServerProcess, device: DeviceClient) -> None:
    device.send(state(), retain=True)
    device.send(health(), window(1, ratio=0.25), alert(2))
    device.wait_for_acks([1, 2])
    assert {ack.instance for ack in device.acks} == {OLD}
    assert stored_windows(server) == [1]
    view = server.fleet()
    assert [known.state for known in view.devices] == [Liveness.ONLINE]
    assert view.devices[0].streams[0].outlier_ratio == 0.25
    assert [raised.current for raised in view.alerts] == [True]
    assert server.metric('driftprint_device_up{device="pi-1",site="north"}') == 1
    assert server.metric('driftprint_server_messages_total{kind="window"}') == 1


def test_nothing_is_acknowledged_that_the_disk_refuses(server: ServerProcess, device: DeviceClient) -> None:
    device.send(window(1))
    device.wait_for_acks([1])
    other = sqlite3.connect(server.store, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    device.send(alert(2))
    wait_for(lambda: server.health()[0] == 503, what="an unhealthy server")
    _, problems = server.health()
    assert "server.db" in problems[0]
    assert server.metric("driftprint_server_store_errors_total") >= 1
    assert device.acked == [1]

    other.execute("ROLLBACK")
    other.close()
    wait_for(lambda: server.health()[0] == 200, what="a healthy server")
    device.send(alert(2))
    device.wait_for_acks([2])


def test_a_killed_server_gets_what_was_said_meanwhile_and_remembers_the_rest(
    server: ServerProcess, device: DeviceClient
) -> None:
    device.send(state(streams=("belt", "chute")), retain=True)
    device.send(window(1, stream="chute"), alert(2, number=1), window(3, instance=OLD))
    device.wait_for_acks([1, 2, 3])
    device.send(state(instance=NEW, streams=("belt", "chute")), retain=True)
    device.send(window(1, instance=NEW))
    wait_for(lambda: len(device.acked) == 4, what="the ack of the new instance")
    server.kill()

    device.acks.clear()
    device.send(window(2, instance=NEW, stream="chute"), alert(3, number=2, instance=NEW), window(99, instance=OLD))
    server.start()
    device.wait_for_acks([2, 3, 99])
    (known,) = server.fleet().devices
    assert {stream.stream: stream.frames_total for stream in known.streams} == {"belt": 100, "chute": 200}
    assert {shown.alert_id: shown.current for shown in server.fleet().alerts} == {f"{1:032x}": False, f"{2:032x}": True}
    assert server.metric('driftprint_server_rejected_total{reason="superseded_instance"}') == 1


def test_a_restarted_server_takes_no_retained_message_for_a_sign_of_life(
    server: ServerProcess, device: DeviceClient
) -> None:
    device.send(state(), retain=True)
    device.send(health())
    wait_for(lambda: server.metric('driftprint_server_messages_total{kind="health"}') == 1, what="the health message")
    before = server.fleet().devices[0].last_seen
    assert server.stop() == 0
    server.start()
    wait_for(lambda: server.metric('driftprint_server_messages_total{kind="state"}') == 1, what="the retained state")
    assert server.fleet().devices[0].last_seen == before


def test_a_broker_that_goes_away_is_told_and_found_again(
    server: ServerProcess, mosquitto: Mosquitto, connect: Callable[..., DeviceClient]
) -> None:
    mosquitto.kill()
    wait_for(lambda: server.health()[0] == 503, what="an unhealthy server")
    assert "not connected to the broker" in server.health()[1][0]
    assert server.metric("driftprint_server_connected") == 0
    mosquitto.start()
    wait_for(lambda: server.health()[0] == 200, what="a healthy server", seconds=20)
    device = connect()
    device.send(window(1))
    device.wait_for_acks([1])


def test_a_server_without_a_broker_serves_and_says_so(lonely_server: ServerProcess) -> None:
    lonely_server.start(healthy=False)
    wait_for(lambda: lonely_server.health()[0] == 503, what="an answer", seconds=20)
    assert lonely_server.get("/").status_code == 200
    assert lonely_server.stop() == 0


def test_whatever_arrives_is_counted_and_the_server_goes_on(server: ServerProcess, device: DeviceClient) -> None:
    there = topic_of(window())
    body = json.loads(encode(window(1)))
    for topic, payload in [
        (there, b"garbage"),
        (there, b"\xff\xfe\x00"),
        (there, json.dumps(body | {"frames_total": -1}).encode()),
        (there, json.dumps(body | {"schema": 7}).encode()),
        (there, b'"' + b"x" * 5_000_000 + b'"'),
        ("driftprint/v1/north/other/belt/window", encode(window(1))),
        ("driftprint/v1/north/pi 1/belt/window", encode(window(1))),
        ("driftprint/v1/north/pi-1/ack/window", encode(window(1))),
    ]:
        device.publish(topic, payload)
    device.send(window(2))
    device.wait_for_acks([2])
    assert device.acked == [2]
    expected = {"invalid": 3, "schema_version": 1, "too_large": 1, "identity": 1, "topic": 2}
    found = {reason: server.metric(f'driftprint_server_rejected_total{{reason="{reason}"}}') for reason in expected}
    assert found == expected
    assert server.health()[0] == 200


def test_a_last_will_takes_the_device_down_at_once(server: ServerProcess, device: DeviceClient) -> None:
    device.send(state(), health(), window(1))
    device.wait_for_acks([1])
    device.send(state(DeviceStatus.OFFLINE), retain=True)
    up = 'driftprint_device_up{device="pi-1",site="north"}'
    wait_for(lambda: server.metric(up) == 0, what="the device to be down")
    assert server.metric('driftprint_frames_per_second{device="pi-1",site="north",stream="belt"}') == -1
    assert server.metric('driftprint_frames_total{device="pi-1",site="north",stream="belt"}') == 100


def test_a_cleared_alert_is_no_longer_current(server: ServerProcess, device: DeviceClient) -> None:
    device.send(alert(1), alert(2, revision=1, status=AlertStatus.CLEARED))
    device.wait_for_acks([1, 2])
    (shown,) = server.fleet().alerts
    assert not shown.current


def test_events_reach_a_listener_and_do_not_hold_up_the_end(server: ServerProcess, device: DeviceClient) -> None:
    with httpx.stream("GET", f"{server.url}/api/fleet/events", timeout=20) as response:
        lines = (line for line in response.iter_lines() if line.startswith("data: "))
        assert json.loads(next(lines)[6:])["devices"] == []
        device.send(window(1))
        assert json.loads(next(lines)[6:])["devices"][0]["device"] == "pi-1"
        assert server.stop() == 0


def test_a_second_server_on_the_same_port_is_refused_with_one_line(server: ServerProcess) -> None:
    second = ServerProcess(server.store.parent, 1)
    second._config.write_text(
        f"[http]\nport = {server.url.rpartition(':')[2]}\n[store]\npath = '{server.store.parent}/second.db'\n"
    )
    second.start(healthy=False)
    assert second._process is not None
    assert second._process.wait(timeout=20) == 2
    assert "cannot listen on 127.0.0.1" in second.log
