"""Replays a folder of images, an .npz file or a video file at a chosen frame rate."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from threading import Event
from types import MappingProxyType
from typing import Annotated, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field

from driftprint.clock import Clock
from driftprint.errors import FaultReason
from driftprint.frames import FrameRef, read_frames
from driftprint_edge.sources.video import VIDEO_SUFFIXES, VideoFile


class ReplaySettings(BaseModel):
    """A ``[stream.source]`` of kind "replay"."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    steady: ClassVar[bool] = True
    kind: Literal["replay"] = "replay"
    path: Path
    """A folder of images, an .npz file whose array ``x`` holds the frames, or a video file."""
    frames_per_second: Annotated[float, Field(gt=0, le=100_000)]
    """How fast to replay; a rate the device cannot keep is replayed as fast as it can."""
    repeat: bool = True
    """Start again at the end. Otherwise the stream ends there, and the agent with its last stream."""

    def open(self, clock: Clock) -> ReplaySource:
        """The source.

        Raises:
            DataError: naming the path and what was expected there.
            MissingExtraError: where a video file needs OpenCV.
        """
        is_video = self.path.suffix.lower() in VIDEO_SUFFIXES
        return ReplaySource(VideoFile(self.path) if is_video else read_frames(self.path), self, clock)


class ReplaySource:
    """Frames from files, paced.

    Args:
        frames: what to replay; gone over anew at each repetition.
        settings: how.
        clock: paces the frames.
    """

    faults_total: Mapping[FaultReason, int] = MappingProxyType({})

    def __init__(self, frames: Iterable[FrameRef], settings: ReplaySettings, clock: Clock) -> None:
        self._frames = frames
        self._settings = settings
        self._clock = clock

    def frames(self, stop: Event) -> Iterator[FrameRef]:
        """The frames, each no earlier than its turn."""
        interval = 1 / self._settings.frames_per_second
        due = self._clock.now().monotonic
        while True:
            for frame in self._frames:
                now = self._clock.now().monotonic
                if stop.wait(due - now) if due > now else stop.is_set():
                    return
                yield frame
                # A device that cannot keep up does not try to make up for lost frames in a burst.
                due = max(due + interval, self._clock.now().monotonic - interval)
            if not self._settings.repeat:
                return
