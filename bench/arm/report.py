"""The result as JSON, as the table of docs/arm.md, and what falls short of a proof."""

from __future__ import annotations

from collections.abc import Iterator

from pydantic import BaseModel

from bench.arm.run import AgentRun
from bench.arm.scores import Difference
from bench.arm.wheels import HEAVY, WheelSet

MOST_MEGABYTES = 120.0
"""The base install's wheels may be no larger."""

ARCHITECTURE = "aarch64"
_SHOWN = ("driftprint", "onnxruntime", "numpy", "pillow", "pydantic", "paho-mqtt")


class Emulated(BaseModel):
    """One emulated processor.

    Attributes:
        processor: as QEMU calls it.
        board: where it is found.
        architecture: as Python says there.
        python: its version there.
        scores: its scores against those here.
        agent: what its agent said.
    """

    processor: str
    board: str
    architecture: str
    python: str
    scores: Difference
    agent: AgentRun


class Results(BaseModel):
    """All of it.

    Attributes:
        debian: the root's release, by its codename.
        qemu: its version.
        wheels: what was installed.
        bundle: its id.
        golden_frames: how many are replayed whenever it is loaded; one that differs ends the command.
        tolerance: the bundle's own, of a golden frame's score.
        frames: how many were to be seen.
        here: this machine's architecture.
        agent_here: what the agent said here.
        emulated: each processor.
    """

    debian: str
    qemu: str
    wheels: WheelSet
    bundle: str
    golden_frames: int
    tolerance: float
    frames: int
    here: str
    agent_here: AgentRun
    emulated: list[Emulated]


def shortcomings(results: Results) -> Iterator[str]:
    """What keeps the results from being a proof, in a sentence each; none is a proof."""
    if results.wheels.megabytes > MOST_MEGABYTES:
        yield f"the wheels are {results.wheels.megabytes} MB, at most {MOST_MEGABYTES:g} are allowed"
    if results.wheels.heavy:
        yield f"the base install brings {', '.join(results.wheels.heavy)}"
    yield from (f"here {what}" for what in _of_agent(results.agent_here, results))
    for one in results.emulated:
        yield from (f"{one.processor}: {what}" for what in _of_processor(one, results))


def _of_processor(one: Emulated, results: Results) -> Iterator[str]:
    scores, agent, wanted = one.scores, one.agent, results.agent_here
    if one.architecture != ARCHITECTURE:
        yield f"Python says it runs on {one.architecture}"
    if scores.frames != results.frames:
        yield f"{scores.frames} of {results.frames} frames were scored"
    if not scores.absolute <= results.tolerance:
        yield f"a score differs by {scores.absolute:.3g}, the tolerance is {results.tolerance:.3g}"
    if scores.decisions:
        yield f"{scores.decisions} frames are an outlier in one place alone"
    if scores.classes:
        yield f"{scores.classes} frames are taken for another class"
    yield from _of_agent(agent, results)
    if (agent.outliers, agent.alarm_at) != (wanted.outliers, wanted.alarm_at):
        yield (
            f"{agent.outliers} outliers and an alarm at {agent.alarm_at}, "
            f"{results.here} has {wanted.outliers} and {wanted.alarm_at}"
        )


def _of_agent(agent: AgentRun, results: Results) -> Iterator[str]:
    if agent.frames != results.frames or agent.faults:
        yield f"the agent scored {agent.frames} of {results.frames} frames, with {agent.faults} faults"
    if agent.alarm_at is None:
        yield "the agent raised no alert"
    if agent.unacknowledged:
        yield f"{agent.unacknowledged} of the agent's messages were not acknowledged"


def tables(results: Results) -> str:
    """In Markdown."""
    emulated, here = results.emulated, results.agent_here
    rows = [
        ("frames that the agent scored", [f"{one.agent.frames} of {results.frames}" for one in emulated]),
        ("its messages left unacknowledged", [str(one.agent.unacknowledged) for one in emulated]),
        ("outliers, and on " + results.here, [f"{one.agent.outliers}, {here.outliers}" for one in emulated]),
        ("alert at frame, and on " + results.here, [f"{one.agent.alarm_at}, {here.alarm_at}" for one in emulated]),
        (
            f"largest difference of a score (tolerance {results.tolerance:.3f})",
            [f"**{one.scores.absolute:.5f}**" for one in emulated],
        ),
        ("the same, relative to the score", [f"{one.scores.relative:.2%}" for one in emulated]),
        ("frames that are an outlier in one place alone", [str(one.scores.decisions) for one in emulated]),
        ("frames taken for another class", [str(one.scores.classes) for one in emulated]),
        ("golden frames accepted", [f"{results.golden_frames} of {results.golden_frames}"] * len(emulated)),
        ("seconds a frame, emulated", [f"{one.agent.seconds_per_frame:.3f}" for one in emulated]),
    ]
    lines = [
        f"| | {' | '.join(f'{one.processor}, as in the {one.board}' for one in emulated)} |",
        f"|---{'|---' * len(emulated)}|",
    ]
    lines += [f"| {' | '.join((name, *values))} |" for name, values in rows]
    wheels = results.wheels
    versions = ", ".join(f"{name} {wheels.versions[name]}" for name in _SHOWN if name in wheels.versions)
    brings = f"with {', '.join(wheels.heavy)}" if wheels.heavy else f"none of {', '.join(HEAVY)} among them"
    lines += [
        "",
        f"The base install is {len(wheels.versions)} wheels of {wheels.megabytes:.0f} MB together "
        f"(at most {MOST_MEGABYTES:.0f}), {brings}: {versions}.",
        "",
        f"Debian {results.debian}, Python {emulated[0].python}, QEMU {results.qemu}, bundle {results.bundle}.",
    ]
    return "\n".join(lines) + "\n"
