"""What all dashboards have in common: variables, links to each other, and how their panels are laid out."""

from __future__ import annotations

from collections.abc import Sequence

from grafana_foundation_sdk.builders import dashboard as builders
from grafana_foundation_sdk.models.dashboard import (
    Dashboard,
    DashboardCursorSync,
    DashboardLinkType,
    VariableOption,
    VariableRefresh,
    VariableSort,
)

from deploy.grafana.panels import DATA_SOURCE, Panel

TAG = "driftprint"
FLEET, DEVICE, BUNDLE, MONITOR = (f"driftprint-{name}" for name in ("fleet", "device", "bundle", "monitor"))
"""The uids of the dashboards; their addresses stay the same."""

RATE = "[$__rate_interval]"

Row = tuple[str, Sequence[Panel]]


def board(
    uid: str, title: str, description: str, *, variables: Sequence[builders.QueryVariable], rows: Sequence[Row]
) -> Dashboard:
    """A dashboard.

    Args:
        uid: its address.
        title: its name.
        description: what it is for.
        variables: beside the data source.
        rows: a title and panels each; panels flow from left to right, 24 columns a line.
    """
    built = builders.Dashboard(title)
    built.uid(uid).description(description).tags([TAG])
    built.readonly().tooltip(DashboardCursorSync.CROSSHAIR)
    built.time("now-6h", "now").refresh("30s").timezone("browser")
    links = builders.DashboardLink("driftprint").type(DashboardLinkType("dashboards")).tags([TAG])
    # Left alone, the SDK hides links in a menu of Grafana 12.
    built.link(links.keep_time(True).include_vars(True).placement(""))
    built.with_variable(builders.DatasourceVariable("datasource").label("Data source").type("prometheus"))
    for variable in variables:
        built.with_variable(variable)
    for heading, panels in rows:
        built.with_row(builders.Row(heading))
        for panel in panels:
            built.with_panel(panel)
    dashboard: Dashboard = built.build()
    for number, shown in enumerate(dashboard.panels or (), start=1):
        shown.id_val = number
    return dashboard


def variable(name: str, label: str, query: str, *, several: bool = False) -> builders.QueryVariable:
    """A variable that is chosen from the values of a label.

    Args:
        name: as queries call it.
        label: as users see it.
        query: ``label_values(series, label)``.
        several: whether several can be chosen; all of them at first.
    """
    built = builders.QueryVariable(name)
    built.label(label).query(query).definition(query).datasource(DATA_SOURCE)
    built.refresh(VariableRefresh.ON_TIME_RANGE_CHANGED).sort(VariableSort.NATURAL_ASC)
    if several:
        built.multi(True).include_all(True).all_value(".+")
        built.current(VariableOption(selected=True, text="All", value="$__all"))
    return built


def device_link(labels: str = "__field.labels") -> tuple[str, str]:
    """Title and address of the dashboard of the device that a series speaks of.

    Args:
        labels: where Grafana finds its labels: ``__field.labels`` in a graph, ``__data.fields`` in a table.
    """
    chosen = "".join(f"&var-{name}=${{{labels}.{name}}}" for name in ("site", "device"))
    return "This device", f"/d/{DEVICE}?${{__url_time_range}}&${{datasource:queryparam}}{chosen}"


def bundle_link() -> tuple[str, str]:
    """Title and address of the dashboard of the bundle version that a series speaks of."""
    chosen = "".join(f"&var-{name}=${{__field.labels.{name}}}" for name in ("bundle", "version"))
    return "This version", f"/d/{BUNDLE}?${{__url_time_range}}&${{datasource:queryparam}}{chosen}"
