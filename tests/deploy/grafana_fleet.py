"""A fleet for dashboards to show: its messages, over a real broker, in a real server, scraped by a real Prometheus."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from driftprint.messages import BundleRef, Cause, DeviceStatus
from tests.brokers import Mosquitto, find_mosquitto, wait_for
from tests.line.prometheus import Prometheus, find_prometheus
from tests.server.messages import alert, health, state, window
from tests.server.processes import DeviceClient, ServerProcess
from tests.server.remote_write import databases
from tests.server.webhooks.receiver import HttpReceiver

OLD, NEW = (BundleRef(name="digits", version=version) for version in (1, 2))

FLEET: dict[tuple[str, str, str], dict[str, Any]] = {
    ("north", "pi-1", "belt"): {"bundle": OLD},
    ("north", "pi-1", "chute"): {"bundle": NEW},
    ("north", "pi-2", "belt"): {"bundle": NEW, "ratio": 0.8, "alarm": True, "alerts_total": 1, "evidence": 1.5},
    ("south", "pi-1", "belt"): {"bundle": NEW, "camera_faults": (Cause.BLURRED, Cause.BLACK), "class_mix_alarm": True},
    ("south", "jet-2", "belt"): {"bundle": OLD},
}
"""What the windows of each stream say: by site, device and stream, none of which tells by itself who it is."""
GONE = ("south", "jet-2")
"""It goes away."""
NEWCOMER = ("east", "pi-1")
"""Nobody has approved it."""
LONG_AGO_SECONDS = 7200.0
"""Too long for the database."""


@contextmanager
def watched_fleet(folder: Path) -> Iterator[Prometheus]:
    """Prometheus, once it has seen the fleet at work. All ends with the context.

    Args:
        folder: for the files of all of them.
    """
    binary = find_mosquitto()
    find_prometheus()
    with ExitStack() as stack:
        broker = Mosquitto(binary, folder / "mosquitto")
        stack.callback(broker.kill)
        broker.start()
        # Samples are written to a database that takes none which are older than others.
        database = databases.Prometheus(folder / "database", out_of_order="")
        stack.callback(database.kill)
        database.start()
        receiver = HttpReceiver()
        receiver.first_statuses.append(500)
        receiver.start()
        stack.callback(receiver.stop)
        settings = {
            "enrolment": "mode = 'approve'\ndevices = ['north/*', 'south/*']",
            "[webhook]": f"name = 'ops'\nurl = '{receiver.url}'",
            "[remote_write]": f"url = '{database.write_url}'",
            "rollout": f"bundles = '{folder / 'bundles'}'",
        }
        server = ServerProcess(folder, broker.port, stale_after_seconds=3600, settings=settings)
        stack.callback(server.kill)
        server.start()
        prometheus = Prometheus(folder / "prometheus", server.url.removeprefix("http://"))
        stack.callback(prometheus.kill)
        prometheus.start()
        devices = {}
        for site, device in {(site, device): None for site, device, _ in FLEET} | {NEWCOMER: None}:
            devices[site, device] = DeviceClient(broker, site=site, device=device)
            stack.callback(devices[site, device].close)
        _send(devices, server, prometheus)
        yield prometheus


def _send(devices: dict[tuple[str, str], DeviceClient], server: ServerProcess, prometheus: Prometheus) -> None:
    """The devices' messages, so that counters grow between two scrapes, and an operator who mutes what is in alarm."""
    for (site, device), client in devices.items():
        refused = {"belt": "is not signed"} if device == "pi-2" else {}
        client.send(state(site=site, device=device, streams=("belt", "chute")), retain=True)
        client.send(health(site=site, device=device, bundle_errors=refused))
    for seq in (1, 2):
        for (site, device, stream), says in FLEET.items():
            devices[site, device].send(window(seq, site=site, device=device, stream=stream, **says))
        prometheus.wait_for(f"sum(driftprint_frames_total) == {100 * seq * len(FLEET)}")

    for (site, device, stream), says in FLEET.items():
        if says.get("alarm"):
            devices[site, device].send(alert(3, site=site, device=device, stream=stream, bundle=says["bundle"]))
    operator = server.client()
    alerts = "/api/history/alerts"
    wait_for(lambda: operator.get(alerts).json()["total"] == 1, what="the alert in the history")
    [raised] = operator.get(alerts).json()["alerts"]
    operator.put(f"/api/alerts/{raised['alert_id']}/mute", json={"seconds": 3600, "note": ""}).raise_for_status()
    site, device = GONE
    devices[GONE].send(window(3, site=site, device=device, age_seconds=LONG_AGO_SECONDS, **FLEET[site, device, "belt"]))
    devices[GONE].send(state(DeviceStatus.OFFLINE, site=site, device=device), retain=True)
    prometheus.wait_for("sum(driftprint_alarm_active) == 1")
    prometheus.wait_for(f'driftprint_device_up{{device="{device}"}} == 0')
    prometheus.wait_for("driftprint_alert_muted == 1")
    prometheus.wait_for("driftprint_server_webhook_deliveries_total == 1")
    # Twice, so that there is an increase.
    prometheus.wait_for("count_over_time(driftprint_remote_write_dropped_samples_total[10m]) > 1")
