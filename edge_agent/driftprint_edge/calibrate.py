"""Learns each stream's own outlier ratio from footage of its site: ``driftprint agent --calibrate``."""

from __future__ import annotations

import re
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from threading import Event

import typer

from driftprint.clock import Clock
from driftprint.errors import ConfigError, DataError, FrameError
from driftprint.stats.class_mix import ClassMix
from driftprint.stats.site import SiteBaseline, learn_baseline
from driftprint_edge.config import AgentSettings
from driftprint_edge.opening import open_store, open_stream
from driftprint_edge.sources import Source
from driftprint_edge.watch import Watch

_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0}


@dataclass
class Footage:
    """What has been seen of one stream so far."""

    scores: list[float] = field(default_factory=list)
    outliers: list[bool] = field(default_factory=list)
    predicted: list[str | None] = field(default_factory=list)


Show = Callable[[float, dict[str, Footage]], None]
"""Told now and then how many seconds have passed, and what has been seen."""


def parse_duration(text: str) -> float:
    """Seconds in a text such as ``90s``, ``10m`` or ``2h``.

    Raises:
        ConfigError: where it is none.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smh])", text)
    if match is None or float(match[1]) == 0:
        raise ConfigError(f"no duration: {text!r}", where="--calibrate", fix="write 90s, 10m or 2h")
    return float(match[1]) * _UNITS[match[2]]


def calibrate(
    settings: AgentSettings, seconds: float, *, clock: Clock, stop: Event, show: Show
) -> dict[str, SiteBaseline]:
    """Watch every stream for a while, and keep what was learnt in the store.

    Args:
        settings: agent.toml.
        seconds: for how long.
        clock: tells when it is over.
        stop: ends it early; nothing is then kept.
        show: told how it goes.

    Returns:
        By stream, what was kept.

    Raises:
        DriftprintError: where a bundle, a source or the store cannot be used, or a stream's footage is too short or
            full of outliers; naming the stream. Nothing is then kept of any.
    """
    streams = {stream.name: open_stream(stream, settings, clock) for stream in settings.stream}
    store = open_store(settings, clock)
    try:
        footage = {name: Footage() for name in streams}
        ended = Event()
        threads = [
            threading.Thread(target=_watch, args=(source, watch, footage[name], ended), name=name, daemon=True)
            for name, (source, watch) in streams.items()
        ]
        for thread in threads:
            thread.start()
        start = clock.now().monotonic
        while any(thread.is_alive() for thread in threads) and clock.now().monotonic - start < seconds:
            if stop.wait(0.2):
                ended.set()
                return {}
            show(clock.now().monotonic - start, footage)
        ended.set()
        for thread in threads:
            thread.join(timeout=5)
        learnt = {name: _learn(name, footage[name], watch, clock) for name, (_, watch) in streams.items()}
        for name, baseline in learnt.items():
            store.keep_baseline(name, baseline)
        return learnt
    finally:
        store.close()


def run_calibration(settings: AgentSettings, duration: str, *, clock: Clock, stop: Event) -> list[str]:
    """What the command does: show how it goes, and say what was learnt, a line a stream.

    Raises:
        DriftprintError: see `calibrate`; also where the duration is none.
    """
    seconds = parse_duration(duration)
    with typer.progressbar(length=int(seconds * 10), label="watching", file=sys.stderr) as bar:

        def show(passed: float, footage: dict[str, Footage]) -> None:
            bar.label = f"watching, {sum(len(seen.scores) for seen in footage.values())} frames"
            bar.update(int(passed * 10) - bar.pos)

        learnt = calibrate(settings, seconds, clock=clock, stop=stop, show=show)
    return [
        f"{name}: {baseline.outliers} of {baseline.decisions} frames were outliers ({baseline.frames} seen, every "
        f"{baseline.stride}. counts); on inliers at most {baseline.p0:.1%} are{_classes(baseline.mix)}"
        for name, baseline in learnt.items()
    ]


def _classes(mix: ClassMix | None) -> str:
    if mix is None:
        return ""
    shares = ", ".join(f"{name or 'others'} {count / mix.total:.0%}" for name, count in mix.pooled().items() if count)
    return f"; classes: {shares}"


def undo(settings: AgentSettings, clock: Clock) -> list[str]:
    """Take each stream's latest calibration back; says what was done, a line a stream.

    Raises:
        StoreError: where the store cannot be used, as while the agent runs.
    """
    store = open_store(settings, clock)
    try:
        return [
            f"{stream.name}: {'taken back' if store.forget_baseline(stream.name) else 'there was none'}"
            for stream in settings.stream
        ]
    finally:
        store.close()


def _watch(source: Source, watch: Watch, footage: Footage, stop: Event) -> None:
    for ref in source.frames(stop):
        if ref is None:
            continue
        try:
            scored = watch.scorer.score(ref.load())
        except FrameError:
            continue
        footage.scores.append(scored.score)
        footage.outliers.append(scored.p_value <= watch.decider.settings.alpha)
        footage.predicted.append(scored.predicted)


def _learn(name: str, footage: Footage, watch: Watch, clock: Clock) -> SiteBaseline:
    try:
        return learn_baseline(
            footage.scores,
            footage.outliers,
            footage.predicted,
            bundle=watch.scorer.manifest.id,
            recorded_at=clock.now().wall,
        )
    except DataError as error:
        error.where = f"stream {name!r}"
        raise
