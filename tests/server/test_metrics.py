import re
from enum import Enum
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families as parse

from driftprint.messages import Cause, ClassStats, DeviceMessage, DeviceStatus, WindowKind, WindowStats
from driftprint_server.aggregates import FLEET_CATALOGUE
from driftprint_server.counts import Counts, Kind, Reason
from driftprint_server.fleet import Fleet
from driftprint_server.metrics import CATALOGUE, DeviceMetrics, ServerCollector, exposition
from driftprint_server.operator_metrics import OPERATOR_CATALOGUE
from driftprint_server.remote_write.counts import CATALOGUE as WRITE_CATALOGUE
from driftprint_server.webhooks.counts import Drop, Failure
from tests.promtool import promtool_complaints
from tests.server.clocks import FakeClock
from tests.server.messages import NEW, alert, health, state, window

DOCUMENT = Path(__file__).parents[2] / "docs" / "metrics.md"
HOSTILE = 'x"\\\n{}=,\u2028\u0000é'
GAUGES = {spec.name for spec in CATALOGUE if "site" in spec.labels and spec.type != "counter"}
STAYING = {
    "driftprint_device_up",
    "driftprint_last_seen_timestamp_seconds",
    "driftprint_window_timestamp_seconds",
}


class Exposed:
    """A fleet and its metrics."""

    def __init__(self, *messages: DeviceMessage) -> None:
        self.clock = FakeClock()
        self.counts = Counts()
        self.fleet = Fleet(max_devices=100, forget_after_seconds=1000)
        self.devices = DeviceMetrics(self.fleet, clock=self.clock, stale_after_seconds=60, max_classes=2)
        self.server = ServerCollector(
            counts=self.counts,
            connected=lambda: True,
            queue_length=lambda: 3,
            devices=lambda: self.fleet.by_state(self.clock.wall, stale_after_seconds=60),
        )
        self.send(*messages)

    def send(self, *messages: DeviceMessage) -> None:
        for message in messages:
            self.fleet.apply(message, self.clock.wall)

    @property
    def text(self) -> str:
        return b"".join(exposition(self.devices.text(), self.server)).decode()

    def value(self, name: str, **labels: str) -> float | None:
        return self.of_server(name, site="north", device="pi-1", **labels)

    def of_server(self, name: str, **labels: str) -> float | None:
        samples = [sample for family in parse(self.text) for sample in family.samples]
        found = [sample.value for sample in samples if sample.name == name and sample.labels == labels]
        assert len(found) < 2
        return found[0] if found else None

    def names(self) -> set[str]:
        return {sample.name for family in parse(self.text) for sample in family.samples}


@pytest.fixture
def exposed() -> Exposed:
    return Exposed(state(), health(), window(3, ratio=0.25, camera_faults=(Cause.BLACK,), class_mix_alarm=True))


def test_the_devices_own_figures_are_shown(exposed: Exposed) -> None:
    belt = {"stream": "belt"}
    assert exposed.value("driftprint_device_up") == 1
    assert exposed.value("driftprint_last_seen_timestamp_seconds") == exposed.clock.wall
    assert exposed.value("driftprint_device_info", version="0.1.0") == 1
    assert exposed.value("driftprint_outbox_messages") == 2
    assert exposed.value("driftprint_outbox_dropped_total") == 1
    assert exposed.value("driftprint_frames_total", **belt) == 300
    assert exposed.value("driftprint_outlier_frames_total", **belt) == 12
    assert exposed.value("driftprint_faulty_frames_total", **belt, reason="undecodable") == 3
    assert exposed.value("driftprint_alerts_total", **belt) == 0
    assert exposed.value("driftprint_alarm_active", **belt) == 0
    assert exposed.value("driftprint_class_mix_alarm_active", **belt) == 1
    assert exposed.value("driftprint_evidence_ratio", **belt) == 0.2
    assert exposed.value("driftprint_frames_per_second", **belt) == 10
    assert exposed.value("driftprint_outlier_ratio", **belt, window="count") == 0.25
    faults = {
        fault: exposed.value("driftprint_camera_fault_active", **belt, fault=fault) for fault in ("black", "frozen")
    }
    assert faults == {"black": 1, "frozen": 0}
    assert exposed.value("driftprint_outlier_ratio", **belt, window="time") == 0.125
    assert exposed.value("driftprint_class_outlier_ratio", **belt, **{"class": "cat"}) == 0.25
    assert exposed.value("driftprint_score", **belt, quantile="0.9") == 2.5
    assert exposed.value("driftprint_bundle_info", **belt, bundle="digits", version="1") == 1


def test_an_alert_shows_at_once(exposed: Exposed) -> None:
    exposed.send(alert(4))
    assert exposed.value("driftprint_alarm_active", stream="belt") == 1


@pytest.mark.parametrize("how", ["stale", "offline"])
def test_the_gauges_of_an_absent_device_vanish_and_its_counters_stay(exposed: Exposed, how: str) -> None:
    before = exposed.names()
    exposed.clock.wall += 61 if how == "stale" else 1
    if how == "offline":
        exposed.send(state(DeviceStatus.OFFLINE))
    assert before - exposed.names() == GAUGES - STAYING
    assert exposed.value("driftprint_device_up") == 0
    assert exposed.value("driftprint_frames_total", stream="belt") == 300
    if how == "stale":
        exposed.send(health())
        assert exposed.names() == before


def test_a_forgotten_device_leaves_nothing(exposed: Exposed) -> None:
    exposed.clock.wall += 1001
    exposed.fleet.forget_silent(exposed.clock.wall)
    assert "pi-1" not in exposed.text


def test_a_stream_that_its_agent_no_longer_runs_loses_its_gauges(exposed: Exposed) -> None:
    exposed.send(state(streams=("chute",)))
    assert exposed.value("driftprint_frames_per_second", stream="belt") is None
    assert exposed.value("driftprint_frames_total", stream="belt") == 300


def test_the_counters_of_a_new_instance_start_again(exposed: Exposed) -> None:
    exposed.send(window(1, instance=NEW, frames_total=7))
    assert exposed.value("driftprint_frames_total", stream="belt") == 7


def test_only_the_classes_with_the_most_frames_are_shown() -> None:
    classes = {f"c{n}": ClassStats(frames=n, outlier_ratio=0.5) for n in range(1, 6)}
    stats = WindowStats(kind=WindowKind.COUNT, limit=10, frames=10, outlier_ratio=0.5, classes=classes)
    exposed = Exposed(window(windows=(stats,)))
    assert set(re.findall(r'class="(\w+)"', exposed.text)) == {"c4", "c5"}


def test_an_empty_window_shows_no_ratio() -> None:
    stats = WindowStats(kind=WindowKind.COUNT, limit=10, frames=0, outlier_ratio=0.0)
    exposed = Exposed(window(windows=(stats,)))
    assert exposed.value("driftprint_outlier_ratio", stream="belt", window="count") is None


def test_the_server_shows_its_own_figures(exposed: Exposed) -> None:
    exposed.counts.message(Kind.WINDOW)
    exposed.counts.reject(Reason.IDENTITY)
    exposed.counts.store_error()
    exposed.counts.acked(5)
    value = exposed.of_server
    assert value("driftprint_server_messages_total", kind="window") == 1
    assert value("driftprint_server_messages_total", kind="alert") == 0
    assert value("driftprint_server_rejected_total", reason="identity") == 1
    assert value("driftprint_server_rejected_total", reason="queue_full") == 0
    assert value("driftprint_server_store_errors_total") == 1
    assert value("driftprint_server_acknowledged_total") == 5
    assert value("driftprint_server_queue_messages") == 3
    assert value("driftprint_server_connected") == 1
    assert value("driftprint_server_devices", state="online") == 1
    assert value("driftprint_server_devices", state="stale") == 0


def hostile_fleet() -> Exposed:
    stats = WindowStats(
        kind=WindowKind.COUNT,
        limit=10,
        frames=10,
        outlier_ratio=0.5,
        classes={HOSTILE: ClassStats(frames=1, outlier_ratio=0.5), "": ClassStats(frames=1, outlier_ratio=0.5)},
        score_quantiles={"0.5": -1e300, "0.50": 2.0, "nan": 1.0, HOSTILE: 1.0, "1e-1": 3.0, "7": 1.0},
    )
    return Exposed(
        state(agent_version=HOSTILE),
        health(),
        window(windows=(stats, stats), faults_total={HOSTILE: 1}, evidence=1e300),
    )


@pytest.mark.parametrize("make", [Exposed, lambda: Exposed(state(), health(), window(3), alert(4)), hostile_fleet])
def test_promtool_has_nothing_to_complain_of(make: type[Exposed]) -> None:
    assert promtool_complaints(make().text) == ""


def test_samples_carry_no_timestamps(exposed: Exposed) -> None:
    samples = [line for line in exposed.text.splitlines() if not line.startswith("#")]
    assert samples
    assert all(re.fullmatch(r"\w+(\{.*\})? \S+", line) for line in samples)


def test_what_is_shown_is_in_the_catalogue(exposed: Exposed) -> None:
    labels = {spec.name: set(spec.labels) for spec in CATALOGUE}
    for family in parse(exposed.text):
        for sample in family.samples:
            assert set(sample.labels) == labels[sample.name]
    assert exposed.names() == set(labels)


def test_the_document_lists_every_metric_and_no_other() -> None:
    rows = re.findall(r"^\| `(driftprint_\w+)` \| (\w+) \| (.*?) \| (.*?) \|$", DOCUMENT.read_text(), re.MULTILINE)
    documented = [(name, kind, tuple(re.findall(r"`(\w+)`", labels)), text) for name, kind, labels, text in rows]
    specs = (*CATALOGUE, *OPERATOR_CATALOGUE, *WRITE_CATALOGUE, *FLEET_CATALOGUE)
    assert sorted(documented) == sorted((spec.name, spec.type, spec.labels, spec.help) for spec in specs)


@pytest.mark.parametrize(
    ("table", "reasons"), [("rejections", Reason), ("webhook-failures", Failure), ("webhook-drops", Drop)]
)
def test_the_document_lists_every_reason_and_no_other(table: str, reasons: type[Enum]) -> None:
    text = DOCUMENT.read_text().split(f"<!-- {table} -->\n")[1].split(f"<!-- /{table} -->")[0]
    assert re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE) == [reason.value for reason in reasons]
