"""The dashboards, one file each."""

from __future__ import annotations

from grafana_foundation_sdk.models.dashboard import Dashboard

from deploy.grafana.dashboards import bundle, device, fleet, monitor


def dashboards() -> dict[str, Dashboard]:
    """All of them, by the name of their JSON file without its ending."""
    return {"fleet": fleet.build(), "device": device.build(), "bundle": bundle.build(), "monitor": monitor.build()}
