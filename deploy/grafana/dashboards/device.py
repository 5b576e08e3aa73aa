"""One device: what its streams see, and how it is itself."""

from __future__ import annotations

from collections.abc import Sequence

from grafana_foundation_sdk.models import units
from grafana_foundation_sdk.models.dashboard import Dashboard

from deploy.grafana.board import DEVICE, RATE, board, variable
from deploy.grafana.panels import (
    ALARM,
    AMBER,
    EVIDENCE,
    FAULT,
    FEW_ARE_GOOD,
    GREEN,
    RED,
    SILENCE,
    WAITING,
    Panel,
    Query,
    graph,
    labels,
    number,
    states,
)
from deploy.grafana.states import held, last_seen, up

THIS = 'site="$site", device="$device"'
IT = f"{{{THIS}}}"
STREAMS = '{site="$site", device="$device", stream=~"$stream"}'


def build() -> Dashboard:
    """The dashboard."""
    return board(
        DEVICE,
        "driftprint: device",
        "What one device's streams see, and how it is itself.",
        variables=[
            variable("site", "Site", "label_values(driftprint_device_up, site)"),
            variable("device", "Device", 'label_values(driftprint_device_up{site="$site"}, device)'),
            variable("stream", "Stream", f"label_values(driftprint_frames_total{IT}, stream)", several=True),
        ],
        rows=[("Now", _now()), ("Drift", _drift()), ("Frames and camera", _frames()), ("Machine", _machine())],
    )


def _now() -> Sequence[Panel]:
    return (
        number(
            "State",
            "Whether it is connected and not silent. If not: power, network, then `driftprint doctor` on the device.",
            Query(f"max({up(THIS)})"),
            words={0: ("not online", RED), 1: ("online", GREEN)},
            no_value="unknown",
        ),
        number(
            "Silent for",
            "Since its last sign of life.",
            Query(f"time() - max({last_seen(THIS)})"),
            unit=units.Seconds,
            steps=SILENCE,
        ),
        number(
            "Drift",
            "Whether an alert of drift is raised on one of the streams. Look at the evidence frames on the device.",
            Query(f"max(driftprint_alarm_active{STREAMS})"),
            words=ALARM,
            no_value="not online",
            width=3,
        ),
        number(
            "Class mix",
            "Whether the predicted classes of one of the streams come in another mix than at calibration.",
            Query(f"max(driftprint_class_mix_alarm_active{STREAMS})"),
            words=ALARM,
            no_value="not online",
            width=3,
        ),
        number(
            "Camera",
            "Whether a camera of the streams is at fault. Which one and how: below.",
            Query(f"max(driftprint_camera_fault_active{STREAMS})"),
            words=FAULT,
            no_value="not online",
            width=3,
        ),
        number(
            "Bundles refused",
            "Streams that do not run the bundle that was wanted; the device's log says why.",
            Query(f"count(driftprint_bundle_error{STREAMS}) or 0 * count(driftprint_device_up{IT})"),
            steps=FEW_ARE_GOOD,
            width=3,
        ),
        number(
            "Messages waiting",
            "On the device, until the server has acknowledged them. Growing: it cannot reach the broker.",
            Query(f"max(driftprint_outbox_messages{IT})"),
            steps=WAITING,
            no_value="not online",
        ),
        labels(
            "Bundles",
            "What each stream runs.",
            Query(f"max by (stream, bundle, version) (driftprint_bundle_info{STREAMS})"),
            width=12,
        ),
        labels(
            "Agent",
            "The version of the agent. Where replicas write, it is told when the device connects, and shown for a day.",
            Query(held("driftprint_device_info", "site, device, version", THIS)),
            width=8,
        ),
        number(
            "Streams muted",
            "An operator has muted their alerts, on the server's page: what they see is shown here and told to nobody.",
            Query(f"count(driftprint_alert_muted{STREAMS}) or 0 * count(driftprint_device_up{IT})"),
            steps=FEW_ARE_GOOD,
        ),
    )


def _drift() -> Sequence[Panel]:
    return (
        graph(
            "Outlier ratio",
            "Share of outliers in the window by count and in the one by time. Inliers give about 5 %.",
            Query(f"driftprint_outlier_ratio{STREAMS}", "{{stream}}, by {{window}}"),
            unit=units.PercentUnit,
            at_most=1,
        ),
        graph(
            "Evidence",
            "For drift, by all frames so far: the logarithm over that of its threshold. At the line an alarm is "
            "raised; a slow climb is a small but lasting change.",
            Query(f"driftprint_evidence_ratio{STREAMS}", "{{stream}}"),
            unit=units.Short,
            steps=EVIDENCE,
        ),
        graph(
            "Outlier ratio by predicted class",
            "In the window by count; the classes with the most frames. One class alone: a product has changed.",
            Query(f"driftprint_class_outlier_ratio{STREAMS}", "{{stream}}: {{class}}"),
            unit=units.PercentUnit,
            at_most=1,
        ),
        graph(
            "Score",
            "Quantiles of the outlier score in the window by count. It has no unit and may be negative; compare it "
            "with itself only, and not across bundles.",
            Query(f"driftprint_score{STREAMS}", "{{stream}}, {{quantile}}"),
            unit=units.Short,
            at_least=None,
        ),
        states(
            "Drift alarms",
            "When an alert of drift was raised.",
            Query(f"driftprint_alarm_active{STREAMS}", "{{stream}}"),
            words=ALARM,
        ),
        states(
            "Class mix alarms",
            "When the predicted classes came in another mix than at calibration: the site shows other things.",
            Query(f"driftprint_class_mix_alarm_active{STREAMS}", "{{stream}}"),
            words=ALARM,
        ),
        graph(
            "Outliers among all frames",
            "Share of the frames scored in each interval, without a window's memory.",
            Query(
                f"rate(driftprint_outlier_frames_total{STREAMS}{RATE})"
                f" / (rate(driftprint_frames_total{STREAMS}{RATE}) > 0)",
                "{{stream}}",
            ),
            unit=units.PercentUnit,
            at_most=1,
        ),
        graph(
            "Alerts raised",
            "New alerts of drift. Many: calibrate the stream at its site (driftprint agent --calibrate).",
            Query(f"increase(driftprint_alerts_total{STREAMS}{RATE})", "{{stream}}"),
            unit=units.Short,
        ),
    )


def _frames() -> Sequence[Panel]:
    return (
        graph(
            "Frames per second",
            "Scored, as the device reports it and as its total grows. Below what the source gives: the processor is "
            "too slow, or the source stalls.",
            Query(f"driftprint_frames_per_second{STREAMS}", "{{stream}}, reported"),
            Query(f"rate(driftprint_frames_total{STREAMS}{RATE})", "{{stream}}, counted"),
            unit=units.CountsPerSecond,
        ),
        graph(
            "Faulty frames per second",
            "Frames that could not be scored, by reason. They are no outliers; mend the source.",
            Query(f"rate(driftprint_faulty_frames_total{STREAMS}{RATE})", "{{stream}}: {{reason}}"),
            unit=units.CountsPerSecond,
        ),
        states(
            "Camera faults",
            "When which fault was told. Missing: cable or network. Frozen: restart it. Black, blown out: light or "
            "exposure. Covered, blurred: clean and focus it.",
            Query(f"driftprint_camera_fault_active{STREAMS}", "{{stream}}: {{fault}}"),
            words=FAULT,
        ),
        graph(
            "Since the last report",
            "Age of each stream's latest window. A stream that hangs while the device is online climbs here.",
            Query(f"time() - driftprint_window_timestamp_seconds{STREAMS}", "{{stream}}"),
            unit=units.Seconds,
        ),
    )


def _machine() -> Sequence[Panel]:
    return (
        graph(
            "Processor",
            "Share of the time of all cores. The agent near 100 %: lower frames_per_second or take a smaller model.",
            Query(f"driftprint_device_cpu_ratio{IT}", "whole machine"),
            Query(f"driftprint_agent_cpu_ratio{IT}", "agent"),
            unit=units.PercentUnit,
            at_most=1,
        ),
        graph(
            "Memory",
            "An agent that keeps growing is a fault worth a report. Little available: the kernel will end something.",
            Query(f"driftprint_device_memory_bytes{IT}", "installed"),
            Query(f"driftprint_device_memory_available_bytes{IT}", "available"),
            Query(f"driftprint_agent_resident_memory_bytes{IT}", "agent"),
            unit=units.BytesIEC,
        ),
        graph(
            "Temperature",
            "Of the hottest thermal zone. Most boards slow down at 80 to 85 degrees: give it air or a heat sink.",
            Query(f"driftprint_device_temperature_celsius{IT}", "hottest zone"),
            unit=units.Celsius,
            steps=((None, GREEN), (70, AMBER), (80, RED)),
        ),
        states(
            "Throttling, supply and store",
            "Slowed down by heat or for want of power; a supply that is too weak. Not every machine tells. In memory: "
            "the disk takes no writes, and what waits is lost with the power.",
            Query(f"driftprint_device_throttled{IT}", "throttled"),
            Query(f"driftprint_device_under_voltage{IT}", "under-voltage"),
            Query(f"driftprint_store_volatile{IT}", "store in memory"),
            words={0: ("no", GREEN), 1: ("yes", RED)},
        ),
        graph(
            "Disk in use",
            "Of the file system that holds the agent's store. Full: messages wait in memory alone.",
            Query(f"1 - driftprint_device_disk_free_bytes{IT} / driftprint_device_disk_bytes{IT}", "in use"),
            unit=units.PercentUnit,
            at_most=1,
            steps=((None, GREEN), (0.8, AMBER), (0.95, RED)),
        ),
        graph(
            "Outbox",
            "Messages that wait for the server's acknowledgement.",
            Query(f"driftprint_outbox_messages{IT}", "waiting"),
            unit=units.Short,
        ),
        graph(
            "Lost and refused",
            "Messages dropped because the outbox was full, writes that the disk refused, and how often the store was "
            "damaged and has mended itself. More than messages: replace the card.",
            Query(f"increase(driftprint_outbox_dropped_total{IT}{RATE})", "dropped"),
            Query(f"increase(driftprint_store_errors_total{IT}{RATE})", "refused"),
            Query(f"increase(driftprint_store_mended_total{IT}{RATE})", "mended"),
            unit=units.Short,
            width=24,
        ),
    )
