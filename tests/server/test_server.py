"""The server as a process over a real mosquitto."""

import csv
import io
import json
import re
import sqlite3
import ssl
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from driftprint.messages import AlertStatus, DeviceStatus, encode
from driftprint_demo.scenes import make_scenes, write_frames
from driftprint_server.certificates.authority import found
from driftprint_server.certificates.holder import Kind, holder_of
from driftprint_server.device import Liveness
from tests.brokers import Mosquitto, wait_for
from tests.line.agents import AgentProcess
from tests.server.messages import NEW, OLD, alert, health, state, topic_of, window
from tests.server.processes import COMMAND, DeviceClient, ServerProcess


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
    wait_for(lambda: server.health()[0] == 200, what="a healthy server")
    device = connect()
    device.send(window(1))
    device.wait_for_acks([1])


def test_a_server_without_a_broker_serves_and_says_so(lonely_server: ServerProcess) -> None:
    lonely_server.start(healthy=False)
    wait_for(lambda: lonely_server.health()[0] == 503, what="an answer")
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
    with httpx.stream("GET", f"{server.url}/api/fleet/events", timeout=60) as response:
        lines = (line for line in response.iter_lines() if line.startswith("data: "))
        assert json.loads(next(lines)[6:])["figures"]["devices"] == 0
        device.send(window(1), alert(2))
        told = next(summary for line in lines if (summary := json.loads(line[6:])).get("current_alerts"))
        assert told["figures"]["devices"] == told["figures"]["alarms"] == 1
        assert [raised["device"] for raised in told["current_alerts"]] == ["pi-1"]
        assert server.stop() == 0


# --- settings ----------------------------------------------------------------------------------------


def refusal(folder: Path, text: str) -> str:
    """What a server says that does not start."""
    config = folder / "wrong.toml"
    config.write_text(text)
    done = subprocess.run([*COMMAND, "--config", str(config)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 2, done.stderr
    assert done.stderr.count("\n") == 1
    return done.stderr


def test_a_second_server_on_the_same_port_is_refused_with_one_line(server: ServerProcess, tmp_path: Path) -> None:
    port = server.url.rpartition(":")[2]
    said = refusal(tmp_path, f"[http]\nport = {port}\n[store]\npath = '{tmp_path}/second.db'\n[access]\nlogin = false")
    assert "cannot listen on 127.0.0.1" in said


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("[http]\nhost = '0.0.0.0'\n[access]\nlogin = false", "login = false lets everybody who reaches 0.0.0.0 act"),
        ("[http]\ncert_file = 'server.pem'", "cert_file and key_file go together"),
        ("[http]\ncert_file = 'a.pem'\nkey_file = 'b.pem'", "a.pem: cannot be read"),
        ("[mqtt]\nshare = 'replicas'", "mqtt.share needs remote_write"),
        ("[enrolment]\ndevices = ['north/*']", 'mode must be "list" or "approve"'),
        ("[history]\nurl = 'mysql://server/history'", "sqlite or postgresql"),
    ],
)
def test_settings_that_contradict_each_other_are_refused_with_one_line(
    tmp_path: Path, text: str, complaint: str
) -> None:
    said = refusal(tmp_path, f"{text}\n[store]\npath = '{tmp_path}/wrong.db'")
    assert complaint in said
    assert "Traceback" not in said


# --- who may come in ---------------------------------------------------------------------------------


@pytest.fixture
def start_closed(mosquitto: Mosquitto, tmp_path: Path) -> Iterator[Callable[..., ServerProcess]]:
    """Starts a server that asks to log in."""
    started: list[ServerProcess] = []

    def start(**options: Any) -> ServerProcess:
        started.append(ServerProcess(tmp_path, mosquitto.port, login=True, **options))
        started[-1].start()
        return started[-1]

    yield start
    for process in started:
        process.kill()


def first_passwords(server: ServerProcess) -> list[str]:
    """Those that the server has printed."""
    return re.findall(r"^Log in as admin with the password (\S+)$", server.log, re.MULTILINE)


def test_nobody_who_is_not_logged_in_is_served_more_than_must_be(
    start_closed: Callable[..., ServerProcess], tmp_path: Path
) -> None:
    server = start_closed(settings={"rollout": f"bundles = '{tmp_path}'"})
    nobody = server.client()
    for path in ("/healthz", "/login", "/static/app.js", "/metrics", "/metrics/fleet"):
        assert nobody.get(path).status_code == 200, path
    for path in ("/", "/rollouts", "/nothing"):
        sent = nobody.get(path, headers={"Accept": "text/html"})
        assert (sent.status_code, sent.headers["location"].partition("?")[0]) == (303, "/login"), path
    operations = every_operation(server)
    assert len(operations) > 30
    for method, path in operations - {("POST", "/api/session"), ("GET", "/healthz")}:
        refused = nobody.request(method, path)
        assert refused.status_code == 401, (method, path)
        assert "log in first" in refused.json()["detail"]


def every_operation(server: ServerProcess) -> set[tuple[str, str]]:
    """Method and path of all that there is."""
    admin = server.client("admin", first_passwords(server)[0])
    paths = admin.get("/openapi.json").json()["paths"]
    return {(method.upper(), re.sub(r"{\w+}", "1", path)) for path, methods in paths.items() for method in methods}


def test_the_first_start_prints_a_password_once_and_a_session_outlasts_a_crash(
    start_closed: Callable[..., ServerProcess],
) -> None:
    server = start_closed()
    (password,) = first_passwords(server)
    admin = server.client("admin", password)
    cookie = admin.cookies["driftprint_session"]
    server.kill()
    server.start()
    assert first_passwords(server) == [password]
    again = server.client()
    again.cookies["driftprint_session"] = cookie
    assert again.get("/api/session").json()["name"] == "admin"
    assert server.client("admin", password).get("/api/fleet").status_code == 200


def test_a_viewer_sees_everything_and_changes_nothing(
    start_closed: Callable[..., ServerProcess], connect: Callable[..., DeviceClient]
) -> None:
    server = start_closed()
    device = connect()
    device.send(window(1), alert(2))
    device.wait_for_acks([1, 2])
    bob = server.client("bob", server.users("add", "bob"))
    assert [device["device"] for device in bob.get("/api/fleet").json()["devices"]] == ["pi-1"]
    assert bob.get("/api/history/alerts").json()["total"] == 1
    mute = f"/api/alerts/{1:032x}/mute"
    for refused in (
        bob.put(mute, json={"seconds": 60}),
        bob.put("/api/enrolment/north/pi-1", json={"approved": False}),
    ):
        assert refused.status_code == 403
        assert "bob may look, not act" in refused.json()["detail"]
    assert server.metric(MUTED) == -1
    assert bob.get("/api/enrolment").json()["decided"] == []


def test_prometheus_reads_closed_metrics_with_a_token(start_closed: Callable[..., ServerProcess]) -> None:
    server = start_closed(settings={"access": "metrics = 'login'"})
    token = server.users("token", "add", "prometheus")
    for path in ("/metrics", "/metrics/fleet"):
        refused = server.client().get(path)
        assert (refused.status_code, refused.headers["www-authenticate"]) == (401, 'Basic realm="driftprint"')
        assert "driftprint_server_connected 1" in server.client(token=token).get(path).text
        assert server.client().get(path, auth=("prometheus", token)).status_code == 200
    server.users("token", "remove", "prometheus")
    assert server.client(token=token).get("/metrics").status_code == 401


def test_with_a_certificate_https_is_spoken(start_closed: Callable[..., ServerProcess], tmp_path: Path) -> None:
    office = found(tmp_path / "certificates", now=datetime.now(timezone.utc))
    holder = holder_of(Kind.BROKER, "server")
    office.issue(holder, hosts=["127.0.0.1"], force=False)
    files = office.files(holder)
    trust = ssl.create_default_context(cafile=files.ca)
    server = start_closed(
        settings={"http": f"cert_file = '{files.certificate}'\nkey_file = '{files.key}'"}, trust=trust
    )
    admin = server.client("admin", first_passwords(server)[0])
    assert "__Host-driftprint_session" in admin.cookies
    assert admin.get("/api/session").json()["role"] == "operator"
    with pytest.raises(httpx.TransportError):
        httpx.get(server.url.replace("https", "http") + "/healthz")


# --- what operators do -------------------------------------------------------------------------------

MUTED = 'driftprint_alert_muted{site="north",device="pi-1",stream="belt"}'


def test_a_device_that_waits_for_approval_loses_nothing(
    start_closed: Callable[..., ServerProcess], mosquitto: Mosquitto, tmp_path: Path
) -> None:
    server = start_closed(settings={"enrolment": "mode = 'approve'"})
    frames = tmp_path / "frames"
    defocused = make_scenes(np.random.default_rng(0))[2]
    assert defocused.change_at is not None
    write_frames(defocused.frames[defocused.change_at + 200 : defocused.change_at + 700], frames)
    agent = AgentProcess(tmp_path, mosquitto.port, device="pi-1", frames=frames)
    admin = server.client("admin", first_passwords(server)[0])
    try:
        agent.start()
        alert_id = agent.wait_for_alert()
        wait_for(lambda: admin.get("/api/enrolment").json()["waiting"], what="the device to wait")
        assert server.metric("driftprint_server_devices_waiting") == 1
        assert server.metric('driftprint_server_rejected_total{reason="not_enrolled"}') > 0
        assert server.metric('driftprint_device_up{site="north",device="pi-1"}') == -1
        assert agent.stop() == 0
        kept = outbox(tmp_path / "agent-pi-1.db")
        assert kept
        agent.start()
        assert admin.put("/api/enrolment/north/pi-1", json={"approved": True}).status_code == 200
        wait_for(lambda: kept <= arrived(admin), what=lambda: f"{kept}, got {arrived(admin)}")
    finally:
        agent.kill()
    assert alert_id in [known["alert_id"] for known in admin.get("/api/history/alerts").json()["alerts"]]
    assert server.metric("driftprint_server_devices_waiting") == 0
    assert ("admin", "enrolment.approve", "north/pi-1") in actions(admin)


def arrived(client: httpx.Client) -> set[int]:
    """The numbers of the windows that the history has."""
    return {int(row["seq"]) for row in csv.DictReader(io.StringIO(client.get("/api/history/windows.csv").text))}


def outbox(store: Path) -> set[int]:
    """The numbers of the windows that an agent has kept, as nobody has acknowledged them."""
    with closing(sqlite3.connect(store)) as db:
        return {seq for (seq,) in db.execute("SELECT seq FROM outbox WHERE topic LIKE '%/window'")}


def actions(client: httpx.Client) -> list[tuple[str, str, str]]:
    """Who did what to what, the oldest first."""
    lines = client.get("/api/audit").json()["lines"]
    return [(line["who"], line["action"], line["target"]) for line in reversed(lines)]


def test_what_operators_decide_about_an_alert_is_shown_exposed_and_written_down(
    start_closed: Callable[..., ServerProcess], connect: Callable[..., DeviceClient]
) -> None:
    server = start_closed()
    device = connect()
    device.send(window(1), alert(2))
    device.wait_for_acks([1, 2])
    admin = server.client("admin", first_passwords(server)[0])
    of_alert = f"/api/alerts/{1:032x}"
    assert admin.put(f"{of_alert}/acknowledgement", json={"note": "on my way"}).status_code == 200
    assert admin.put(f"{of_alert}/mute", json={"seconds": 3600, "note": "repairs"}).status_code == 200
    assert server.metric(MUTED) == 1
    shown = admin.get(f"/api/history/alerts/{1:032x}").json()
    assert (shown["acknowledged"]["who"], shown["muted"]["note"]) == ("admin", "repairs")
    server.kill()
    server.start()
    assert server.metric(MUTED) == 1
    again = server.client("admin", first_passwords(server)[0])
    assert again.put(f"{of_alert}/mute", json={"seconds": 1}).status_code == 200
    wait_for(lambda: server.metric(MUTED) == -1, what="the mute to end")
    assert again.get(f"/api/history/alerts/{1:032x}").json()["muted"] is None
    assert actions(again) == [
        ("server", "user.add", "admin"),
        ("admin", "session.start", "admin"),
        ("admin", "alert.acknowledge", f"{1:032x}"),
        ("admin", "alert.mute", f"{1:032x}"),
        ("admin", "session.start", "admin"),
        ("admin", "alert.mute", f"{1:032x}"),
    ]
