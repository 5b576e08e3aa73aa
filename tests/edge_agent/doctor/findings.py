"""Looking at what the doctor has found."""

from __future__ import annotations

from collections.abc import Iterable

from driftprint_edge.doctor.finding import Finding, Verdict

OK, WARNING, PROBLEM = Verdict.OK, Verdict.WARNING, Verdict.PROBLEM


def only(findings: Iterable[Finding]) -> Finding:
    """The one finding there is."""
    [finding] = findings
    return finding


def verdicts(findings: Iterable[Finding]) -> dict[str, Verdict]:
    """By the finding's name. All that is not well must have a fix, and nothing else."""
    findings = list(findings)
    assert all((finding.fix is None) == (finding.verdict is OK) for finding in findings)
    return {finding.name: finding.verdict for finding in findings}
