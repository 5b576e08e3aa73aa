"""Inference with the fingerprint in the graph, against the same model without."""

from __future__ import annotations

from collections.abc import Iterable
from time import perf_counter_ns
from typing import Any

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray
from pydantic import BaseModel

from bench.overhead.nets import CLASSES, Net
from driftprint.bundle import Bundle
from driftprint.frames import ArrayFrames
from driftprint.preprocess import make_preprocessor
from driftprint_export.classes import Task
from driftprint_export.inputs import ImageChoices, make_input
from driftprint_export.pipeline import ExportSettings, export
from driftprint_export.torch_source import trace_module

FRAMES = 400
RUNS_PER_TURN = 10
WARM_UP_RUNS = 20


class InferenceCost(BaseModel):
    """One model with one number of threads.

    Attributes:
        bare_ms: median time of the model alone, in milliseconds.
        ratio: monitored over bare, the median over rounds.
        ratio_low: its 10 % quantile.
        ratio_high: its 90 % quantile.
        layers: how many layers the fingerprint watches.
    """

    model: str
    threads: int
    layers: int
    bare_ms: float
    ratio: float
    ratio_low: float
    ratio_high: float


def fingerprint(net: Net, rng: np.random.Generator) -> tuple[bytes, Bundle, NDArray[Any]]:
    """A net as the exporter takes it, its bundle, and one frame as both take it."""
    torch.manual_seed(0)
    frames = rng.integers(0, 256, (FRAMES, net.size, net.size, 3), dtype=np.uint8)
    source = trace_module(net.make(), np.zeros((1, 3, net.size, net.size), np.float32), net.name)
    model_input = make_input(source.input, frames[0], ImageChoices())
    exported = export(
        source,
        model_input,
        ArrayFrames(frames),
        None,
        ExportSettings(name="bench", labels=tuple(map(str, range(CLASSES))), task=Task.CLASSIFIER),
        first=frames[0],
        track=_silent,
    )
    return source.proto.SerializeToString(), exported.bundle, make_preprocessor(model_input)(frames[0])


def measure(name: str, bare: bytes, bundle: Bundle, frame: NDArray[Any], *, threads: int, rounds: int) -> InferenceCost:
    """Run both in turns on the same frame.

    A round runs one of them ten times and then the other, and gives one ratio of medians; which goes first
    changes from round to round. What slows the machine down for a while slows both.

    Args:
        name: the model's name.
        bare: the model as ONNX.
        bundle: the same with its fingerprint.
        frame: a batch of one frame.
        threads: for one inference.
        rounds: how many ratios to take.
    """
    sessions = [agent_session(model, threads) for model in (bare, bundle.model)]
    feed = {bundle.manifest.input.name: frame}
    for session in sessions:
        for _ in range(WARM_UP_RUNS):
            session.run(None, feed)
    times = np.empty((rounds, 2))
    for turn in range(rounds):
        for which in (0, 1) if turn % 2 else (1, 0):
            times[turn, which] = np.median([_time(sessions[which], feed) for _ in range(RUNS_PER_TURN)])
    low, ratio, high = np.quantile(times[:, 1] / times[:, 0], (0.1, 0.5, 0.9))
    return InferenceCost(
        model=name,
        threads=threads,
        layers=len(bundle.manifest.fingerprint.layers),
        bare_ms=round(float(np.median(times[:, 0])) / 1e6, 3),
        ratio=round(float(ratio), 3),
        ratio_low=round(float(low), 3),
        ratio_high=round(float(high), 3),
    )


def agent_session(model: bytes, threads: int) -> onnxruntime.InferenceSession:
    """A session with the agent's options."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def _time(session: onnxruntime.InferenceSession, feed: dict[str, NDArray[Any]]) -> int:
    start = perf_counter_ns()
    session.run(None, feed)
    return perf_counter_ns() - start


def _silent(items: Iterable[Any], _description: str, _total: int) -> Iterable[Any]:
    return items
