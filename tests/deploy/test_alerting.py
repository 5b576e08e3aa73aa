"""Who is told of what: the routes, what keeps quiet, and the whole line from a device to a webhook."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from driftprint.messages import DeviceStatus
from tests.brokers import Mosquitto, free_port, wait_for
from tests.deploy.alerting_programs import (
    DEPLOY,
    Alertmanager,
    Program,
    Receiver,
    find_program,
    impatient,
    told,
    with_examples,
)
from tests.line.prometheus import find_prometheus
from tests.server import messages
from tests.server.processes import DeviceClient, ServerProcess

CONFIG = DEPLOY / "alertmanager/alertmanager.yml"
RULES = DEPLOY / "prometheus/rules/driftprint.yml"
PLACEHOLDER = "http://alerts.example"

DEVICE = {"site": "north", "device": "pi-1"}
STREAM = {**DEVICE, "stream": "belt"}


@pytest.fixture(scope="module")
def amtool() -> str:
    return find_program("amtool", package="prometheus-alertmanager")


@pytest.fixture
def start_alertmanager(tmp_path: Path) -> Iterator[Callable[[str], Alertmanager]]:
    """Starts one with the shipped configuration, impatient, and its notifications sent to a URL."""
    started: list[Alertmanager] = []

    def start(url: str) -> Alertmanager:
        text = CONFIG.read_text().replace(PLACEHOLDER, url)
        text = re.sub(r"group_wait: \w+", "group_wait: 0s", text)
        text = re.sub(r"group_interval: \w+", "group_interval: 500ms", text)
        config = tmp_path / "alertmanager.yml"
        config.write_text(text)
        started.append(Alertmanager(config, tmp_path / "alertmanager"))
        return started[-1]

    yield start
    for alertmanager in started:
        alertmanager.kill()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    receiver = Receiver()
    yield receiver
    receiver.close()


@pytest.fixture
def alertmanager(start_alertmanager: Callable[[str], Alertmanager], receiver: Receiver) -> Alertmanager:
    return start_alertmanager(receiver.url)


def test_alertmanager_takes_the_configuration(amtool: str) -> None:
    code, said = told(amtool, "check-config", CONFIG)
    assert code == 0, said


def test_alertmanager_takes_what_is_commented_out_too(amtool: str, tmp_path: Path) -> None:
    text = with_examples(CONFIG)
    (tmp_path / "alertmanager.yml").write_text(text)
    examples: dict[str, Any] = yaml.safe_load(text)
    assert examples["time_intervals"]
    assert any("email_configs" in receiver for receiver in examples["receivers"])
    code, said = told(amtool, "check-config", tmp_path / "alertmanager.yml")
    assert code == 0, said


@pytest.mark.parametrize(
    ("labels", "receivers"),
    [
        ("severity=critical site=north", "on-call"),
        ("severity=warning site=north", "team"),
        ("severity=info site=north", "team"),
        ("severity=critical site=example-site", "example-site,on-call"),
        ("severity=warning site=example-site", "example-site"),
        ("severity=critical", "on-call"),
        ("alertname=SomethingElse", "team"),
    ],
)
def test_alerts_reach_those_whom_their_severity_and_site_concern(amtool: str, labels: str, receivers: str) -> None:
    code, said = told(amtool, "config", "routes", "test", f"--config.file={CONFIG}", *labels.split())
    assert code == 0, said
    assert said.splitlines()[-1] == receivers


def test_every_receiver_has_an_address_to_be_replaced() -> None:
    receivers = yaml.safe_load(CONFIG.read_text())["receivers"]
    addresses = [webhook["url"] for receiver in receivers for webhook in receiver["webhook_configs"]]
    assert addresses == [f"{PLACEHOLDER}/{receiver['name']}" for receiver in receivers]


def test_a_silent_device_silences_all_else_of_it_and_no_other_device(alertmanager: Alertmanager) -> None:
    others = [{**STREAM, "device": "pi-2"}, {**STREAM, "site": "south", "device": "pi-3"}]
    alertmanager.raise_alerts(
        {"alertname": "DriftprintDeviceSilent", **DEVICE},
        *({"alertname": f"Driftprint{name}", **STREAM} for name in ("Drift", "CameraFault", "OutlierRatioRising")),
        {"alertname": "DriftprintOutboxFilling", **DEVICE},
        *({"alertname": "DriftprintDrift", **other} for other in others),
        {"alertname": "DriftprintServerRejects"},
    )
    assert alertmanager.suppressed() == {
        ("DriftprintDeviceSilent", "pi-1"): False,
        ("DriftprintDrift", "pi-1", "belt"): True,
        ("DriftprintCameraFault", "pi-1", "belt"): True,
        ("DriftprintOutlierRatioRising", "pi-1", "belt"): True,
        ("DriftprintOutboxFilling", "pi-1"): True,
        ("DriftprintDrift", "pi-2", "belt"): False,
        ("DriftprintDrift", "pi-3", "belt"): False,
        ("DriftprintServerRejects",): False,
    }


@pytest.mark.parametrize(("cause", "knows_of_itself"), [("Down", False), ("Disconnected", True)])
def test_without_the_server_no_device_is_told_of(alertmanager: Alertmanager, cause: str, knows_of_itself: bool) -> None:
    alertmanager.raise_alerts(
        {"alertname": f"DriftprintServer{cause}"},
        {"alertname": "DriftprintServerStoreErrors"},
        {"alertname": "DriftprintServerWebhookFailing"},
        {"alertname": "DriftprintDeviceSilent", **DEVICE},
        {"alertname": "DriftprintDrift", **STREAM},
        {"alertname": "SomethingElse"},
    )
    assert alertmanager.suppressed() == {
        (f"DriftprintServer{cause}",): False,
        ("DriftprintServerStoreErrors",): not knows_of_itself,
        ("DriftprintServerWebhookFailing",): not knows_of_itself,
        ("DriftprintDeviceSilent", "pi-1"): True,
        ("DriftprintDrift", "pi-1", "belt"): True,
        ("SomethingElse",): False,
    }


def test_what_has_come_is_told_of_in_place_of_what_announced_it(alertmanager: Alertmanager) -> None:
    alertmanager.raise_alerts(
        {"alertname": "DriftprintDrift", **STREAM},
        {"alertname": "DriftprintOutlierRatioRising", **STREAM},
        {"alertname": "DriftprintOutlierRatioRising", **STREAM, "stream": "door"},
        {"alertname": "DriftprintOutboxDropping", **DEVICE},
        {"alertname": "DriftprintOutboxFilling", **DEVICE},
    )
    assert {alert for alert, suppressed in alertmanager.suppressed().items() if suppressed} == {
        ("DriftprintOutlierRatioRising", "pi-1", "belt"),
        ("DriftprintOutboxFilling", "pi-1"),
    }


@pytest.mark.parametrize(("reason", "suppressed"), [("not_enrolled", True), ("invalid", False)])
def test_that_waiting_devices_are_rejected_is_no_news(
    alertmanager: Alertmanager, reason: str, suppressed: bool
) -> None:
    alertmanager.raise_alerts(
        {"alertname": "DriftprintServerDevicesWaiting"}, {"alertname": "DriftprintServerRejects", "reason": reason}
    )
    assert alertmanager.suppressed() == {
        ("DriftprintServerDevicesWaiting",): False,
        ("DriftprintServerRejects",): suppressed,
    }


def start_prometheus(folder: Path, server: str, alertmanager: str) -> Program:
    """A Prometheus with the shipped configuration and rules, and no patience."""
    (folder / "rules").mkdir(parents=True)
    (folder / "targets").mkdir()
    (folder / "rules/driftprint.yml").write_text(impatient(RULES))
    config = (DEPLOY / "prometheus/prometheus.yml").read_text().replace("15s", "500ms")
    (folder / "prometheus.yml").write_text(config)
    address = f"127.0.0.1:{free_port()}"
    for name, target in {"server": server, "alertmanager": alertmanager, "prometheus": address}.items():
        (folder / f"targets/{name}.yml").write_text(f"- targets: ['{target}']\n")
    command = [
        find_prometheus(),
        f"--config.file={folder / 'prometheus.yml'}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address={address}",
    ]
    return Program(command, folder, ready=f"http://{address}/-/ready")


def test_a_devices_drift_reaches_the_webhook_and_is_quiet_while_the_device_is_silent(
    mosquitto: Mosquitto, alertmanager: Alertmanager, receiver: Receiver, tmp_path: Path
) -> None:
    server = ServerProcess(tmp_path, mosquitto.port)
    server.start()
    device = DeviceClient(mosquitto)
    prometheus = start_prometheus(
        tmp_path / "prometheus", server.url.removeprefix("http://"), alertmanager=alertmanager.address
    )
    drift = ("DriftprintDrift", "pi-1", "belt")
    try:
        device.send(messages.state(), messages.window(1), messages.alert(2), messages.window(3, alarm=True))
        path, alert = receiver.wait_for("DriftprintDrift", "firing")
        assert path == "/on-call"
        assert alert["annotations"]["summary"] == ("north/pi-1/belt sees data that its model was not trained for.")
        assert alertmanager.suppressed()[drift] is False

        device.send(messages.state(DeviceStatus.OFFLINE))
        receiver.wait_for("DriftprintDeviceSilent", "firing")
        assert alertmanager.suppressed()[drift] is True

        device.send(messages.state(), messages.window(4, alarm=True))
        receiver.wait_for("DriftprintDeviceSilent", "resolved")
        wait_for(lambda: alertmanager.suppressed().get(drift) is False, what="the drift to be told of again")
        assert receiver.alerts("DriftprintDrift", "resolved") == []

        device.send(messages.window(5))
        receiver.wait_for("DriftprintDrift", "resolved")
    finally:
        device.close()
        prometheus.kill()
        server.kill()
