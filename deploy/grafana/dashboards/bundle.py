"""One bundle version across the fleet, beside the other versions: does a rollout go well?"""

from __future__ import annotations

from collections.abc import Sequence

from grafana_foundation_sdk.models import units
from grafana_foundation_sdk.models.dashboard import Dashboard

from deploy.grafana.board import BUNDLE, RATE, board, device_link, variable
from deploy.grafana.panels import (
    ALARM,
    EVIDENCE,
    FEW_ARE_GOOD,
    NONE_IS_GOOD,
    PLAIN,
    RATIO,
    Column,
    Panel,
    Query,
    graph,
    listing,
    number,
)

HERE = '{site=~"$site"}'
BY_COUNT = '{site=~"$site", window="count"}'
STREAM = "site, device, stream"
ALL_VERSIONS = 'driftprint_bundle_info{site=~"$site", bundle="$bundle"}'
THIS_VERSION = 'driftprint_bundle_info{site=~"$site", bundle="$bundle", version="$version"}'


def _here(expr: str) -> str:
    """A stream's metric, where the stream runs this version."""
    return f"{expr} * on ({STREAM}) group_left () max by ({STREAM}) ({THIS_VERSION})"


def _versions(expr: str) -> str:
    """A stream's metric, with the version that the stream runs as a further label."""
    return f"{expr} * on ({STREAM}) group_left (version) max by ({STREAM}, version) ({ALL_VERSIONS})"


def build() -> Dashboard:
    """The dashboard."""
    return board(
        BUNDLE,
        "driftprint: bundle",
        "One version of a bundle across the fleet, beside its other versions: does a rollout go well?",
        variables=[
            variable("bundle", "Bundle", "label_values(driftprint_bundle_info, bundle)"),
            variable("version", "Version", 'label_values(driftprint_bundle_info{bundle="$bundle"}, version)'),
            variable("site", "Site", "label_values(driftprint_device_up, site)", several=True),
        ],
        rows=[("This version now", _now()), ("Beside the other versions", _compared()), ("Its streams", _streams())],
    )


def _now() -> Sequence[Panel]:
    return (
        number(
            "Devices",
            "That run this version.",
            Query(f"count(count by (site, device) ({THIS_VERSION}))"),
            no_value="none online",
            width=3,
        ),
        number(
            "Share of streams",
            "Of those that run this bundle: how many run this version. A rollout is done at 100 %.",
            Query(f"count({THIS_VERSION}) / count({ALL_VERSIONS})"),
            unit=units.PercentUnit,
            no_value="none online",
            width=3,
        ),
        number(
            "Streams in alarm",
            "Of drift, on this version. More than on the version before: step back.",
            Query(f"sum({_here(f'driftprint_alarm_active{HERE}')})"),
            steps=NONE_IS_GOOD,
            no_value="none online",
            width=3,
        ),
        number(
            "Mean outlier ratio",
            "Of the streams on this version, in their windows by count. Inliers give about 5 %.",
            Query(f"avg({_here(f'driftprint_outlier_ratio{BY_COUNT}')})"),
            unit=units.PercentUnit,
            steps=RATIO,
            no_value="none online",
        ),
        number(
            "Frames per second",
            "Scored by this version, all streams together.",
            Query(f"sum({_here(f'driftprint_frames_per_second{HERE}')})"),
            unit=units.CountsPerSecond,
            no_value="none online",
        ),
        number(
            "Bundles refused",
            "Streams, of any bundle, that do not run the one that was wanted: not fetched, not trusted, or it did not "
            "keep running. The device's log says why.",
            Query(f"count(driftprint_bundle_error{HERE}) or 0 * count(driftprint_device_up{HERE})"),
            steps=FEW_ARE_GOOD,
            width=3,
        ),
        number(
            "Rollouts",
            "Of all bundles. Held: it does not go on for now. Stopped: by itself, and nobody has seen to it since; the "
            "server's page says why.",
            Query("max by (status) (driftprint_server_rollouts)", "{{status}}"),
            by_series={"running": PLAIN, "held": FEW_ARE_GOOD, "stopped": NONE_IS_GOOD},
            no_value="no rollouts",
        ),
    )


def _compared() -> Sequence[Panel]:
    return (
        graph(
            "Outlier ratio by version",
            "Mean of the streams. A version that is higher than the others at the same sites was trained on too "
            "little, or calibrated on other data.",
            Query(f"avg by (version) ({_versions(f'driftprint_outlier_ratio{BY_COUNT}')})", "version {{version}}"),
            unit=units.PercentUnit,
            at_most=1,
        ),
        graph(
            "Streams in alarm by version",
            "Share of each version's streams.",
            Query(f"avg by (version) ({_versions(f'driftprint_alarm_active{HERE}')})", "version {{version}}"),
            unit=units.PercentUnit,
            at_most=1,
        ),
        graph(
            "Streams by version",
            "How far a rollout is, and what goes back.",
            Query(f"count by (version) ({ALL_VERSIONS})", "version {{version}}"),
            unit=units.Short,
            stacked=True,
        ),
        graph(
            "Frames per second by version",
            "Mean of the streams. A version that is slower costs too much on these devices.",
            Query(f"avg by (version) ({_versions(f'driftprint_frames_per_second{HERE}')})", "version {{version}}"),
            unit=units.CountsPerSecond,
        ),
        graph(
            "Faulty frames per second by version",
            "Frames that could not be scored. On one version alone: it expects another kind of frame.",
            Query(
                f"sum by (version) ({_versions(f'rate(driftprint_faulty_frames_total{HERE}{RATE})')})",
                "version {{version}}",
            ),
            unit=units.CountsPerSecond,
        ),
        graph(
            "Alerts raised by version",
            "New alerts of drift.",
            Query(
                f"sum by (version) ({_versions(f'increase(driftprint_alerts_total{HERE}{RATE})')})",
                "version {{version}}",
            ),
            unit=units.Short,
        ),
    )


def _streams() -> Sequence[Panel]:
    return (
        graph(
            "Outlier ratio",
            "Of the streams on this version, the 20 highest at each moment.",
            Query(f"topk(20, {_here(f'driftprint_outlier_ratio{BY_COUNT}')})", "{{site}}/{{device}}/{{stream}}"),
            unit=units.PercentUnit,
            at_most=1,
            link=device_link(),
        ),
        graph(
            "Evidence",
            "Of the streams on this version, the 20 highest at each moment. At the line an alarm is raised.",
            Query(f"topk(20, {_here(f'driftprint_evidence_ratio{HERE}')})", "{{site}}/{{device}}/{{stream}}"),
            unit=units.Short,
            steps=EVIDENCE,
            link=device_link(),
        ),
        listing(
            "Streams",
            "Every stream on this version. A click on a device leads to it.",
            Column(
                "outlier ratio",
                f"max by ({STREAM}) ({_here(f'driftprint_outlier_ratio{BY_COUNT}')})",
                units.PercentUnit,
                RATIO,
            ),
            Column("drift", f"max by ({STREAM}) ({_here(f'driftprint_alarm_active{HERE}')})", words=ALARM),
            Column(
                "frames/s",
                f"max by ({STREAM}) ({_here(f'driftprint_frames_per_second{HERE}')})",
                units.CountsPerSecond,
            ),
            sort_by="outlier ratio",
            links={"device": device_link("__data.fields")},
        ),
    )
