"""What Prometheus is told of the fleet as a whole, for those who do not want a series a device: ``/metrics/fleet``.

There are no totals among these: a sum of counters would fall whenever a device is forgotten.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import TypeAlias

import numpy as np
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from driftprint.clock import Clock
from driftprint.exposition import Families, Spec, shown_ratio
from driftprint.messages import CAMERA_FAULTS, WindowKind
from driftprint_server.device import Device, Liveness
from driftprint_server.fleet import Fleet

QUANTILES = (0.5, 0.9, 0.99, 1.0)

DEVICES = Spec("driftprint_fleet_devices", "gauge", ("site", "state"), "Known devices, by site and state.")
STREAMS = Spec("driftprint_fleet_streams", "gauge", ("site",), "Streams of online devices that have reported.")
ALARMS = Spec("driftprint_fleet_alarms", "gauge", ("site",), "Streams of online devices in alarm, of drift.")
MIX_ALARMS = Spec(
    "driftprint_fleet_class_mix_alarms",
    "gauge",
    ("site",),
    "Streams of online devices whose mix of classes has changed.",
)
FAULTS = Spec(
    "driftprint_fleet_camera_faults",
    "gauge",
    ("site", "fault"),
    "Streams of online devices with this fault of the camera.",
)
RATE = Spec(
    "driftprint_fleet_frames_per_second",
    "gauge",
    ("site",),
    "Frames scored per second by all streams of online devices.",
)
RATIO = Spec(
    "driftprint_fleet_outlier_ratio",
    "summary",
    ("quantile",),
    "Quantiles, over the streams of online devices, of the outlier ratio in the window by count.",
)
BUNDLES = Spec(
    "driftprint_fleet_bundle_streams", "gauge", ("bundle", "version"), "Streams of online devices that run this bundle."
)
OUTBOX = Spec("driftprint_fleet_outbox_messages", "gauge", (), "Messages that wait on all online devices together.")

FLEET_CATALOGUE = (DEVICES, STREAMS, ALARMS, MIX_ALARMS, FAULTS, RATE, RATIO, BUNDLES, OUTBOX)
"""Every metric of ``/metrics/fleet``, in the order of exposition."""

Sums: TypeAlias = "defaultdict[tuple[Spec, tuple[str, ...]], float]"


class AggregateCollector(Collector):
    """The fleet as a whole.

    Args:
        fleet: the devices.
        clock: tells who is silent.
        stale_after_seconds: how long is silent.
    """

    def __init__(self, fleet: Fleet, *, clock: Clock, stale_after_seconds: float) -> None:
        self._fleet = fleet
        self._clock = clock
        self._stale_after_seconds = stale_after_seconds

    def describe(self) -> list[Metric]:
        """Names are known beforehand; nothing is collected at registration."""
        return []

    def collect(self) -> Iterator[Metric]:
        """All families with their samples; those without samples too."""
        sums: Sums = defaultdict(float)
        ratios: list[float] = []
        outbox = 0
        now = self._clock.now().wall
        for device in self._fleet.devices():
            state = device.liveness(now, stale_after_seconds=self._stale_after_seconds)
            sums[DEVICES, (device.site, state.value)] += 1
            if state is Liveness.ONLINE:
                outbox += device.health.message.outbox_messages if device.health is not None else 0
                _add_streams(device, sums, ratios)
        families = Families(FLEET_CATALOGUE)
        for (spec, labels), value in sorted(sums.items(), key=lambda item: item[0][1]):
            families.add(spec, labels, value)
        for quantile in QUANTILES if ratios else ():
            families.add(RATIO, (str(quantile),), float(np.quantile(ratios, quantile)))
        families.add(OUTBOX, (), outbox)
        yield from families.metrics()


def _add_streams(device: Device, sums: Sums, ratios: list[float]) -> None:
    site = (device.site,)
    for name, stream in device.streams.items():
        if not device.runs(name):
            continue
        # Where there is none, that is said, too: an absent series cannot be told from a lost one.
        sums[ALARMS, site] += device.alarm(name)
        if stream.window is None:
            continue
        window = stream.window.message
        sums[STREAMS, site] += 1
        sums[MIX_ALARMS, site] += window.class_mix_alarm
        for fault in CAMERA_FAULTS:
            sums[FAULTS, (*site, fault.value)] += fault in window.camera_faults
        sums[RATE, site] += window.frames_per_second
        sums[BUNDLES, (window.bundle.name, str(window.bundle.version))] += 1
        if (ratio := shown_ratio(window, WindowKind.COUNT)) is not None:
            ratios.append(ratio)
