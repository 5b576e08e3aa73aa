"""``python -m deploy.grafana`` (or ``make dashboards``): write the dashboards' JSON."""

from __future__ import annotations

from pathlib import Path

from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import Dashboard

from deploy.grafana.dashboards import dashboards

JSON = Path(__file__).parent / "json"


def encode(dashboard: Dashboard) -> str:
    """A dashboard as Grafana reads it; the same one always gives the same text."""
    return JSONEncoder(sort_keys=True, indent=2).encode(dashboard) + "\n"


def main() -> None:
    """Write them all."""
    for name, dashboard in dashboards().items():
        (JSON / f"{name}.json").write_text(encode(dashboard))


if __name__ == "__main__":
    main()
