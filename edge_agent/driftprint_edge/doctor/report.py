"""The findings, for people and for programs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

from driftprint_edge.doctor.finding import Finding, Verdict, worst

if TYPE_CHECKING:
    from rich.console import Console

_STYLES = {Verdict.OK: "green", Verdict.WARNING: "yellow", Verdict.PROBLEM: "bold red"}
_SYMBOLS = {Verdict.OK: "✓", Verdict.WARNING: "!", Verdict.PROBLEM: "✗"}


def as_json(findings: Sequence[Finding]) -> str:
    """One object: the worst verdict, and the findings in order."""
    return json.dumps(
        {"verdict": worst(findings).value, "findings": [asdict(finding) for finding in findings]},
        indent=2,
    )


def show(findings: Sequence[Finding], console: Console) -> None:
    """A table, each fix under what it is for, and a line that sums up."""
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column()
    for finding in findings:
        style = _STYLES[finding.verdict]
        # Text, because the brackets of a table's name would be taken for markup.
        what = Text(finding.what)
        if finding.fix is not None:
            what.append(f"\n-> {finding.fix}", style="bold")
        table.add_row(Text(_sign(finding.verdict, console), style=style), Text(finding.name), what)
    console.print(table)
    console.print(Text(_sum_up(findings), style=_STYLES[worst(findings)]))


def _sign(verdict: Verdict, console: Console) -> str:
    return f"{_SYMBOLS[verdict]} {verdict.value}" if console.encoding.startswith("utf") else verdict.value


def _sum_up(findings: Sequence[Finding]) -> str:
    counts = {verdict: sum(finding.verdict is verdict for finding in findings) for verdict in Verdict}
    return f"{counts[Verdict.PROBLEM]} problem(s), {counts[Verdict.WARNING]} warning(s), {counts[Verdict.OK]} fine"
