"""The documentation: its figures are the measured ones, its links lead somewhere, its examples work."""

from __future__ import annotations

import json
import re
import sys
from itertools import chain
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import typer.main
from pydantic import TypeAdapter

from bench import decisions
from bench.arm import report as arm
from bench.day import report as day
from bench.detection import report as detection
from bench.detection.results import Results as Detection
from bench.faults import disk, kills, server_kills
from bench.fleet import __main__ as fleet
from bench.footprint import __main__ as footprint
from bench.overhead.report import Results, summary, tables
from bench.remote_write import results as remote_write
from bench.remote_write.sizing import sizing
from driftprint import Monitor
from driftprint.cli.app import build_app
from driftprint.errors import FaultReason
from driftprint.settings import load_settings
from driftprint_edge.config import AgentSettings
from driftprint_edge.sources import SourceSettings
from driftprint_server.config import ServerSettings

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parents[2]
PAGES = sorted(chain(ROOT.glob("*.md"), ROOT.glob("docs/**/*.md")))
README = ROOT / "README.md"


def quoted(page: Path, name: str) -> str:
    return page.read_text().split(f"<!-- {name} -->\n")[1].split(f"<!-- /{name} -->")[0]


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL)


def test_the_costs_quoted_are_the_measured_ones() -> None:
    results = Results.model_validate_json((ROOT / "bench/results/overhead.json").read_text())
    assert quoted(README, "overhead") == summary(results)
    assert quoted(ROOT / "docs/performance.md", "overhead") == tables(results)


def test_the_detection_quoted_is_the_measured_one() -> None:
    results = Detection.model_validate_json((ROOT / "bench/results/detection.json").read_text())
    assert quoted(README, "detection") == detection.summary(results)
    assert quoted(ROOT / "docs/detection.md", "detection") == detection.tables(results)


def test_the_decisions_quoted_are_the_measured_ones() -> None:
    results = decisions.Results.model_validate_json((ROOT / "bench/results/decisions.json").read_text())
    assert quoted(ROOT / "docs/agent.md", "decisions") == decisions.tables(results)


def test_the_fleet_quoted_is_the_measured_one() -> None:
    results = fleet.Results.model_validate_json((ROOT / "bench/results/fleet.json").read_text())
    page = ROOT / "docs/performance.md"
    assert quoted(page, "fleet") == fleet.table(results)
    assert f"each window is {results.window_bytes / 1e3:.1f} kB" in page.read_text()


def test_the_footprint_quoted_is_the_measured_one() -> None:
    results = footprint.Footprint.model_validate_json((ROOT / "bench/results/footprint.json").read_text())
    assert quoted(ROOT / "docs/performance.md", "footprint") == footprint.table(results)


def test_the_kills_quoted_are_the_measured_ones() -> None:
    results = json.loads((ROOT / "bench/results/faults_kills.json").read_text())
    assert quoted(ROOT / "docs/reliability.md", "kills") == kills.table([kills.Outcome(**one) for one in results])


def test_the_kills_of_the_server_quoted_are_the_measured_ones() -> None:
    results = json.loads((ROOT / "bench/results/faults_server_kills.json").read_text())
    outcome = server_kills.Outcome.model_validate(results)
    assert quoted(ROOT / "docs/reliability.md", "server_kills") == server_kills.table(outcome)


def test_what_replicas_write_is_quoted_as_measured() -> None:
    results = remote_write.Results.model_validate_json((ROOT / "bench/results/remote_write.json").read_text())
    page = ROOT / "docs/scaling.md"
    assert quoted(page, "remote-write") == remote_write.table(results)
    assert quoted(page, "million") == sizing(results)
    assert (
        f"A window is 30 samples (ten classes, three quantiles) and {results.window_bytes / 1e3:.1f} kB"
        in page.read_text()
    )


def test_the_damage_quoted_is_the_measured_one() -> None:
    results = disk.Results.model_validate_json((ROOT / "bench/results/faults_disk.json").read_text())
    assert quoted(ROOT / "docs/reliability.md", "faults_disk") == disk.tables(results)


def test_the_day_quoted_is_the_measured_one() -> None:
    results = day.Report.model_validate_json((ROOT / "bench/results/day.json").read_text())
    assert quoted(ROOT / "docs/agent.md", "day") == day.table(results)


def test_the_proof_on_arm_that_is_quoted_is_the_last_one() -> None:
    results = arm.Results.model_validate_json((ROOT / "bench/results/arm.json").read_text())
    assert quoted(ROOT / "docs/arm.md", "arm") == arm.tables(results)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_to_files_lead_to_files(page: Path) -> None:
    links = re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text())
    broken = [link for link in links if "://" not in link and not (page.parent / link).exists()]
    assert not broken


def anchors(page: Path) -> set[str]:
    """What links can lead to within a page: its headings, written as GitHub does."""
    prose = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    headings = re.findall(r"^#+ (.+)$", prose, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_to_headings_lead_to_headings(page: Path) -> None:
    links = re.findall(r"\]\(([^)#\s]*)#([^)\s]+)\)", page.read_text())
    there = {name: anchors(page.parent / name if name else page) for name, _ in links if "://" not in name}
    assert [f"{name}#{anchor}" for name, anchor in links if name in there and anchor not in there[name]] == []


def test_every_page_is_reached_from_the_readme() -> None:
    reached, ahead = set(), [README]
    while ahead:
        page = ahead.pop()
        if page not in reached:
            reached.add(page)
            links = re.findall(r"\]\(([^)#\s]+)", page.read_text())
            ahead += [path for path in ((page.parent / link).resolve() for link in links) if path in PAGES]
    assert set(PAGES) <= reached


def test_the_readmes_three_lines_watch_a_loop_of_ones_own() -> None:
    [example] = blocks(README, "python")
    lines = [line for line in example.splitlines() if line]
    assert len(lines) == 3
    names: dict[str, Any] = {"frame": np.zeros((28, 28), np.uint8)}
    exec(example.replace("parts-1.driftprint", "digits"), names)
    assert isinstance(names["monitor"], Monitor)
    assert 0 < names["reading"].p_value <= 1


def test_the_readmes_agent_toml_is_valid(tmp_path: Path) -> None:
    [example] = blocks(README, "toml")
    path = tmp_path / "agent.toml"
    path.write_text(example)
    settings = load_settings(path, AgentSettings)
    assert [stream.bundle for stream in settings.stream] == ["parts-1.driftprint"]


def test_every_kind_of_source_has_an_example_that_is_valid() -> None:
    text = (ROOT / "docs/agent.md").read_text().split("## Where frames come from")[1].split("\n## ")[0]
    examples = [tomllib.loads(block)["stream"]["source"] for block in re.findall(r"```toml\n(.*?)```", text, re.DOTALL)]
    kinds = {type(TypeAdapter(SourceSettings).validate_python(example)) for example in examples}
    union = get_args(get_args(SourceSettings)[0])
    assert kinds == {get_args(kind)[0] for kind in union}


def test_the_readmes_commands_exist() -> None:
    """Every `driftprint ...` line names a subcommand, and options that it knows."""
    commands = typer.main.get_command(build_app()).commands  # type: ignore[attr-defined]
    lines = re.findall(r"^driftprint (.+?)(?:\s+#.*)?$", README.read_text(), re.MULTILINE)
    assert len(lines) >= 5
    for name, *words in map(str.split, lines):
        known = {option for parameter in commands[name].params for option in parameter.opts}
        assert {word for word in words if word.startswith("-")} <= known


def test_the_agents_page_explains_every_reason_a_frame_is_refused_for() -> None:
    table = (ROOT / "docs/agent.md").read_text().split("<!-- reasons -->")[1].split("<!-- /reasons -->")[0]
    assert set(re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)) == set(get_args(FaultReason))


def test_the_agents_page_has_valid_settings(tmp_path: Path) -> None:
    example, *_ = blocks(ROOT / "docs/agent.md", "toml")
    (tmp_path / "agent.toml").write_text(example)
    assert load_settings(tmp_path / "agent.toml", AgentSettings).device == "line-3"


@pytest.mark.parametrize("name", ["access", "history", "operating", "rollout", "scaling", "webhooks"])
def test_what_a_page_sets_in_server_toml_is_valid(name: str) -> None:
    tables: dict[str, Any] = {}
    for block in blocks(ROOT / "docs" / f"{name}.md", "toml"):
        for table, given in tomllib.loads(block).items():
            if isinstance(given, dict):
                tables.setdefault(table, {}).update(given)
            else:
                tables[table] = given
    assert ServerSettings(**{table: given for table, given in tables.items() if table != "bundles"}) != ServerSettings()


def test_the_exporters_page_names_every_option() -> None:
    page = (ROOT / "docs/export.md").read_text()
    export = typer.main.get_command(build_app()).commands["export"]  # type: ignore[attr-defined]
    options = {option.opts[0] for option in export.params if option.opts[0].startswith("--")}
    assert len(options) > 20
    assert {option for option in options if f"`{option}" not in page} <= {"--help"}
