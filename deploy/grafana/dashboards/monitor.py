"""The monitor's own health: does what is shown elsewhere hold?"""

from __future__ import annotations

from collections.abc import Sequence

from grafana_foundation_sdk.models import units
from grafana_foundation_sdk.models.dashboard import Dashboard

from deploy.grafana.board import MONITOR, RATE, board, device_link
from deploy.grafana.panels import (
    AMBER,
    GREEN,
    NONE_IS_GOOD,
    RED,
    WAITING,
    Panel,
    Query,
    graph,
    labels,
    number,
)

SERVER = "and on (job, instance) driftprint_server_info"
"""Of Prometheus' own series on what it scrapes, those of the server."""


def build() -> Dashboard:
    """The dashboard."""
    return board(
        MONITOR,
        "driftprint: the monitor itself",
        "Does the server hear its devices, and does Prometheus hear the server? If not, the other dashboards are old.",
        variables=[],
        rows=[("Now", _now()), ("Messages", _messages()), ("Who is silent", _silent()), ("Scrapes", _scrapes())],
    )


def _now() -> Sequence[Panel]:
    return (
        number(
            "Broker",
            "Whether the server is connected to it and subscribed. Not scraped: the server is down, or Prometheus "
            "cannot reach it.",
            Query("min(driftprint_server_connected)"),
            words={0: ("not connected", RED), 1: ("connected", GREEN)},
            no_value="not scraped",
        ),
        number(
            "Messages in the queue",
            "Received but not yet taken in. Nought most of the time; more means that the disk is too slow.",
            Query("sum(driftprint_server_queue_messages)"),
            steps=WAITING,
        ),
        number(
            "Refused writes",
            "Of the server's store, just now. Nothing is acknowledged meanwhile and nothing is lost: look at the disk.",
            Query(f"sum(increase(driftprint_server_store_errors_total{RATE}))"),
            steps=NONE_IS_GOOD,
        ),
        number(
            "Messages waiting on devices",
            "All devices together. They come once the server acknowledges again.",
            Query("sum(driftprint_outbox_messages)"),
        ),
        labels(
            "Server",
            "Its version, and where Prometheus found it.",
            Query("max by (instance, version) (driftprint_server_info)"),
            width=8,
        ),
    )


def _messages() -> Sequence[Panel]:
    return (
        graph(
            "Messages taken in",
            "By kind. No windows while devices are online: something between them and the broker is wrong.",
            Query(f"sum by (kind) (rate(driftprint_server_messages_total{RATE}))", "{{kind}}"),
            unit=units.MessagesPerSecond,
            stacked=True,
        ),
        graph(
            "Messages acknowledged",
            "Stored on disk and acknowledged; only then does a device forget them.",
            Query(f"sum(rate(driftprint_server_acknowledged_total{RATE}))", "acknowledged"),
            unit=units.MessagesPerSecond,
        ),
        graph(
            "Messages rejected",
            "By reason; docs/metrics.md has them all. A device sends a rejected message again and again: its version "
            "does not fit the server's, or a limit of the server is reached.",
            Query(f"sum by (reason) (increase(driftprint_server_rejected_total{RATE}))", "{{reason}}"),
            unit=units.Short,
        ),
        graph(
            "Queue and refused writes",
            "Of the server. A queue that grows with no writes refused: too many devices for this machine.",
            Query("sum(driftprint_server_queue_messages)", "in the queue"),
            Query(f"sum(increase(driftprint_server_store_errors_total{RATE}))", "writes refused"),
            unit=units.Short,
        ),
    )


def _silent() -> Sequence[Panel]:
    return (
        graph(
            "Devices by state",
            "As the server sees them. Many that go stale at once: the network or the broker.",
            Query("max by (state) (driftprint_server_devices)", "{{state}}"),
            unit=units.Short,
            colours={"online": GREEN, "stale": AMBER, "offline": RED},
            stacked=True,
        ),
        graph(
            "Silent devices",
            "Since the last sign of life, of the 20 that have been silent longest.",
            Query("topk(20, time() - driftprint_last_seen_timestamp_seconds)", "{{site}}/{{device}}"),
            unit=units.Seconds,
            link=device_link(),
        ),
        graph(
            "Silent streams of devices that are online",
            "Age of the latest window, of the 20 oldest. The agent lives, but this stream hangs: restart the agent.",
            Query(
                "topk(20, (time() - driftprint_window_timestamp_seconds)"
                " and on (site, device) (driftprint_device_up == 1))",
                "{{site}}/{{device}}/{{stream}}",
            ),
            unit=units.Seconds,
            link=device_link(),
        ),
        graph(
            "Devices' disks",
            "Writes that devices' disks refused, of the 20 with the most. A worn memory card: replace it.",
            Query(f"topk(20, increase(driftprint_store_errors_total{RATE}))", "{{site}}/{{device}}"),
            unit=units.Short,
            link=device_link(),
        ),
    )


def _scrapes() -> Sequence[Panel]:
    return (
        graph(
            "Time of a scrape",
            "What Prometheus waits for the server's /metrics. Near its scrape_timeout: set that higher.",
            Query(f"scrape_duration_seconds {SERVER}", "{{instance}}"),
            unit=units.Seconds,
        ),
        graph(
            "Samples of a scrape",
            "How many the server shows; it grows with streams and with predicted classes (max_classes).",
            Query(f"scrape_samples_scraped {SERVER}", "{{instance}}"),
            unit=units.Short,
        ),
    )
