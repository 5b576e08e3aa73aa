"""``driftprint doctor``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def doctor(
    config: Annotated[
        Path | None,
        typer.Option("--config", "-c", help="The agent's settings: agent.toml. Without it the machine alone."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON, for programs.")] = False,
) -> None:
    """Find out what would keep the agent from its work, and say what to do about it.

    Looks at the install, the processor, clock, heat, power and memory; with `--config` also at every stream's bundle
    and source, the broker (its certificate, and whether it lets this device in), and the disk. Nothing is changed,
    and the agent may go on running. Run it as the user that the agent runs as.

    Exit code 0 when there is no problem, 1 when there is one.
    """
    from driftprint_edge.doctor import report
    from driftprint_edge.doctor.examine import examine
    from driftprint_edge.doctor.finding import Verdict, worst

    findings = list(examine(config))
    if as_json:
        print(report.as_json(findings))
    else:
        from rich.console import Console

        report.show(findings, Console())
    if worst(findings) is Verdict.PROBLEM:
        raise typer.Exit(1)
