"""Findings, and how they are shown."""

from __future__ import annotations

import io
import json

import pytest
from rich.console import Console

from driftprint.errors import BundleError
from driftprint_edge.doctor.finding import Finding, Verdict, fine, problem, refused, warning, worst
from driftprint_edge.doctor.report import as_json, show

FINDINGS = [
    fine("clock", "right"),
    warning("disk", "[store] is nearly full", "make room, or lower [store] max_messages"),
    problem("broker", "away", "turn it on"),
]


def shown(findings: list[Finding], encoding: str = "utf-8") -> str:
    raw = io.BytesIO()
    text = io.TextIOWrapper(raw, encoding=encoding)
    show(findings, Console(file=text, width=200))
    text.flush()
    return raw.getvalue().decode(encoding)


@pytest.mark.parametrize(
    ("findings", "verdict"),
    [
        ([], Verdict.OK),
        (FINDINGS[:1], Verdict.OK),
        (FINDINGS[1::-1], Verdict.WARNING),
        (FINDINGS[::-1], Verdict.PROBLEM),
    ],
)
def test_the_worst_verdict_is_that_of_all(findings: list[Finding], verdict: Verdict) -> None:
    assert worst(findings) is verdict
    assert json.loads(as_json(findings))["verdict"] == verdict.value


def test_json_has_all_that_was_found_in_order() -> None:
    assert json.loads(as_json(FINDINGS))["findings"] == [
        {"name": "clock", "verdict": "ok", "what": "right", "fix": None},
        {
            "name": "disk",
            "verdict": "warning",
            "what": "[store] is nearly full",
            "fix": "make room, or lower [store] max_messages",
        },
        {"name": "broker", "verdict": "problem", "what": "away", "fix": "turn it on"},
    ]


def test_the_table_has_every_finding_with_its_fix_and_a_sum() -> None:
    text = shown(FINDINGS)
    assert "✓ ok" in text
    assert "! warning" in text
    assert "✗ problem" in text
    assert "[store] is nearly full" in text
    assert "-> make room, or lower [store] max_messages" in text
    assert "1 problem(s), 1 warning(s), 1 fine" in text


def test_a_terminal_that_knows_no_symbols_gets_words() -> None:
    text = shown(FINDINGS, "ascii")
    assert "problem" in text
    assert "✗" not in text


def test_what_the_agent_would_refuse_keeps_its_own_advice_where_it_has_some() -> None:
    without = refused("bundle", BundleError("no such bundle", where="/x"), "copy it")
    own = refused("bundle", BundleError("no such bundle", fix="list them"), "copy it")
    assert (without.what, without.fix) == ("/x: no such bundle", "copy it")
    assert (own.what, own.fix) == ("no such bundle", "list them")
