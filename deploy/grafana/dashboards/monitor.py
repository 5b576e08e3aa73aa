"""The monitor's own health: does what is shown elsewhere hold?"""

from __future__ import annotations

from collections.abc import Sequence

from grafana_foundation_sdk.models import units
from grafana_foundation_sdk.models.dashboard import Dashboard

from deploy.grafana.board import MONITOR, RATE, board, device_link
from deploy.grafana.panels import (
    AMBER,
    FEW_ARE_GOOD,
    GREEN,
    LINK,
    NONE_IS_GOOD,
    RED,
    WAITING,
    Panel,
    Query,
    graph,
    labels,
    number,
)
from deploy.grafana.states import devices_by_state, held, last_seen, up

SERVER = "and on (job, instance) driftprint_server_info"
"""Of Prometheus' own series on what it scrapes, those of the server."""


def build() -> Dashboard:
    """The dashboard."""
    return board(
        MONITOR,
        "driftprint: the monitor itself",
        "Does the server hear its devices, and does Prometheus hear the server? If not, the other dashboards are old.",
        variables=[],
        rows=[
            ("Now", _now()),
            ("Messages", _messages()),
            ("Who is silent", _silent()),
            ("Webhooks", _webhooks()),
            ("Remote write", _remote_write()),
            ("Scrapes", _scrapes()),
        ],
    )


def _now() -> Sequence[Panel]:
    return (
        number(
            "Broker",
            "Whether the server is connected to it and subscribed. Not scraped: the server is down, or Prometheus "
            "cannot reach it.",
            Query("min(driftprint_server_connected)"),
            words=LINK,
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
        number(
            "Messages waiting for webhooks",
            "To be delivered. Many for long: the receiver is away, or refuses them.",
            Query("sum(driftprint_server_webhook_waiting)"),
            steps=FEW_ARE_GOOD,
            no_value="no webhook",
        ),
        number(
            "Devices waiting for approval",
            "Nothing of them is taken in until an operator approves them, on the server's page.",
            Query("max(driftprint_server_devices_waiting)"),
            steps=FEW_ARE_GOOD,
        ),
        labels(
            "Server",
            "Its version, and where Prometheus found it.",
            Query("max by (instance, version) (driftprint_server_info)"),
            width=8,
        ),
        labels(
            "Muted streams",
            "An operator has muted their alerts, on the server's page: Prometheus raises none of what they see.",
            Query("max by (site, device, stream) (driftprint_alert_muted)"),
            width=16,
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
            "does not fit the server's, it is not enrolled, or a limit is reached (rate, too_many_...).",
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
            "Many that go stale at once: the network or the broker.",
            Query(devices_by_state(), "{{state}}"),
            unit=units.Short,
            colours={"online": GREEN, "stale": AMBER, "offline": RED},
            stacked=True,
        ),
        graph(
            "Silent devices",
            "Since the last sign of life, of the 20 that have been silent longest.",
            Query(f"topk(20, time() - {last_seen()})", "{{site}}/{{device}}"),
            unit=units.Seconds,
            link=device_link(),
        ),
        graph(
            "Silent streams of devices that are online",
            "Age of the latest window, of the 20 oldest. The agent lives, but this stream hangs: restart the agent. "
            "Where replicas write, a stream that is run no more is among them for a day.",
            Query(
                f"topk(20, (time() - {held('driftprint_window_timestamp_seconds', 'site, device, stream')})"
                f" and on (site, device) ({up()} == 1))",
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


def _webhooks() -> Sequence[Panel]:
    return (
        graph(
            "Messages delivered",
            "To each webhook.",
            Query(f"sum by (webhook) (increase(driftprint_server_webhook_deliveries_total{RATE}))", "{{webhook}}"),
            unit=units.Short,
        ),
        graph(
            "Messages waiting",
            "For each webhook. They wait for a day, then they are given up.",
            Query("sum by (webhook) (driftprint_server_webhook_waiting)", "{{webhook}}"),
            unit=units.Short,
        ),
        graph(
            "Attempts that failed",
            "By reason; they are repeated. The server's log has what the receiver answers.",
            Query(
                f"sum by (webhook, reason) (increase(driftprint_server_webhook_failures_total{RATE}))",
                "{{webhook}}: {{reason}}",
            ),
            unit=units.Short,
        ),
        graph(
            "Messages given up",
            "By reason: nobody will be told of these by the webhook. Gone: it wants no more.",
            Query(
                f"sum by (webhook, reason) (increase(driftprint_server_webhook_dropped_total{RATE}))",
                "{{webhook}}: {{reason}}",
            ),
            unit=units.Short,
        ),
    )


def _remote_write() -> Sequence[Panel]:
    return (
        graph(
            "Samples written",
            "That each database has taken, of the server and all replicas.",
            Query(f"sum by (target) (rate(driftprint_remote_write_samples_total{RATE}))", "{{target}}"),
            unit=units.CountsPerSecond,
            width=8,
        ),
        graph(
            "Bytes written",
            "A second, compressed. What the way to each database carries.",
            Query(f"sum by (target) (rate(driftprint_remote_write_bytes_total{RATE}))", "{{target}}"),
            unit=units.BytesPerSecondIEC,
            width=8,
        ),
        graph(
            "Samples refused",
            "For good, by the status of the answer: missing from the metrics. Mostly too old for the database.",
            Query(
                f"sum by (target, status) (increase(driftprint_remote_write_dropped_samples_total{RATE}))",
                "{{target}}: {{status}}",
            ),
            unit=units.Short,
            width=8,
        ),
        graph(
            "Requests",
            "By the status of the answer. Unreachable, 429 or 5xx: no device is answered until the database takes "
            "samples again.",
            Query(
                f"sum by (target, status) (rate(driftprint_remote_write_requests_total{RATE}))",
                "{{target}}: {{status}}",
            ),
            unit=units.CountsPerSecond,
        ),
        graph(
            "Time of a request",
            "What the server waits for an answer, on average. It bounds how much one server or replica can write.",
            Query(
                f"sum by (target) (rate(driftprint_remote_write_seconds_total{RATE}))"
                f" / (sum by (target) (rate(driftprint_remote_write_requests_total{RATE})) > 0)",
                "{{target}}",
            ),
            unit=units.Seconds,
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
