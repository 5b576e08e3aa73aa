"""The agent's loop around one frame: what it costs beyond decoding the frame and running the model."""

from __future__ import annotations

import secrets
import tempfile
from pathlib import Path
from time import perf_counter_ns

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from PIL import Image
from pydantic import BaseModel

from bench.overhead.inference import agent_session
from driftprint.bundle import read_bundle
from driftprint.clock import Instant
from driftprint.decision import Decider, DecisionSettings
from driftprint.digits import Part, load_digits
from driftprint.frames import FrameRef, ImageFolder
from driftprint.installed import find_bundle
from driftprint.preprocess import make_preprocessor
from driftprint.scorer import Scorer
from driftprint_edge.config import AgentSettings
from driftprint_edge.reports import StreamId
from driftprint_edge.store import Store
from driftprint_edge.stream import Stream
from driftprint_edge.turns import Turns
from driftprint_edge.watch import make_watch

FRAMES = 300
FRAMES_PER_SECOND = 30.0
REPORT_SECONDS = 10.0


class LoopCost(BaseModel):
    """Microseconds a frame, the median over rounds.

    Attributes:
        frame: all of it.
        decode: reading and decoding the frame's PNG file.
        run: onnxruntime's run of the model with its fingerprint.
        preprocess: from the decoded frame to the model's input.
        decide: p-value, windows, detector.
        fixed: all of it but decode and run: preprocess, decide, and the store's share.
    """

    frame: float
    decode: float
    run: float
    preprocess: float
    decide: float
    fixed: float


class _FrameClock:
    """Time goes by with the frames, 30 a second, so that reports come as often as with a camera."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def now(self) -> Instant:
        return Instant(self.seconds, self.seconds)


def measure(rounds: int) -> LoopCost:
    """Send digits through the agent's own loop, and through its two expensive steps alone, in turns.

    Args:
        rounds: how often; one round is 300 frames, which is one report to the store.
    """
    digits = load_digits(Part.DEMO).frames[:FRAMES]
    with tempfile.TemporaryDirectory() as folder:
        for number, digit in enumerate(digits):
            Image.fromarray(digit).save(Path(folder) / f"{number:04d}.png")
        frames = list(ImageFolder(Path(folder)))
        clock = _FrameClock()
        bundle = read_bundle(find_bundle("digits"))
        scorer, session = Scorer(bundle), agent_session(bundle.model, threads=1)
        store = Store(Path(folder) / "agent.db", clock=clock, new_id=lambda: secrets.token_hex(8), max_messages=100_000)
        settings = AgentSettings.model_validate(
            {
                "device": "bench",
                "store": {"path": f"{folder}/agent.db"},
                "stream": [
                    {
                        "name": "bench",
                        "bundle": "digits",
                        "source": {"path": folder, "frames_per_second": FRAMES_PER_SECOND},
                    }
                ],
            }
        )
        stream = Stream(
            StreamId("bench", "bench", "bench"),
            source=settings.stream[0].source.open(clock),
            watch=make_watch(scorer, settings.stream[0], settings, site=None, start=clock.now()),
            outbox=store,
            turns=Turns(settings.frames_at_once),
            clock=clock,
            report_seconds=REPORT_SECONDS,
            on_store_error=_fail,
        )
        rows = [_round(stream, scorer, session, frames, clock) for _ in range(rounds + 1)][1:]  # the first warms up
        store.close()
    whole, decode, run, preprocess, decide = np.median(np.array(rows), axis=0)
    fixed = float(np.median([row[0] - row[1] - row[2] for row in rows]))
    return LoopCost(
        frame=round(float(whole), 1),
        decode=round(float(decode), 1),
        run=round(float(run), 1),
        preprocess=round(float(preprocess), 1),
        decide=round(float(decide), 1),
        fixed=round(fixed, 1),
    )


def _round(
    stream: Stream,
    scorer: Scorer,
    session: onnxruntime.InferenceSession,
    frames: list[FrameRef],
    clock: _FrameClock,
) -> tuple[float, float, float, float, float]:
    """Microseconds a frame: all, decode, run, preprocess, decide."""
    preprocess = make_preprocessor(scorer.manifest.input)
    name = scorer.manifest.input.name
    decider = _decider(scorer)

    whole = perf_counter_ns()
    for frame in frames:
        clock.seconds += 1 / FRAMES_PER_SECOND
        stream.step(frame)
    start = perf_counter_ns()
    decoded = [frame.load() for frame in frames]
    decode = perf_counter_ns()
    batches: list[NDArray[np.generic]] = [preprocess(frame) for frame in decoded]
    preprocessed = perf_counter_ns()
    for batch in batches:
        session.run(None, {name: batch})
    run = perf_counter_ns()
    now = clock.now()
    for number in range(len(frames)):
        decider.update(1.0, scorer.calibration.p_value(float(number % 7)), "0", now)
    decide = perf_counter_ns()

    spans = (start - whole, decode - start, run - preprocessed, preprocessed - decode, decide - run)
    each = [span / len(frames) / 1000 for span in spans]
    return each[0], each[1], each[2], each[3], each[4]


def _decider(scorer: Scorer) -> Decider:
    return Decider(DecisionSettings(), calibration_size=len(scorer.calibration), frames_per_false_alarm=1e7)


def _fail(error: Exception) -> None:
    raise error
