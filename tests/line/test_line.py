"""Frames in at one end, alerts and metrics out at the other: real processes over a real broker."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tests.brokers import Mosquitto, wait_for
from tests.line.agents import AgentProcess
from tests.line.prometheus import Prometheus
from tests.server.processes import ServerProcess

MakeAgent = Callable[[str, Path], AgentProcess]


def frames_total(server: ServerProcess, device: str) -> int:
    found = [known for known in server.fleet().devices if known.device == device]
    return found[0].streams[0].frames_total if found and found[0].streams else 0


def outbox(server: ServerProcess, device: str) -> int | None:
    found = [known for known in server.fleet().devices if known.device == device]
    return found[0].outbox_messages if found else None


def wait_for_frames(server: ServerProcess, device: str, more_than: int) -> None:
    wait_for(
        lambda: frames_total(server, device) > more_than,
        what=lambda: f"more than {more_than} frames of {device}, got {frames_total(server, device)}",
    )


def wait_for_alert(server: ServerProcess, alert_id: str) -> None:
    def known() -> list[str]:
        return [alert.alert_id for alert in server.fleet().alerts]

    wait_for(lambda: alert_id in known(), what=lambda: f"alert {alert_id}, got {known()}")


def test_prometheus_sees_the_fleet_and_which_device_drifts(
    server: ServerProcess, prometheus: Prometheus, make_agent: MakeAgent, inliers: Path, outliers: Path
) -> None:
    server.start()
    make_agent("clean", inliers).start()
    make_agent("drifting", outliers).start()
    prometheus.wait_for("count(driftprint_device_up == 1) == 2")
    prometheus.wait_for('driftprint_alarm_active{device="drifting"} == 1')
    prometheus.wait_for('driftprint_outlier_ratio{device="drifting",window="count"} > 0.9')
    prometheus.wait_for('rate(driftprint_frames_total{device="clean"}[3s]) > 10')
    prometheus.wait_for('driftprint_frames_total{device="clean"} > 500')
    assert prometheus.query('driftprint_alerts_total{device="drifting"}') == [1]
    assert prometheus.query('driftprint_alerts_total{device="clean"}') == [0]
    assert prometheus.query('driftprint_outlier_ratio{device="clean",window="count"} > 0.25') == []


def test_a_killed_agent_is_down_at_once_and_goes_on_where_it_was(
    server: ServerProcess, prometheus: Prometheus, make_agent: MakeAgent, inliers: Path
) -> None:
    server.start()
    agent = make_agent("pi-1", inliers)
    agent.start()
    wait_for_frames(server, "pi-1", 100)
    agent.kill()
    prometheus.wait_for('driftprint_device_up{device="pi-1"} == 0')
    prometheus.wait_for('absent(driftprint_outlier_ratio{device="pi-1"})')
    before = frames_total(server, "pi-1")

    agent.start()
    prometheus.wait_for('driftprint_device_up{device="pi-1"} == 1')
    wait_for_frames(server, "pi-1", before + 100)
    assert prometheus.query('resets(driftprint_frames_total{device="pi-1"}[1m])') == [0]


def test_a_killed_server_loses_nothing(
    server: ServerProcess, prometheus: Prometheus, make_agent: MakeAgent, inliers: Path, outliers: Path
) -> None:
    server.start()
    clean, drifting = make_agent("clean", inliers), make_agent("drifting", outliers)
    clean.start()
    wait_for_frames(server, "clean", 100)
    server.kill()
    before = 100

    drifting.start()
    alert_id = drifting.wait_for_alert()
    server.start()
    wait_for_alert(server, alert_id)
    wait_for_frames(server, "clean", before + 200)
    prometheus.wait_for('driftprint_alerts_total{device="drifting"} == 1')
    assert prometheus.query('resets(driftprint_frames_total{device="clean"}[1m])') == [0]


def test_a_killed_broker_that_forgets_everything_loses_no_alert(
    start_mosquitto: Callable[..., Mosquitto], tmp_path: Path, inliers: Path, outliers: Path
) -> None:
    broker = start_mosquitto(persistence=False)
    server = ServerProcess(tmp_path, broker.port)
    agent = AgentProcess(tmp_path, broker.port, device="pi-1", frames=inliers)
    drifting = AgentProcess(tmp_path, broker.port, device="pi-2", frames=outliers)
    try:
        server.start()
        agent.start()
        wait_for_frames(server, "pi-1", 100)
        broker.kill()
        drifting.start()
        alert_id = drifting.wait_for_alert()
        broker.start()
        wait_for_alert(server, alert_id)
        wait_for_frames(server, "pi-1", frames_total(server, "pi-1") + 100)
        wait_for(lambda: (outbox(server, "pi-1") or 99) < 10, what="the outbox to empty")
    finally:
        for process in (agent, drifting, server):
            process.kill()


def test_an_agent_killed_with_an_alert_in_its_outbox_delivers_it_after_its_restart(
    mosquitto: Mosquitto, server: ServerProcess, make_agent: MakeAgent, inliers: Path, outliers: Path
) -> None:
    mosquitto.kill()
    agent = make_agent("pi-1", outliers)
    agent.start()
    alert_id = agent.wait_for_alert()
    agent.kill()

    mosquitto.start()
    server.start()
    agent.watch(inliers)
    agent.start()
    wait_for_alert(server, alert_id)
    assert [alert.alert_id for alert in server.fleet().alerts] == [alert_id]
