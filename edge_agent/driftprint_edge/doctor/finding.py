"""What a check has found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from driftprint.errors import DriftprintError


class Verdict(str, Enum):
    """How bad it is."""

    OK = "ok"
    WARNING = "warning"
    """The agent runs, but worse than it could, or not for long."""
    PROBLEM = "problem"
    """The agent cannot do its work."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the doctor's report. Made by `fine`, `warning` and `problem`.

    Attributes:
        name: what was looked at.
        verdict: how bad it is.
        what: what was found.
        fix: what a person can do; None where all is well.
    """

    name: str
    verdict: Verdict
    what: str
    fix: str | None = None


def fine(name: str, what: str) -> Finding:
    """All is well."""
    return Finding(name, Verdict.OK, what)


def warning(name: str, what: str, fix: str) -> Finding:
    """It works, but."""
    return Finding(name, Verdict.WARNING, what, fix)


def problem(name: str, what: str, fix: str) -> Finding:
    """It does not work."""
    return Finding(name, Verdict.PROBLEM, what, fix)


def refused(name: str, error: DriftprintError, fix: str) -> Finding:
    """What the agent would refuse to start on.

    Args:
        name: what was looked at.
        error: with which it would.
        fix: what to do, where the error itself does not say.
    """
    return problem(name, f"{error.where}: {error.what}" if error.where else error.what, error.fix or fix)


def worst(findings: Sequence[Finding]) -> Verdict:
    """The worst verdict of all."""
    return max((finding.verdict for finding in findings), key=list(Verdict).index, default=Verdict.OK)
