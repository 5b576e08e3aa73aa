"""What Prometheus is told of the fleet as a whole."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families as parse

from driftprint.messages import BundleRef, Cause, DeviceMessage, DeviceStatus
from driftprint_server.aggregates import FLEET_CATALOGUE, AggregateCollector
from driftprint_server.fleet import Fleet
from tests.promtool import promtool_complaints
from tests.server.clocks import FakeClock
from tests.server.messages import alert, health, state, window


class Whole:
    """A fleet, as a whole."""

    def __init__(self, *messages: DeviceMessage) -> None:
        self.clock = FakeClock()
        self.fleet = Fleet(max_devices=100, forget_after_seconds=1000)
        self.registry = CollectorRegistry(auto_describe=False)
        self.registry.register(AggregateCollector(self.fleet, clock=self.clock, stale_after_seconds=60))
        for message in messages:
            self.fleet.apply(message, self.clock.wall)

    @property
    def text(self) -> str:
        return generate_latest(self.registry).decode()

    def value(self, name: str, **labels: str) -> float | None:
        return self.registry.get_sample_value(f"driftprint_fleet_{name}", labels)


def fleet() -> Whole:
    """Three devices at two sites; one of them has said goodbye."""
    old = BundleRef(name="digits", version=0)
    return Whole(
        window(1, ratio=0.1, frames_per_second=10, camera_faults=(Cause.BLACK,)),
        health(outbox_messages=3),
        window(1, ratio=0.5, device="pi-2", frames_per_second=5, class_mix_alarm=True, bundle=old),
        alert(2, device="pi-2"),
        window(1, ratio=0.9, site="south", device="pi-3"),
        state(DeviceStatus.OFFLINE, site="south", device="pi-3"),
    )


def test_devices_are_counted_by_site_and_state() -> None:
    whole = fleet()
    assert whole.value("devices", site="north", state="online") == 2
    assert whole.value("devices", site="south", state="offline") == 1
    whole.clock.wall += 61
    assert whole.value("devices", site="north", state="stale") == 2


def test_streams_of_online_devices_are_summed_up() -> None:
    whole = fleet()
    north = {"site": "north"}
    assert whole.value("streams", **north) == 2
    assert whole.value("alarms", **north) == 1
    assert whole.value("class_mix_alarms", **north) == 1
    assert whole.value("camera_faults", **north, fault="black") == 1
    assert whole.value("camera_faults", **north, fault="frozen") == 0
    assert whole.value("frames_per_second", **north) == 15
    assert whole.value("outbox_messages") == 3
    assert whole.value("bundle_streams", bundle="digits", version="0") == 1
    assert whole.value("bundle_streams", bundle="digits", version="1") == 1
    assert whole.value("outlier_ratio", quantile="0.5") == 0.3
    assert whole.value("outlier_ratio", quantile="1.0") == 0.5


def test_of_devices_that_are_away_only_their_number_is_told() -> None:
    assert 'site="south"' not in fleet().text.replace('site="south",state="offline"', "")


def test_there_is_one_series_for_any_number_of_devices() -> None:
    many = Whole(*(window(1, device=f"pi-{i}") for i in range(50)))
    assert len(many.text.splitlines()) < 60
    assert many.value("streams", site="north") == 50


def test_an_empty_fleet_has_nothing_but_an_empty_outbox() -> None:
    samples = [sample for family in parse(Whole().text) for sample in family.samples]
    assert [(sample.name, sample.value) for sample in samples] == [("driftprint_fleet_outbox_messages", 0)]


def test_promtool_has_no_complaints_and_the_catalogue_is_whole() -> None:
    text = fleet().text
    assert promtool_complaints(text) == ""
    assert {family.name for family in parse(text)} == {spec.name for spec in FLEET_CATALOGUE}
