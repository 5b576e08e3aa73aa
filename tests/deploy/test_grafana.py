"""The Grafana dashboards: what is generated is committed, keeps the linter's rules, and shows something."""

from __future__ import annotations

import copy
import math
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import yaml

from deploy.grafana.__main__ import encode
from deploy.grafana.dashboards import dashboards
from driftprint_server.metrics import CATALOGUE
from driftprint_server.operator_metrics import OPERATOR_CATALOGUE
from driftprint_server.remote_write import counts as remote_write
from tests.deploy.alerting_programs import DEPLOY
from tests.deploy.grafana_fleet import watched_fleet
from tests.deploy.grafana_json import (
    FOLDER,
    NAMES,
    Json,
    expressions,
    filled,
    label_values,
    load,
    panels,
    variables,
    variables_in,
)
from tests.deploy.grafana_linter import LINTERS, OF_LOGS, RULES
from tests.line.prometheus import Prometheus

DOCUMENTATION = FOLDER.parents[2] / "docs/grafana.md"

GRAFANAS = {"__rate_interval": "10m"}
"""What Grafana fills in by itself."""
CHOSEN = {
    "fleet": {"site": ".+"},
    "device": {"site": "north", "device": "pi-2", "stream": ".+"},
    "bundle": {"bundle": "digits", "version": "2", "site": ".+"},
    "monitor": {},
}


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    with watched_fleet(tmp_path_factory.mktemp("fleet")) as watching:
        yield watching


def asked(name: str, expression: str) -> str:
    return filled(expression, GRAFANAS | CHOSEN[name])


def answers(prometheus: Prometheus, name: str, title: str) -> list[float]:
    """What the panels of a title show, smallest first."""
    found = [expression for panel, expression in expressions(load(name)) if panel == title]
    assert found, f"no panel {title} in {name}"
    return sorted(value for expression in found for value in prometheus.query(asked(name, expression)))


def test_the_json_that_is_committed_is_what_the_code_makes() -> None:
    made = {f"{name}.json": encode(dashboard) for name, dashboard in dashboards().items()}
    assert made == {path.name: path.read_text() for path in FOLDER.glob("*.json")}, "run: make dashboards"
    assert sorted(made) == [f"{name}.json" for name in NAMES]


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("name", NAMES)
def test_every_dashboard_keeps_the_rules_of_grafanas_linter(name: str, rule: str) -> None:
    assert list(RULES[rule](load(name))) == []


def test_the_linter_is_told_to_leave_out_what_these_tests_leave_out() -> None:
    left_out = yaml.safe_load((FOLDER / ".lint").read_text())
    assert list(left_out) == ["exclusions"]
    assert all(rule["reason"] for rule in left_out["exclusions"].values())
    assert sorted([*RULES, *OF_LOGS, *left_out["exclusions"]]) == sorted(LINTERS)


def _datasource(dashboard: Json) -> Json:
    (variable,) = variables(dashboard, "datasource")
    return variable


def _target(dashboard: Json) -> Any:
    return panels(dashboard)[1]["targets"][0]


BREAKS: list[tuple[str, Callable[[Json], None]]] = [
    ("template-datasource-rule", lambda board: _datasource(board).update(name="prometheus")),
    ("template-label-promql-rule", lambda board: variables(board, "query")[0].update(query="label_values(a{, site)")),
    ("template-on-time-change-reload-rule", lambda board: variables(board, "query")[0].update(refresh=1)),
    ("panel-datasource-rule", lambda board: _target(board).update(datasource={"type": "prometheus", "uid": "abc"})),
    ("panel-title-description-rule", lambda board: panels(board)[0].update(description="")),
    ("panel-units-rule", lambda board: panels(board)[0]["fieldConfig"]["defaults"].pop("unit")),
    ("panel-no-targets-rule", lambda board: panels(board)[0].update(targets=[])),
    ("target-promql-rule", lambda board: _target(board).update(expr="sum(driftprint_alarm_active")),
    ("target-rate-interval-rule", lambda board: _target(board).update(expr="rate(driftprint_frames_total[5m])")),
    (
        "target-rate-interval-rule",
        lambda board: _target(board).update(expr="max_over_time(driftprint_device_up[1d])"),
    ),
    ("target-counter-agg-rule", lambda board: _target(board).update(expr='driftprint_frames_total{site=~"$site"}')),
    ("uneditable-dashboard-rule", lambda board: board.update(editable=True)),
]


@pytest.mark.parametrize(("rule", "damage"), BREAKS, ids=[rule for rule, _ in BREAKS])
def test_a_rule_finds_what_it_is_for(rule: str, damage: Callable[[Json], None]) -> None:
    dashboard = copy.deepcopy(load("fleet"))
    damage(dashboard)
    assert list(RULES[rule](dashboard))
    assert {name for name, _ in BREAKS} == set(RULES)


@pytest.mark.parametrize("name", NAMES)
def test_no_two_panels_have_the_same_title(name: str) -> None:
    titles = [panel["title"] for panel in panels(load(name))]
    assert len(titles) == len(set(titles))


@pytest.mark.parametrize("name", NAMES)
def test_queries_use_variables_and_metrics_that_exist(name: str) -> None:
    dashboard = load(name)
    known = {variable["name"] for variable in variables(dashboard, "query")}
    metrics = {spec.name for spec in (*CATALOGUE, *OPERATOR_CATALOGUE, *remote_write.CATALOGUE)}
    series = [(one["name"], label_values(one)[0]) for one in variables(dashboard, "query")]
    for title, expression in (*expressions(dashboard), *series):
        assert variables_in(expression) <= known | set(GRAFANAS), title
        assert set(re.findall(r"driftprint_\w+", expression)) <= metrics, title
    used = set().union(*(variables_in(expression) for _, expression in (*expressions(dashboard), *series)))
    assert known <= used, "a variable that nothing depends on"


def test_every_metric_is_on_a_dashboard() -> None:
    asked = " ".join(expression for name in NAMES for _, expression in expressions(load(name)))
    metrics = {spec.name for spec in (*CATALOGUE, *OPERATOR_CATALOGUE, *remote_write.CATALOGUE)}
    assert metrics - set(re.findall(r"driftprint_\w+", asked)) == set()


def test_scores_may_be_negative() -> None:
    lowest = {panel["title"]: panel["fieldConfig"]["defaults"].get("min") for panel in panels(load("device"))}
    assert (lowest["Score"], lowest["Outlier ratio"]) == (None, 0)


@pytest.mark.parametrize("name", NAMES)
def test_links_lead_to_dashboards_and_set_variables_that_these_have(name: str) -> None:
    by_uid = {load(one)["uid"]: load(one) for one in NAMES}
    for uid, chosen in re.findall(r'"/d/([\w-]+)\?([^"]*)"', (FOLDER / f"{name}.json").read_text()):
        there = {variable["name"] for variable in variables(by_uid[uid], "query")}
        assert set(re.findall(r"var-(\w+)=", chosen)) <= there
        assert "${datasource:queryparam}" in chosen
    (to_each_other,) = load(name)["links"]
    assert set(to_each_other["tags"]) <= set(load(name)["tags"])


@pytest.mark.parametrize(("name", "title"), [(name, panel["title"]) for name in NAMES for panel in panels(load(name))])
def test_every_panel_shows_something_of_a_fleet_at_work(prometheus: Prometheus, name: str, title: str) -> None:
    for panel, expression in expressions(load(name)):
        if panel == title:
            values = prometheus.query(asked(name, expression))
            assert values, asked(name, expression)
            assert not any(map(math.isnan, values)), asked(name, expression)


@pytest.mark.parametrize("name", NAMES)
def test_every_variable_has_values_to_choose_from(prometheus: Prometheus, name: str) -> None:
    for variable in variables(load(name), "query"):
        series, label = label_values(variable)
        assert prometheus.query(f"count by ({label}) ({asked(name, series)})"), variable["query"]


def test_the_fleets_numbers_are_those_of_its_devices(prometheus: Prometheus) -> None:
    assert answers(prometheus, "fleet", "Devices by state") == [0, 1, 3]
    assert answers(prometheus, "fleet", "Server") == [1]
    assert answers(prometheus, "fleet", "Drift alarms") == [1]
    assert answers(prometheus, "fleet", "Class mix alarms") == [1]
    assert answers(prometheus, "fleet", "Bundles refused") == [1]
    assert answers(prometheus, "fleet", "Bundles in use") == [1, 3]
    assert answers(prometheus, "fleet", "Outlier ratio") == [0.04, 0.04, 0.04, 0.8]


def test_a_camera_with_two_faults_is_one_camera(prometheus: Prometheus) -> None:
    assert answers(prometheus, "fleet", "Cameras at fault") == [1]
    assert sum(answers(prometheus, "fleet", "Camera faults")) == 2


def test_where_no_bundle_is_refused_the_panel_says_none(prometheus: Prometheus) -> None:
    quiet = {"site": "north", "device": "pi-1", "stream": ".+"}
    (refused,) = (expression for title, expression in expressions(load("device")) if title == "Bundles refused")
    assert prometheus.query(filled(refused, quiet)) == [0]


def test_the_monitor_shows_who_waits_what_is_muted_and_what_was_not_written(prometheus: Prometheus) -> None:
    assert answers(prometheus, "monitor", "Devices waiting for approval") == [1]
    assert answers(prometheus, "monitor", "Muted streams") == [1]
    assert answers(prometheus, "monitor", "Messages waiting for webhooks") == [0]
    assert sum(answers(prometheus, "monitor", "Attempts that failed")) > 0
    assert len(answers(prometheus, "monitor", "Samples refused")) == 1
    assert len(answers(prometheus, "monitor", "Requests")) == 2


def test_a_device_shows_how_many_of_its_streams_are_muted(prometheus: Prometheus) -> None:
    (muted,) = (expression for title, expression in expressions(load("device")) if title == "Streams muted")
    shown = [prometheus.query(filled(muted, {**CHOSEN["device"], "device": name})) for name in ("pi-1", "pi-2")]
    assert shown == [[0], [1]]


def test_a_version_is_shown_beside_the_others(prometheus: Prometheus) -> None:
    mean = pytest.approx((0.8 + 0.04 + 0.04) / 3)
    assert answers(prometheus, "bundle", "Devices") == [3]
    assert answers(prometheus, "bundle", "Share of streams") == [0.75]
    assert answers(prometheus, "bundle", "Streams in alarm") == [1]
    assert answers(prometheus, "bundle", "Mean outlier ratio") == [mean]
    assert answers(prometheus, "bundle", "Outlier ratio by version") == [0.04, mean]
    assert answers(prometheus, "bundle", "Streams in alarm by version") == [0, pytest.approx(1 / 3)]


def test_the_documentation_names_every_dashboard() -> None:
    text = DOCUMENTATION.read_text()
    for name in NAMES:
        assert load(name)["title"] in text


def test_rates_are_taken_over_four_scrapes_or_as_many_reports_of_devices_that_report_more_seldom() -> None:
    provisioned = DEPLOY / "grafana/provisioning/datasources/prometheus.yaml"
    [source] = yaml.safe_load(provisioned.read_text())["datasources"]
    assert source["jsonData"]["timeInterval"] == "$DRIFTPRINT_REPORT_INTERVAL"
    environment = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]["grafana"]["environment"]
    scrape = yaml.safe_load((DEPLOY / "prometheus/prometheus.yml").read_text())["global"]["scrape_interval"]
    assert environment["DRIFTPRINT_REPORT_INTERVAL"] == f"${{DRIFTPRINT_REPORT_INTERVAL:-{scrape}}}"
