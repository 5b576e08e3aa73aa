"""Fleet overview: is anything wrong, and where?"""

from __future__ import annotations

from collections.abc import Sequence

from grafana_foundation_sdk.models import units
from grafana_foundation_sdk.models.dashboard import Dashboard

from deploy.grafana.board import FLEET, RATE, board, bundle_link, device_link, variable
from deploy.grafana.panels import (
    ALARM,
    EVIDENCE,
    FAULT,
    FEW_ARE_GOOD,
    GREEN,
    LINK,
    NONE_IS_GOOD,
    RATIO,
    RED,
    SILENCE,
    Column,
    Panel,
    Query,
    graph,
    listing,
    number,
)
from deploy.grafana.states import devices_by_state, last_seen, up

SITE = 'site=~"$site"'
HERE = f"{{{SITE}}}"
BY_COUNT = '{site=~"$site", window="count"}'
STREAM = "site, device, stream"


def build() -> Dashboard:
    """The dashboard."""
    return board(
        FLEET,
        "driftprint: fleet",
        "Is anything wrong, and where? A click on a device leads to it.",
        variables=[variable("site", "Site", "label_values(driftprint_device_up, site)", several=True)],
        rows=[
            ("Now", _now()),
            ("Drift", _drift()),
            ("Frames and cameras", _frames()),
            ("Devices", _devices()),
        ],
    )


def _now() -> Sequence[Panel]:
    return (
        number(
            "Server",
            "Whether it, or each replica, is connected to the broker and subscribed. If not, all else here is old. Not "
            "scraped: it is down, or Prometheus cannot reach it.",
            Query("min(driftprint_server_connected)"),
            words=LINK,
            no_value="not scraped",
            width=3,
        ),
        number(
            "Devices by state",
            "Known devices by state, of all sites. Stale: silent, though nobody said that it is gone; look at its "
            "network. Offline: it said goodbye, or the broker lost it.",
            Query(devices_by_state(), "{{state}}"),
            by_series={
                "online": ((None, GREEN),),
                "stale": FEW_ARE_GOOD,
                "offline": NONE_IS_GOOD,
            },
            width=6,
        ),
        number(
            "Drift alarms",
            "Streams on which an alert of drift is raised now. Look at the evidence frames on the device: has the "
            "camera moved, or is there something new to train for?",
            Query(f"sum(driftprint_alarm_active{HERE})"),
            steps=NONE_IS_GOOD,
            no_value="none online",
            width=3,
        ),
        number(
            "Class mix alarms",
            "Streams whose predicted classes come in another mix than at calibration. The frames look familiar; it "
            "is the site that shows other things.",
            Query(f"sum(driftprint_class_mix_alarm_active{HERE})"),
            steps=FEW_ARE_GOOD,
            no_value="none online",
        ),
        number(
            "Cameras at fault",
            "Streams whose camera is missing, frozen, dark, blown out, covered or out of focus. Clean or mend it; "
            "its frames are not judged meanwhile.",
            Query(f"sum(max by ({STREAM}) (driftprint_camera_fault_active{HERE}))"),
            steps=NONE_IS_GOOD,
            no_value="none online",
        ),
        number(
            "Bundles refused",
            "Streams that do not run the bundle that was wanted. The device's log and the server's page say why.",
            Query(f"count(driftprint_bundle_error{HERE}) or 0 * count(driftprint_device_up{HERE})"),
            steps=FEW_ARE_GOOD,
        ),
    )


def _drift() -> Sequence[Panel]:
    return (
        listing(
            "Streams",
            "Every stream that runs, the highest outlier ratio first. Near 5 % is what inliers give; evidence of 1 "
            "raises an alarm.",
            Column(
                "outlier ratio",
                f"max by ({STREAM}) (driftprint_outlier_ratio{BY_COUNT})",
                units.PercentUnit,
                RATIO,
            ),
            Column(
                "evidence",
                f"max by ({STREAM}) (driftprint_evidence_ratio{HERE})",
                units.Short,
                EVIDENCE,
            ),
            Column("drift", f"max by ({STREAM}) (driftprint_alarm_active{HERE})", words=ALARM),
            Column("camera", f"max by ({STREAM}) (driftprint_camera_fault_active{HERE})", words=FAULT),
            Column("frames/s", f"max by ({STREAM}) (driftprint_frames_per_second{HERE})", units.CountsPerSecond),
            sort_by="outlier ratio",
            links={"device": device_link("__data.fields")},
        ),
        graph(
            "Outlier ratio",
            "Share of outliers in the window by count; the 20 highest at each moment. One that climbs and stays up "
            "is drift; many that climb together have a cause in common, such as the weather or a new bundle.",
            Query(f"topk(20, driftprint_outlier_ratio{BY_COUNT})", "{{site}}/{{device}}/{{stream}}"),
            unit=units.PercentUnit,
            at_most=1,
            link=device_link(),
        ),
        graph(
            "Streams in alarm",
            "By site. All sites at once: suspect the bundle. One site: suspect what happens there.",
            Query(f"sum by (site) (driftprint_alarm_active{HERE})", "{{site}}"),
            unit=units.Short,
            stacked=True,
        ),
        graph(
            "Outliers among all frames",
            "Share of a site's scored frames that were outliers. Inliers give about 5 %.",
            Query(
                f"sum by (site) (rate(driftprint_outlier_frames_total{HERE}{RATE}))"
                f" / (sum by (site) (rate(driftprint_frames_total{HERE}{RATE})) > 0)",
                "{{site}}",
            ),
            unit=units.PercentUnit,
            at_most=1,
        ),
        graph(
            "Alerts raised",
            "New alerts of drift, by site. Many on one device: it flaps; calibrate it at its site "
            "(driftprint agent --calibrate).",
            Query(f"sum by (site) (increase(driftprint_alerts_total{HERE}{RATE}))", "{{site}}"),
            unit=units.Short,
        ),
    )


def _frames() -> Sequence[Panel]:
    return (
        graph(
            "Frames per second",
            "Scored, by site. A fall that no device's absence explains is a source or a processor that is too slow.",
            Query(f"sum by (site) (rate(driftprint_frames_total{HERE}{RATE}))", "{{site}}"),
            unit=units.CountsPerSecond,
            stacked=True,
        ),
        graph(
            "Faulty frames per second",
            "Frames that could not be scored, by reason. They are no outliers; mend the source.",
            Query(f"sum by (reason) (rate(driftprint_faulty_frames_total{HERE}{RATE}))", "{{reason}}"),
            unit=units.CountsPerSecond,
        ),
        graph(
            "Camera faults",
            "Streams, by what is wrong with their camera.",
            Query(f"sum by (fault) (driftprint_camera_fault_active{HERE})", "{{fault}}"),
            unit=units.Short,
            stacked=True,
        ),
        graph(
            "Bundles in use",
            "Streams by bundle and version; a rollout is one band that grows over another. A click leads to a version.",
            Query(f"count by (bundle, version) (driftprint_bundle_info{HERE})", "{{bundle}} {{version}}"),
            unit=units.Short,
            stacked=True,
            link=bundle_link(),
        ),
    )


def _devices() -> Sequence[Panel]:
    return (
        listing(
            "Devices",
            "Every device, the longest silent first. Whoever is not online has been silent for that long; its "
            "counters stay, its gauges do not. Where replicas write, a device is listed for a day.",
            Column(
                "silent for",
                f"time() - {last_seen(SITE)}",
                units.Seconds,
                SILENCE,
            ),
            Column(
                "state",
                up(SITE),
                words={0: ("not online", RED), 1: ("online", GREEN)},
            ),
            Column("waiting messages", f"max by (site, device) (driftprint_outbox_messages{HERE})", units.Short),
            sort_by="silent for",
            links={"device": device_link("__data.fields")},
        ),
        graph(
            "Messages waiting on devices",
            "What the server has not acknowledged yet, of the 20 with the most. One that grows cannot reach the "
            "broker; all that grow: look at the server.",
            Query(f"topk(20, driftprint_outbox_messages{HERE})", "{{site}}/{{device}}"),
            unit=units.Short,
            link=device_link(),
        ),
        graph(
            "Messages dropped",
            "By devices whose outbox was full: reports that are lost. The way to the server was blocked for long.",
            Query(f"sum by (site) (increase(driftprint_outbox_dropped_total{HERE}{RATE}))", "{{site}}"),
            unit=units.Short,
        ),
    )
