"""The results as JSON, and as the tables of docs/performance.md."""

from __future__ import annotations

from pydantic import BaseModel

from bench.overhead.inference import InferenceCost
from bench.overhead.loop import LoopCost


class Machine(BaseModel):
    """Where it was measured."""

    processor: str
    cores: int
    python: str
    onnxruntime: str


class Results(BaseModel):
    """All of it."""

    machine: Machine
    inference: list[InferenceCost]
    loop: LoopCost


def tables(results: Results) -> str:
    """Both tables in Markdown."""
    lines = [
        "| model | layers watched | threads | bare, ms | monitored / bare | 10-90 % of rounds |",
        "|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {cost.model} | {cost.layers} | {cost.threads} | {cost.bare_ms:.2f} | **{cost.ratio:.3f}** "
        f"| {cost.ratio_low:.3f}-{cost.ratio_high:.3f} |"
        for cost in results.inference
    ]
    loop = results.loop
    lines += [
        "",
        "| agent's loop, digits from PNG files | microseconds a frame |",
        "|---|---|",
        f"| all of it | {loop.frame:.0f} |",
        f"| decode the file | {loop.decode:.0f} |",
        f"| run the model with its fingerprint | {loop.run:.0f} |",
        f"| **the rest: the agent's own cost** | **{loop.fixed:.0f}** |",
        f"| of which preprocessing | {loop.preprocess:.0f} |",
        f"| of which p-value, windows, detector | {loop.decide:.0f} |",
    ]
    return "\n".join(lines) + "\n"
