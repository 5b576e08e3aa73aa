"""The dashboards as Grafana reads them: their panels, queries and variables."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

Json = dict[str, Any]

FOLDER = Path(__file__).parents[2] / "deploy/grafana/json"
NAMES = ("bundle", "device", "fleet", "monitor")

_VARIABLE = re.compile(r"\$(?:\{(\w+)\}|(\w+))")
_LABEL_VALUES = re.compile(r"label_values\((.+), (\w+)\)")


def load(name: str) -> Json:
    """The dashboard in a generated file."""
    dashboard: Json = json.loads((FOLDER / f"{name}.json").read_text())
    return dashboard


def panels(dashboard: Json) -> list[Json]:
    """Those that show something, without the rows' titles."""
    return [panel for panel in dashboard["panels"] if panel["type"] != "row"]


def expressions(dashboard: Json) -> Iterator[tuple[str, str]]:
    """Every query, with the title of its panel."""
    for panel in panels(dashboard):
        for target in panel["targets"]:
            yield panel["title"], target["expr"]


def variables(dashboard: Json, kind: str) -> list[Json]:
    """Those of a kind: ``datasource`` or ``query``."""
    return [variable for variable in dashboard["templating"]["list"] if variable["type"] == kind]


def label_values(variable: Json) -> tuple[str, str]:
    """The series and the label that a variable's values are taken from."""
    match = _LABEL_VALUES.fullmatch(variable["query"])
    assert match is not None, variable["query"]
    return match[1], match[2]


def variables_in(expression: str) -> set[str]:
    """The variables that an expression uses."""
    return {braced or bare for braced, bare in _VARIABLE.findall(expression)}


def filled(expression: str, values: Mapping[str, str]) -> str:
    """An expression with its variables replaced, as Grafana does before it asks Prometheus."""
    return _VARIABLE.sub(lambda match: values[match[1] or match[2]], expression)
