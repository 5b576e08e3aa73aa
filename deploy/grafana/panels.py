"""The kinds of panel that the dashboards are made of, each with a title, a description, a unit and the templated data
source.

Thresholds are pairs of a value and the colour from there on; the first value is None. Members of the SDK's enumerations
are named by their value: to mypy, which reads the code as Python 3.10, its StrEnums have no members of their own type.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from string import ascii_uppercase
from typing import TypeVar

from grafana_foundation_sdk.builders import common as common_builders
from grafana_foundation_sdk.builders import dashboard as dashboard_builders
from grafana_foundation_sdk.builders import prometheus, stat, statetimeline, table, timeseries
from grafana_foundation_sdk.models import common, units
from grafana_foundation_sdk.models.dashboard import (
    DataTransformerConfig,
    DynamicConfigValue,
    Threshold,
    ThresholdsConfig,
    ThresholdsMode,
    ValueMap,
    ValueMappingResult,
)
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

Panel = stat.Panel | timeseries.Panel | table.Panel | statetimeline.Panel
P = TypeVar("P", stat.Panel, timeseries.Panel, table.Panel, statetimeline.Panel)
Steps = Sequence[tuple[float | None, str]]
Words = Mapping[int, tuple[str, str]]
"""What a value is called, and its colour."""

GREEN, AMBER, RED, NEUTRAL = "green", "orange", "red", "text"
PLAIN: Steps = ((None, NEUTRAL),)
NONE_IS_GOOD: Steps = ((None, GREEN), (1, RED))
FEW_ARE_GOOD: Steps = ((None, GREEN), (1, AMBER))
RATIO: Steps = ((None, NEUTRAL), (0.15, AMBER), (0.5, RED))
"""Of outliers; inliers give 5 %."""
EVIDENCE: Steps = ((None, GREEN), (1, RED))
"""An alarm is raised at 1."""
SILENCE: Steps = ((None, GREEN), (60, AMBER), (3600, RED))
"""In seconds; the server takes a device for stale after 60."""
WAITING: Steps = ((None, GREEN), (100, AMBER), (1000, RED))
"""Messages."""
ALARM: Words = {0: ("quiet", GREEN), 1: ("alarm", RED)}
FAULT: Words = {0: ("good", GREEN), 1: ("fault", RED)}
LINK: Words = {0: ("not connected", RED), 1: ("connected", GREEN)}

DATA_SOURCE = common.DataSourceRef(type_val="prometheus", uid="${datasource}")


@dataclass(frozen=True, slots=True)
class Query:
    """What a panel asks.

    Attributes:
        expr: in PromQL.
        legend: of each series; ``{{label}}`` stands for a label's value.
    """

    expr: str
    legend: str = ""


@dataclass(frozen=True, slots=True)
class Column:
    """A column of values in a table, beside those of its labels.

    Attributes:
        name: its heading.
        expr: in PromQL; all columns of a table must leave the same labels.
        unit: one of Grafana's.
        steps: colours of its values.
        words: what its values are called.
    """

    name: str
    expr: str
    unit: str = units.NoUnit
    steps: Steps = PLAIN
    words: Words | None = None


def number(
    title: str,
    description: str,
    *queries: Query,
    unit: str = units.Short,
    steps: Steps = PLAIN,
    words: Words | None = None,
    by_series: Mapping[str, Steps] | None = None,
    no_value: str | None = None,
    width: int = 4,
) -> stat.Panel:
    """The value now, large.

    Args:
        title: the panel's.
        description: what it shows, and what to do about it.
        queries: what it asks.
        unit: one of Grafana's.
        steps: colours of the value.
        words: what values are called.
        by_series: other colours, by legend.
        no_value: what is shown where there is none.
        width: of the 24 columns of a dashboard.
    """
    panel = _base(stat.Panel(), title, description, unit, width, height=4)
    panel.thresholds(_thresholds(steps))
    panel.reduce_options(common_builders.ReduceDataOptions().calcs(["lastNotNull"]))
    panel.graph_mode(common.BigValueGraphMode("none"))
    if words is not None:
        panel.mappings([_mapping(words)])
    if no_value is not None:
        panel.no_value(no_value)
    for series, its_steps in (by_series or {}).items():
        panel.override_by_name(series, [DynamicConfigValue("thresholds", _config(its_steps))])
    for query in _queries(queries):
        panel.with_target(query.instant())
    return panel


def graph(
    title: str,
    description: str,
    *queries: Query,
    unit: str,
    at_least: float | None = 0,
    at_most: float | None = None,
    steps: Steps | None = None,
    colours: Mapping[str, str] | None = None,
    stacked: bool = False,
    link: tuple[str, str] | None = None,
    width: int = 12,
) -> timeseries.Panel:
    """Values over time.

    Args:
        title: the panel's.
        description: what it shows, and what to do about it.
        queries: what it asks.
        unit: one of Grafana's.
        at_least: where the axis begins; None where its values do.
        at_most: where the axis ends.
        steps: drawn as lines.
        colours: by legend.
        stacked: series on top of each other.
        link: title and address, for each series.
        width: of the 24 columns of a dashboard.
    """
    panel = _base(timeseries.Panel(), title, description, unit, width, height=8)
    panel.legend(common_builders.VizLegendOptions().show_legend(True).placement(common.LegendPlacement("bottom")))
    panel.tooltip(common_builders.VizTooltipOptions().mode(common.TooltipDisplayMode("multi")))
    if at_least is not None:
        panel.min(at_least)
    if at_most is not None:
        panel.max(at_most)
    if steps is not None:
        panel.thresholds(_thresholds(steps))
        style = common_builders.GraphThresholdsStyleConfig().mode(common.GraphThresholdsStyleMode("dashed"))
        panel.thresholds_style(style)
    if stacked:
        panel.stacking(common_builders.StackingConfig().mode(common.StackingMode("normal"))).fill_opacity(30)
    if link is not None:
        panel.data_links([_link(*link)])
    for series, colour in (colours or {}).items():
        fixed = {"mode": "fixed", "fixedColor": colour}
        panel.override_by_name(series, [DynamicConfigValue("color", fixed)])
    for query in _queries(queries):
        panel.with_target(query.range())
    return panel


def states(title: str, description: str, *queries: Query, words: Words, width: int = 12) -> statetimeline.Panel:
    """A bar a series over time, of the colour of its state.

    Args:
        title: the panel's.
        description: what it shows, and what to do about it.
        queries: what it asks.
        words: what values are called.
        width: of the 24 columns of a dashboard.
    """
    panel = _base(statetimeline.Panel(), title, description, units.NoUnit, width, height=8)
    panel.mappings([_mapping(words)])
    panel.show_value(common.VisibilityMode("never"))
    for query in _queries(queries):
        panel.with_target(query.range())
    return panel


def listing(
    title: str,
    description: str,
    *columns: Column,
    sort_by: str,
    links: Mapping[str, tuple[str, str]] | None = None,
    width: int = 24,
) -> table.Panel:
    """A table of the values now: a line a set of labels.

    Args:
        title: the panel's.
        description: what it shows, and what to do about it.
        columns: those of its values.
        sort_by: a column; the highest first.
        links: title and address, by column of labels.
        width: of the 24 columns of a dashboard.
    """
    # The column of a lone query is called "Value".
    values = [f"Value #{ref}" for ref in _refs(columns)] if len(columns) > 1 else ["Value"]
    names = {value: column.name for value, column in zip(values, columns, strict=True)}
    panel = _table(title, description, [Query(column.expr) for column in columns], ["Time"], names, width)
    panel.sort_by([common_builders.TableSortByFieldState().display_name(sort_by).desc(True)])
    for column in columns:
        panel.override_by_name(column.name, _properties(column))
    for label, (text, url) in (links or {}).items():
        panel.override_by_name(label, [DynamicConfigValue("links", [{"title": text, "url": url}])])
    return panel


def labels(title: str, description: str, query: Query, *, width: int = 12) -> table.Panel:
    """A table of the labels of series whose value says nothing.

    Args:
        title: the panel's.
        description: what it shows, and what to do about it.
        query: what it asks.
        width: of the 24 columns of a dashboard.
    """
    return _table(title, description, [query], ["Time", "Value"], {}, width)


def _table(
    title: str, description: str, queries: Sequence[Query], hidden: Sequence[str], names: Mapping[str, str], width: int
) -> table.Panel:
    panel = _base(table.Panel(), title, description, units.NoUnit, width, height=8)
    panel.with_transformation(DataTransformerConfig("merge", options={}))
    tidy = {"excludeByName": dict.fromkeys(hidden, True), "renameByName": names, "indexByName": {}}
    panel.with_transformation(DataTransformerConfig("organize", options=tidy))
    for query in _queries(queries):
        panel.with_target(query.format(PromQueryFormat("table")).instant())
    return panel


def _base(panel: P, title: str, description: str, unit: str, width: int, height: int) -> P:
    panel.title(title)
    panel.description(description)
    panel.datasource(DATA_SOURCE)
    panel.unit(unit)
    panel.span(width)
    panel.height(height)
    return panel


def _refs(items: Sequence[object]) -> list[str]:
    return [ascii_uppercase[index] for index in range(len(items))]


def _queries(queries: Sequence[Query]) -> list[prometheus.Dataquery]:
    built = []
    for ref, query in zip(_refs(queries), queries, strict=True):
        target = prometheus.Dataquery()
        target.ref_id(ref)
        target.expr(query.expr)
        target.datasource(DATA_SOURCE)
        if query.legend:
            target.legend_format(query.legend)
        built.append(target)
    return built


def _config(steps: Steps) -> ThresholdsConfig:
    return ThresholdsConfig(ThresholdsMode("absolute"), [Threshold(value, colour) for value, colour in steps])


def _thresholds(steps: Steps) -> dashboard_builders.ThresholdsConfig:
    built = dashboard_builders.ThresholdsConfig()
    built.mode(ThresholdsMode("absolute"))
    built.steps(_config(steps).steps)
    return built


def _mapping(words: Words) -> ValueMap:
    return ValueMap(
        {str(value): ValueMappingResult(text, colour, index=value) for value, (text, colour) in words.items()}
    )


def _link(title: str, url: str) -> dashboard_builders.DashboardLink:
    built = dashboard_builders.DashboardLink(title)
    built.url(url)
    return built


def _properties(column: Column) -> list[DynamicConfigValue]:
    properties = [DynamicConfigValue("unit", column.unit), DynamicConfigValue("thresholds", _config(column.steps))]
    if column.words is not None:
        properties.append(DynamicConfigValue("mappings", [_mapping(column.words)]))
    properties.append(DynamicConfigValue("custom.cellOptions", {"type": "color-text"}))
    return properties
