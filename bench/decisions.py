"""``python -m bench.decisions``: how seldom the detector raises a false alarm, and how soon a true one.

All frames are simulated by their p-values, since a detector sees nothing else: even ones for inliers, small ones for
outliers. The detectors of river are tuned, on inliers, to the mean run length that ours has.
"""

from __future__ import annotations

import importlib
import importlib.metadata
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any, Protocol

import numpy as np
import typer
from numpy.typing import NDArray
from pydantic import BaseModel
from rich.console import Console

from bench.quoting import quote
from driftprint.clock import Instant
from driftprint.decision import Decider, DecisionSettings
from driftprint.stats.conformal import outlier_bound
from driftprint.stats.site import SiteBaseline, learn_baseline

drift: Any = importlib.import_module("river.drift")  # a part of it has no types

ALPHA = 0.05
CALIBRATION = 1_000
BUDGETS = (1_000, 10_000, 100_000)
CLEAN = 1_000_000
VIDEO_BUDGET, VIDEO_LEARNT, VIDEO = 20_000, 50_000, 200_000

RATIOS = (0.95, 0.5, 0.2, 0.1)
DELAY_BUDGET = 200
BEFORE = 500
"""Inliers before the change."""
LONGEST = 5_000
"""A change that is not noticed by then counts as noticed then."""
TUNING_RUNS, HALVINGS = 20, 9

Values = NDArray[np.float64]


class Clean(BaseModel):
    """A stream with nothing but inliers."""

    stream: str
    budget: int
    frames: int
    false_alarms: int


class Delays(BaseModel):
    """One detector after a change."""

    detector: str
    run_length: float
    """Mean frames to a false alarm on inliers."""
    frames: dict[str, float]
    """By the outlier ratio after the change: mean frames to the alarm."""


class Results(BaseModel):
    """Everything."""

    river: str
    clean: list[Clean]
    delays: list[Delays]


class Detector(Protocol):
    """Sees one p-value after another."""

    def update(self, p_value: float) -> bool:
        """Whether it raises an alarm now."""
        ...


class Ours:
    """A `Decider`, up to its first alert."""

    def __init__(self, budget: float) -> None:
        settings = DecisionSettings(alpha=ALPHA)
        self._decider = Decider(settings, calibration_size=CALIBRATION, frames_per_false_alarm=budget)

    def update(self, p_value: float) -> bool:
        return self._decider.update(0.0, p_value, None, Instant(0.0, 0.0)).alert is not None


class OfRiver:
    """A detector of river.

    Args:
        inner: the detector.
        sees: what it is told of a p-value.
    """

    def __init__(self, inner: Any, sees: Callable[[float], float]) -> None:
        self._inner = inner
        self._sees = sees

    def update(self, p_value: float) -> bool:
        self._inner.update(self._sees(p_value))
        return bool(self._inner.drift_detected)


def is_outlier(p_value: float) -> float:
    """1 for an outlier, else 0."""
    return float(p_value <= ALPHA)


PEERS: dict[str, tuple[Callable[[float], Detector], float, float]] = {
    "ADWIN": (lambda delta: OfRiver(drift.ADWIN(delta=delta), is_outlier), 1e-9, 0.9),
    "Page-Hinkley": (lambda limit: OfRiver(drift.PageHinkley(threshold=1 / limit, mode="up"), is_outlier), 1e-3, 2.0),
    "KSWIN": (lambda alpha: OfRiver(drift.KSWIN(alpha=alpha, seed=0), float), 1e-9, 0.05),
}
"""How to make each from one number, and that number's range: the larger, the more readily it raises an alarm."""


def main(
    out: Annotated[Path, typer.Option(help="The JSON file to write.")] = Path("bench/results/decisions.json"),
    quoted: Annotated[bool, typer.Option(help="Put the tables into docs/agent.md.")] = True,
    rounds: Annotated[int, typer.Option(help="Changes a figure.", min=2)] = 100,
) -> None:
    """Measure false alarms and delays. Takes some minutes, most of them to tune KSWIN."""
    console = Console(stderr=True)
    with console.status("false alarms"):
        clean = [*independent(), *videos()]
    delays = []
    with console.status("") as status:
        status.update("delays: ours")
        length = run_length(lambda: Ours(DELAY_BUDGET), np.random.default_rng(0), longest=100 * DELAY_BUDGET, runs=200)
        delays.append(after_change("driftprint", lambda: Ours(DELAY_BUDGET), length, rounds))
        for name, (make, least, most) in PEERS.items():
            status.update(f"delays: {name}")
            setting, found = tune(make, least, most, length)
            delays.append(after_change(name, lambda make=make, setting=setting: make(setting), found, rounds))  # type: ignore[misc]
    results = Results(river=importlib.metadata.version("river"), clean=clean, delays=delays)
    out.write_text(results.model_dump_json(indent=1) + "\n")
    if quoted:
        quote(tables(results), Path("docs/agent.md"), "decisions")
    print(tables(results))


def independent() -> Iterator[Clean]:
    """Frames that do not depend on each other, at the ratio that is usual and at the largest that is allowed for."""
    worst = outlier_bound(CALIBRATION, ALPHA)
    for ratio, name in ((ALPHA, "independent"), (worst, "independent, worst calibration set")):
        for budget in BUDGETS:
            flags = np.random.default_rng(0).random(CLEAN) < ratio
            alarms = alarms_of(flags, flags.astype(float), budget, None)
            yield Clean(stream=f"{name} ({ratio:.1%} outliers)", budget=budget, frames=CLEAN, false_alarms=alarms)


def videos() -> Iterator[Clean]:
    """Frames of which each is like the one before, with and without what `--calibrate` learns."""
    made = {"each frame seven times": repeated, "a slow pan": panned}
    for name, make in made.items():
        learnt, later = make(VIDEO_LEARNT, seed=1), make(VIDEO, seed=2)
        threshold = float(np.quantile(learnt, 1 - ALPHA))
        site = learn_baseline(list(learnt), list(learnt > threshold), bundle="simulated", recorded_at=0.0)
        for label, known in (("", None), (f", calibrated (stride {site.stride})", site)):
            alarms = alarms_of(later > threshold, later, VIDEO_BUDGET, known)
            yield Clean(stream=f"{name}{label}", budget=VIDEO_BUDGET, frames=VIDEO, false_alarms=alarms)


def repeated(count: int, *, seed: int) -> Values:
    """Scores of independent frames, each of which comes seven times."""
    return np.repeat(np.random.default_rng(seed).normal(size=-(-count // 7)), 7)[:count]


def panned(count: int, *, seed: int) -> Values:
    """Scores that forget half of what they were in some twenty frames."""
    steps = np.random.default_rng(seed).normal(size=count)
    scores = np.zeros(count)
    for i in range(1, count):
        scores[i] = 0.97 * scores[i - 1] + steps[i]
    return scores


def alarms_of(flags: NDArray[np.bool_], scores: Values, budget: float, site: SiteBaseline | None) -> int:
    """Alerts that a stream's whole judgement raises."""
    settings = DecisionSettings(alpha=ALPHA, cool_down_seconds=0, update_seconds=1e12)
    decider = Decider(settings, calibration_size=CALIBRATION, frames_per_false_alarm=budget, site=site)
    for i, (flag, score) in enumerate(zip(flags.tolist(), scores.tolist(), strict=True)):
        decider.update(score, ALPHA / 2 if flag else 0.5, None, Instant(float(i), float(i)))
    return decider.alerts_total


def p_values(ratio: float, count: int, random: np.random.Generator) -> Values:
    """Of frames of which so many are outliers; inliers' are even, so `ALPHA` of them are outliers as well."""
    values = random.random(count)
    changed = random.random(count) < (ratio - ALPHA) / (1 - ALPHA)
    values[changed] *= ALPHA
    return values


def first_alarm(detector: Detector, values: Values) -> int | None:
    """The number of the frame, counted from 1; None where there is no alarm."""
    return next((i for i, value in enumerate(values.tolist(), 1) if detector.update(value)), None)


def run_length(make: Callable[[], Detector], random: np.random.Generator, *, longest: int, runs: int) -> float:
    """Mean frames to a false alarm: all frames over all alarms, which does justice to runs that are cut short."""
    frames = alarms = 0
    for _ in range(runs):
        found = first_alarm(make(), p_values(ALPHA, longest, random))
        frames += longest if found is None else found
        alarms += found is not None
    return frames / max(alarms, 1)


def tune(make: Callable[[float], Detector], least: float, most: float, length: float) -> tuple[float, float]:
    """The setting whose run length is nearest to `length`, and that run length."""
    tried = {}
    low, high = np.log(least), np.log(most)
    for _ in range(HALVINGS):
        middle = float(np.exp((low + high) / 2))
        found = run_length(
            lambda middle=middle: make(middle),  # type: ignore[misc]
            np.random.default_rng(1),
            longest=int(3 * length),
            runs=TUNING_RUNS,
        )
        tried[middle] = found
        low, high = (np.log(middle), high) if found > length else (low, np.log(middle))
    best = min(tried, key=lambda setting: abs(np.log(tried[setting] / length)))
    return best, tried[best]


def after_change(name: str, make: Callable[[], Detector], length: float, rounds: int) -> Delays:
    """Mean delays of one detector."""
    frames = {}
    for ratio in RATIOS:
        random = np.random.default_rng(2)
        delays: list[int] = []
        while len(delays) < rounds:
            detector = make()
            if first_alarm(detector, p_values(ALPHA, BEFORE, random)) is None:
                delays.append(first_alarm(detector, p_values(ratio, LONGEST, random)) or LONGEST)
        frames[f"{ratio:.0%}"] = float(np.mean(delays))
    return Delays(detector=name, run_length=length, frames=frames)


def tables(results: Results) -> str:
    """As Markdown."""
    lines = ["| inliers | budget: frames to a false alarm | frames | false alarms | the budget allows on average |"]
    lines.append("|---|---|---|---|---|")
    lines += [
        f"| {run.stream} | {run.budget:,} | {run.frames:,} | **{run.false_alarms}** | {run.frames / run.budget:,.0f} |"
        for run in results.clean
    ]
    ratios = list(results.delays[0].frames)
    lines += ["", f"| frames to the alarm, outliers after the change | {' | '.join(ratios)} | run length on inliers |"]
    lines.append(f"|---|{'---|' * len(ratios)}---|")
    lines += [
        f"| {one.detector} | {' | '.join(f'{value:,.1f}' for value in one.frames.values())} | {one.run_length:,.0f} |"
        for one in results.delays
    ]
    return "\n".join(lines) + f"\n\nriver {results.river}.\n"


if __name__ == "__main__":
    typer.run(main)
