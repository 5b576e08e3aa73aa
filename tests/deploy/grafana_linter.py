"""The rules of Grafana's dashboard-linter (github.com/grafana/dashboard-linter), by the names it gives them.

``.lint`` beside the dashboards, which the linter itself reads, leaves four out and says why. There are no logs, so the
rules for these have nothing to check.

Ours are no laxer than the linter's: where it looks at some kinds of panel, these look at all of them, and of the
functions of a range ``last_over_time`` alone may have one that is not ``$__rate_interval``.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.deploy.grafana_json import Json, expressions, filled, label_values, panels, variables, variables_in

LINTERS = {
    *("template-datasource-rule", "template-job-rule", "template-instance-rule", "template-label-promql-rule"),
    *("template-on-time-change-reload-rule", "panel-datasource-rule", "panel-title-description-rule"),
    *("panel-units-rule", "panel-no-targets-rule", "target-logql-rule", "target-logql-auto-rule"),
    *("target-promql-rule", "target-rate-interval-rule", "target-job-rule", "target-instance-rule"),
    *("target-counter-agg-rule", "uneditable-dashboard-rule"),
}
"""The names of all its rules."""
OF_LOGS = {"target-logql-rule", "target-logql-auto-rule"}

UNITS = {"none", "short", "percentunit", "bytes", "s", "celsius", "cps", "mps", "binBps"}
"""Of the linter's long list, what the dashboards need."""

_RANGE = re.compile(r"(?:(\w+)\([^()\[\]]*)?\[(.*?)\]")
_COUNTER = re.compile(r"\w+_total\b")
_AGGREGATED = re.compile(r"\b(?:rate|irate|increase)\((\w+_total)(?:\{[^{}]*\})?\[[^\]]*\]\)")


def template_datasource(dashboard: Json) -> Iterator[str]:
    """The data source is a variable."""
    found = [(one["name"], one["label"], one["query"]) for one in variables(dashboard, "datasource")]
    if found != [("datasource", "Data source", "prometheus")]:
        yield f"data source variables: {found}"


def template_label_promql(dashboard: Json) -> Iterator[str]:
    """Variables are chosen by an expression that Prometheus can read."""
    yield from _promtool_complaints([label_values(variable)[0] for variable in variables(dashboard, "query")])


def template_on_time_change_reload(dashboard: Json) -> Iterator[str]:
    """Variables follow the time range."""
    for variable in variables(dashboard, "query"):
        if variable["refresh"] != 2:
            yield f"{variable['name']}: refresh {variable['refresh']}"


def panel_datasource(dashboard: Json) -> Iterator[str]:
    """Panels, queries and variables use the variable data source."""
    for panel in panels(dashboard):
        for asks in (panel, *panel["targets"]):
            if asks["datasource"] != {"type": "prometheus", "uid": "${datasource}"}:
                yield f"{panel['title']}: {asks['datasource']}"
    for variable in variables(dashboard, "query"):
        if variable["datasource"]["uid"] != "${datasource}":
            yield f"{variable['name']}: {variable['datasource']}"


def panel_title_description(dashboard: Json) -> Iterator[str]:
    """Panels have a title and a description."""
    for panel in panels(dashboard):
        if not panel.get("title") or not panel.get("description"):
            yield f"panel {panel['id']}: {panel.get('title')!r}, {panel.get('description')!r}"


def panel_units(dashboard: Json) -> Iterator[str]:
    """Panels have a unit, and so has every column that is told apart."""
    for panel in panels(dashboard):
        config = panel["fieldConfig"]
        found = [config["defaults"].get("unit")]
        for override in config["overrides"]:
            found += [chosen["value"] for chosen in override["properties"] if chosen["id"] == "unit"]
        if not set(found) <= UNITS:
            yield f"{panel['title']}: {found}"


def panel_no_targets(dashboard: Json) -> Iterator[str]:
    """Panels ask something."""
    for panel in panels(dashboard):
        if not panel.get("targets"):
            yield panel["title"]


def target_promql(dashboard: Json) -> Iterator[str]:
    """Prometheus can read every query."""
    yield from _promtool_complaints([expression for _, expression in expressions(dashboard)])


def target_rate_interval(dashboard: Json) -> Iterator[str]:
    """Ranges are ``$__rate_interval``, but for those in which something was said last."""
    for title, expression in expressions(dashboard):
        for function, interval in _RANGE.findall(expression):
            if interval != "$__rate_interval" and function != "last_over_time":
                yield f"{title}: {expression}"


def target_counter_agg(dashboard: Json) -> Iterator[str]:
    """Counters are seen through ``rate``, ``irate`` or ``increase`` alone."""
    for title, expression in expressions(dashboard):
        if _COUNTER.findall(expression) != _AGGREGATED.findall(expression):
            yield f"{title}: {expression}"


def uneditable_dashboard(dashboard: Json) -> Iterator[str]:
    """Nobody edits in Grafana what the next release overwrites."""
    if dashboard["editable"]:
        yield "it is editable"


RULES: dict[str, Callable[[Json], Iterator[str]]] = {
    "template-datasource-rule": template_datasource,
    "template-label-promql-rule": template_label_promql,
    "template-on-time-change-reload-rule": template_on_time_change_reload,
    "panel-datasource-rule": panel_datasource,
    "panel-title-description-rule": panel_title_description,
    "panel-units-rule": panel_units,
    "panel-no-targets-rule": panel_no_targets,
    "target-promql-rule": target_promql,
    "target-rate-interval-rule": target_rate_interval,
    "target-counter-agg-rule": target_counter_agg,
    "uneditable-dashboard-rule": uneditable_dashboard,
}


def _promtool_complaints(asked: list[str]) -> list[str]:
    """What promtool says of the expressions, as if they were recording rules; empty where all is well."""
    binary = shutil.which("promtool")
    if binary is None:
        missing = "promtool is not installed (Debian: apt-get install prometheus)"
        if os.environ.get("CI") == "true":
            pytest.fail(missing)
        pytest.skip(missing)
    any_values = dict.fromkeys(set().union(*map(variables_in, asked)), "any") | {"__rate_interval": "1m"}
    rules = [{"record": f"asked:{number}", "expr": filled(one, any_values)} for number, one in enumerate(asked)]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rules.json"  # JSON is YAML
        path.write_text(json.dumps({"groups": [{"name": "asked", "rules": rules}]}))
        command = [binary, "check", "rules", str(path)]
        checked = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
    return [] if checked.returncode == 0 else [checked.stdout + checked.stderr]
