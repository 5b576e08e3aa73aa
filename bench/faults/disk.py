"""``python -m bench.faults.disk``: the agent's store on disks that damage it, are full, or take no writes."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Annotated

import typer
from pydantic import BaseModel

from bench.faults.damage import Damaged, run_cases
from bench.faults.refusal import Refused, run_refusals
from bench.quoting import quote
from driftprint.logs import configure_logging


class Results(BaseModel):
    """Everything."""

    damaged: list[Damaged]
    refused: list[Refused]
    skipped: list[str]


def main(
    out: Annotated[Path, typer.Option(help="The JSON file to write.")] = Path("bench/results/faults_disk.json"),
    cases: Annotated[int, typer.Option(help="Damaged stores.", min=1)] = 200,
    seed: Annotated[int, typer.Option(help="Of the damage.")] = 0,
    quoted: Annotated[bool, typer.Option(help="Put the tables into docs/reliability.md.")] = True,
) -> None:
    """Damage stores, fill disks, and see what is left. Takes a minute."""
    configure_logging("critical")
    with tempfile.TemporaryDirectory() as folder:
        damaged = run_cases(Path(folder), cases, seed)
        refused, skipped = run_refusals(Path(folder))
    results = Results(damaged=damaged, refused=refused, skipped=skipped)
    out.write_text(results.model_dump_json(indent=1) + "\n")
    if quoted:
        quote(tables(results), Path("docs/reliability.md"), "faults_disk")
    print(tables(results))


def tables(results: Results) -> str:
    """As Markdown."""
    lines = [
        "| damage | stores | opened by themselves | made anew | still the same instance | alerts kept | messages kept |"
        " rows counted as lost |",
        "|---|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {one.damage} | {one.cases} | **{one.opened}** | {one.mended} | {one.same_instance}"
        f" | {one.alerts_kept} of {one.alerts} | {one.messages_kept} of {one.messages} | {one.counted} |"
        for one in results.damaged
    ]
    altered = sum(one.altered for one in results.damaged)
    twice = sum(one.numbers_used_twice for one in results.damaged)
    lines += ["", f"Messages that were altered: **{altered}**. Stores that gave a number twice: **{twice}**.", ""]
    lines += [
        "| disk | while the agent runs | when it starts | read of the outbox | kept in the end |",
        "|---|---|---|---|---|",
    ]
    lines += [
        f"| {one.disk} | {one.while_running} | {one.at_the_start} | {one.read} of {one.messages}"
        f" | {one.kept} of {one.committed} |"
        for one in results.refused
    ]
    return "\n".join([*lines, *(f"\nSkipped: {reason}" for reason in results.skipped)]) + "\n"


if __name__ == "__main__":
    typer.run(main)
