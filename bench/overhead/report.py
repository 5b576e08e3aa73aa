"""The results as JSON, and as the tables of docs/performance.md."""

from __future__ import annotations

from pydantic import BaseModel

from bench.overhead.inference import InferenceCost
from bench.overhead.loop import LoopCost

BANDS = (
    ("5 ms or more", 5.0, float("inf")),
    ("1 to 5 ms", 1.0, 5.0),
    ("0.5 to 1 ms", 0.5, 1.0),
    ("less than 0.5 ms", 0.0, 0.5),
)
"""A name, and the bare model's milliseconds from and below."""


class Machine(BaseModel):
    """Where it was measured."""

    processor: str
    cores: int
    python: str
    onnxruntime: str

    def __str__(self) -> str:
        return f"{self.processor}, {self.cores} cores, Python {self.python}, onnxruntime {self.onnxruntime}"


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
    lines += ["", f"Measured on {results.machine}."]
    return "\n".join(lines) + "\n"


def summary(results: Results) -> str:
    """The few lines of it that the README quotes, in Markdown."""
    lines = ["| the model alone takes | with its fingerprint it takes |", "|---|---|"]
    for name, low, high in BANDS:
        more = [round(100 * (cost.ratio - 1)) for cost in results.inference if low <= cost.bare_ms < high]
        if more:
            least = f"{min(more)} to " if min(more) < max(more) else ""
            lines.append(f"| {name} | {least}{max(more)} % more |")
    lines += [
        "",
        f"The agent itself takes {results.loop.fixed:.0f} microseconds a frame beyond decoding and the model.",
    ]
    return "\n".join(lines) + "\n"
