"""The day, frame by frame, through the agent's own stream."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event
from types import MappingProxyType

import numpy as np

from bench.day.scenes import DAY_SECONDS, FAULTS, OTHER_PLACES, PLACES, Camera, Frame
from driftprint.bundle import Bundle
from driftprint.clock import Instant
from driftprint.decision import DecisionSettings
from driftprint.errors import FaultReason
from driftprint.frames import FrameRef
from driftprint.messages import CAMERA_FAULTS, AlertMessage, Cause, StreamMessage
from driftprint.scorer import Scorer
from driftprint.stats.site import SiteBaseline, learn_baseline
from driftprint_edge.camera import ALL_CHECKS
from driftprint_edge.config import AgentSettings
from driftprint_edge.reports import StreamId
from driftprint_edge.store import StreamState
from driftprint_edge.stream import Stream
from driftprint_edge.turns import Turns
from driftprint_edge.watch import load_scorer, make_watch


@dataclass(frozen=True, slots=True)
class Episode:
    """A stretch of the day in which something is wrong.

    Attributes:
        cause: what; drift for places that the model has not been trained for.
        start: in seconds of the replay.
        seconds: how long.
    """

    cause: Cause
    start: int
    seconds: int

    @property
    def end(self) -> int:
        """The first second after it."""
        return self.start + self.seconds


def plan(seconds: int, each: int, times: int, random: np.random.Generator) -> list[Episode]:
    """Every fault so many times, in a random order, evenly spread; and a true drift at the end.

    Args:
        seconds: of the whole replay, the drift included.
        each: how long an episode is.
        times: how often every fault comes.
        random: shuffles them.
    """
    causes = [Cause(cause) for cause in random.permutation([cause.value for cause in CAMERA_FAULTS] * times)]
    apart = (seconds - 2 * each) // len(causes)
    faults = [Episode(cause, apart // 2 + i * apart, each) for i, cause in enumerate(causes)]
    return [*faults, Episode(Cause.DRIFT, seconds - each, each)]


class FrameClock:
    """Goes on with the frames, one a second."""

    def __init__(self) -> None:
        self.second = 0

    def now(self) -> Instant:
        """The present moment."""
        return Instant(float(self.second), float(self.second))


class DaySource:
    """What the camera gives.

    Args:
        episodes: when something is wrong.
        seconds: of the whole replay, which goes once through the hours of a day.
        clock: is moved on.
        random: of the camera.
    """

    faults_total: Mapping[FaultReason, int] = MappingProxyType({})

    def __init__(
        self, episodes: Sequence[Episode], seconds: int, clock: FrameClock, random: np.random.Generator
    ) -> None:
        self._wrong = {second: one.cause for one in episodes for second in range(one.start, one.end)}
        self._seconds = seconds
        self._clock = clock
        self._random = random
        self._camera, self._elsewhere = Camera(PLACES, random), Camera(OTHER_PLACES, random)

    def frames(self, _stop: Event) -> Iterator[FrameRef | None]:
        """A frame each second, or none."""
        before: Frame | None = None
        for second in range(self._seconds):
            self._clock.second = second
            cause = self._wrong.get(second)
            if cause is Cause.MISSING:
                yield None
                continue
            if cause is not Cause.FROZEN or before is None:
                before = self._frame(second / self._seconds * DAY_SECONDS, cause)
            yield FrameRef(str(second), before)

    def _frame(self, hour: float, cause: Cause | None) -> Frame:
        camera = self._elsewhere if cause is Cause.DRIFT else self._camera
        frame, _ = camera.frame(hour)
        fault = None if cause is None else FAULTS.get(cause)
        return frame if fault is None else fault(frame, self._random)


@dataclass
class Outbox:
    """Keeps the alerts."""

    instance: str = "0" * 16
    alerts: list[AlertMessage] = field(default_factory=list)

    def load(self, _stream: str) -> StreamState | None:
        """Nothing is known from before."""
        return None

    def commit(self, _state: StreamState, message: StreamMessage) -> StreamMessage:
        """Keep an alert."""
        if isinstance(message, AlertMessage):
            self.alerts.append(message)
        return message


def calibrate(bundle: Bundle, seed: int, *, each: int) -> SiteBaseline:
    """What the agent learns of a day on which nothing is wrong.

    Args:
        bundle: watches the camera.
        seed: of the camera.
        each: looks at every so manieth second.
    """
    scorer = Scorer(bundle)
    camera = Camera(PLACES, np.random.default_rng(seed))
    seen = [scorer.score(camera.frame(second)[0]) for second in range(0, DAY_SECONDS, each)]
    outliers = [scored.p_value <= DecisionSettings().alpha for scored in seen]
    return learn_baseline([scored.score for scored in seen], outliers, bundle=bundle.manifest.id, recorded_at=0.0)


def replay(
    bundle: Bundle, site: SiteBaseline, episodes: Sequence[Episode], seconds: int, seed: int
) -> list[AlertMessage]:
    """All alerts of the day.

    Args:
        bundle: watches the camera.
        site: what was learnt on the day before.
        episodes: when something is wrong.
        seconds: of the replay; one frame each.
        seed: of the camera.
    """
    settings = AgentSettings.model_validate(
        {
            "device": "bench",
            "evidence": {"frames": 0},
            "stream": [
                {
                    "name": "camera",
                    "bundle": "made here",
                    "source": {"path": Path(), "frames_per_second": 1},
                    "camera": {"checks": ALL_CHECKS},
                }
            ],
        }
    )
    [stream] = settings.stream
    clock, outbox = FrameClock(), Outbox()
    Stream(
        StreamId("bench", "bench", "camera"),
        source=DaySource(episodes, seconds, clock, np.random.default_rng(seed)),
        watch=make_watch(load_scorer(bundle, stream), stream, settings, site=site, start=clock.now()),
        outbox=outbox,
        turns=Turns(1),
        clock=clock,
        report_seconds=3600,
        on_store_error=_fail,
    ).run(Event())
    return outbox.alerts


def _fail(error: Exception) -> None:
    raise error
