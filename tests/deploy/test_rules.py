"""The rules: what Prometheus itself says of them, and that the operator's page is about these and no others."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from driftprint_server.metrics import CATALOGUE
from driftprint_server.operator_metrics import OPERATOR_CATALOGUE
from driftprint_server.remote_write import counts as remote_write
from tests.deploy.alerting_programs import DEPLOY, find_program, told

RULES = DEPLOY / "prometheus/rules/driftprint.yml"
TESTS = sorted((DEPLOY / "prometheus/tests").glob("*.yml"))
PAGE = DEPLOY.parent / "docs/operating.md"

GROUPS: list[dict[str, Any]] = yaml.safe_load(RULES.read_text())["groups"]
ALERTS: dict[str, dict[str, Any]] = {
    rule["alert"]: rule for group in GROUPS for rule in group["rules"] if "alert" in rule
}
RECORDS = [rule["record"] for group in GROUPS for rule in group["rules"] if "record" in rule]


@pytest.fixture(scope="module")
def promtool() -> str:
    return find_program("promtool", package="prometheus")


def test_prometheus_takes_them(promtool: str) -> None:
    code, said = told(promtool, "check", "rules", RULES)
    assert code == 0, said


@pytest.mark.parametrize("path", TESTS, ids=lambda path: path.stem)
def test_each_alert_fires_when_it_must_and_not_otherwise(promtool: str, path: Path) -> None:
    code, said = told(promtool, "test", "rules", path)
    assert code == 0, said


@pytest.mark.parametrize("path", TESTS, ids=lambda path: path.stem)
def test_they_say_the_same_where_ranges_leave_out_their_first_moment(promtool: str, path: Path, tmp_path: Path) -> None:
    """As Prometheus 3 has it, of which these tests know nothing else: a range of a millisecond less in Prometheus 2."""
    units = {"m": 60_000, "h": 3_600_000, "d": 86_400_000}
    rules, ranges = re.subn(
        r"\[(\d+)([mhd])\]", lambda match: f"[{int(match[1]) * units[match[2]] - 1}ms]", RULES.read_text()
    )
    assert ranges == RULES.read_text().count("[")
    (tmp_path / "rules").mkdir()
    (tmp_path / "rules/driftprint.yml").write_text(rules)
    (tmp_path / "tests").mkdir()
    shutil.copy(path, tmp_path / "tests")
    code, said = told(promtool, "test", "rules", tmp_path / "tests" / path.name)
    assert code == 0, said


def test_each_alert_has_a_test_in_which_it_fires() -> None:
    cases = [case for path in TESTS for case in yaml.safe_load(path.read_text())["tests"]]
    checks = [check for case in cases for check in case["promql_expr_test"]]
    expected = [sample["labels"] for check in checks for sample in check["exp_samples"]]
    assert set(re.findall(r'alertname="(\w+)"', " ".join(expected))) == set(ALERTS)


def test_they_read_metrics_that_the_server_has() -> None:
    known = {spec.name for spec in (*CATALOGUE, *OPERATOR_CATALOGUE, *remote_write.CATALOGUE)}
    read = {name for group in GROUPS for rule in group["rules"] for name in re.findall(r"[\w:]+", rule["expr"])}
    assert {name for name in read if name.startswith("driftprint_")} <= known
    assert {name for name in read if ":driftprint_" in name} <= set(RECORDS)


def test_recorded_names_say_level_metric_and_operation() -> None:
    assert [name for name in RECORDS if not re.fullmatch(r"(device|stream|bundle):driftprint_\w+:\w+", name)] == []


@pytest.mark.parametrize("name", ALERTS)
def test_each_alert_says_how_urgent_it_is_and_what_to_do(name: str) -> None:
    rule = ALERTS[name]
    assert "for" in rule
    assert rule["labels"] in [{"severity": severity} for severity in ("critical", "warning", "info")]
    assert set(rule["annotations"]) == {"summary", "description", "runbook"}
    assert rule["annotations"]["runbook"] == f"docs/operating.md#{name.lower()}"
    assert f"\n### {name}\n" in PAGE.read_text()


def test_the_page_lists_these_alerts_with_their_urgency_and_patience() -> None:
    table = PAGE.read_text().split("<!-- alerts -->\n")[1].split("<!-- /alerts -->")[0]
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines()[2:]]
    listed = {re.sub(r"\[(\w+)\]\(#\w+\)", r"\1", name): (severity, patience) for name, severity, patience, _ in rows}
    wait = {"0m": "at once"}
    assert listed == {
        name: (rule["labels"]["severity"], wait.get(rule["for"], rule["for"])) for name, rule in ALERTS.items()
    }
