"""What Prometheus is told of operators' decisions, of rollouts, and of those who are told of alerts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from driftprint.exposition import STREAM, Families, Spec
from driftprint_server.rollout.news import Standing
from driftprint_server.webhooks.sink import Webhooks

MUTED = Spec("driftprint_alert_muted", "gauge", STREAM, "Always 1; a stream whose alerts an operator has muted.")
WAITING_DEVICES = Spec(
    "driftprint_server_devices_waiting", "gauge", (), "Devices that wait for an operator's approval."
)
WEBHOOK_DELIVERED = Spec(
    "driftprint_server_webhook_deliveries_total", "counter", ("webhook",), "Messages delivered to a webhook."
)
WEBHOOK_FAILED = Spec(
    "driftprint_server_webhook_failures_total",
    "counter",
    ("webhook", "reason"),
    "Attempts to deliver that failed, by reason; they are repeated.",
)
WEBHOOK_DROPPED = Spec(
    "driftprint_server_webhook_dropped_total",
    "counter",
    ("webhook", "reason"),
    "Messages that were not delivered and will not be, by reason.",
)
WEBHOOK_WAITING = Spec(
    "driftprint_server_webhook_waiting", "gauge", ("webhook",), "Messages that are still to be delivered."
)
ROLLOUTS = Spec(
    "driftprint_server_rollouts",
    "gauge",
    ("status",),
    "Rollouts that are running, are held, or have stopped by themselves with no operator having seen to it since.",
)

OPERATOR_CATALOGUE = (
    *(MUTED, WAITING_DEVICES, ROLLOUTS),
    *(WEBHOOK_DELIVERED, WEBHOOK_FAILED, WEBHOOK_DROPPED, WEBHOOK_WAITING),
)
"""Every metric of these, in the order of exposition."""


class OperatorCollector(Collector):
    """Decisions and webhooks as Prometheus sees them.

    Args:
        muted: the streams that are muted now, as site, device and name.
        waiting: how many devices wait for approval.
        webhooks: those who are told of alerts.
        rollouts: how many stand how; None where there are none.
    """

    def __init__(
        self,
        *,
        muted: Callable[[], set[tuple[str, str, str]]],
        waiting: Callable[[], int],
        webhooks: Webhooks,
        rollouts: Callable[[], Mapping[Standing, int]] | None = None,
    ) -> None:
        self._muted = muted
        self._waiting = waiting
        self._webhooks = webhooks
        self._rollouts = rollouts

    def describe(self) -> list[Metric]:
        """Names are known beforehand; nothing is collected at registration."""
        return []

    def collect(self) -> Iterator[Metric]:
        """All families with their samples; those without samples too."""
        families = Families(OPERATOR_CATALOGUE)
        for stream in sorted(self._muted()):
            families.add(MUTED, stream, 1)
        families.add(WAITING_DEVICES, (), self._waiting())
        for standing, rollouts in (self._rollouts() if self._rollouts is not None else {}).items():
            families.add(ROLLOUTS, (standing.value,), rollouts)
        counts = self._webhooks.counts
        for name, total in counts.delivered.items():
            families.add(WEBHOOK_DELIVERED, (name,), total)
        for (name, failure), total in counts.failed.items():
            families.add(WEBHOOK_FAILED, (name, failure.value), total)
        for (name, drop), total in counts.dropped.items():
            families.add(WEBHOOK_DROPPED, (name, drop.value), total)
        for name, messages in self._webhooks.waiting.items():
            families.add(WEBHOOK_WAITING, (name,), messages)
        yield from families.metrics()
