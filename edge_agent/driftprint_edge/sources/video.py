"""Cameras, network streams and video files, by OpenCV."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Event
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from driftprint.clock import Clock
from driftprint.errors import DataError, MissingExtraError, SourceError
from driftprint.frames import FrameRef
from driftprint_edge.sources.live import LiveSettings, LiveSource, Put

VIDEO_SUFFIXES = frozenset({".avi", ".m4v", ".mjpeg", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".ts", ".webm"})

NETWORK_TIMEOUT_MS = 10_000
"""A network stream that says nothing for so long is lost."""

Pixels = NDArray[np.uint8]
Open = Callable[[], Any]
"""Opens an OpenCV capture."""


class CameraSettings(LiveSettings):
    """A ``[stream.source]`` of kind "camera"."""

    steady = True
    kind: Literal["camera"]
    device: str = "/dev/video0"
    """A V4L2 device: USB cameras, and most others on Linux."""
    width: Annotated[int, Field(ge=1, le=16_384)] | None = None
    height: Annotated[int, Field(ge=1, le=16_384)] | None = None
    """Asked of the camera, which takes the nearest that it has; without them 640 x 480 pixels."""

    def open(self, clock: Clock) -> LiveSource:
        """The source.

        Raises:
            MissingExtraError: without OpenCV.
        """
        cv2 = import_opencv()

        def capture() -> Any:
            opened = cv2.VideoCapture(self.device, cv2.CAP_V4L2)
            if self.width or self.height:  # OpenCV asks the camera for neither before it is told both
                for side, wanted in ((cv2.CAP_PROP_FRAME_WIDTH, self.width), (cv2.CAP_PROP_FRAME_HEIGHT, self.height)):
                    opened.set(side, wanted or opened.get(side))
            opened.set(cv2.CAP_PROP_BUFFERSIZE, 1)
            return opened

        return self.source_of(VideoFeed(self.device, capture), clock)


class RtspSettings(LiveSettings):
    """A ``[stream.source]`` of kind "rtsp"."""

    steady = True
    kind: Literal["rtsp"]
    url: Annotated[str, Field(pattern=r"^[a-z]+://")]
    """``rtsp://user:password@camera/stream``; FFmpeg's other protocols work too, such as ``http://`` for MJPEG."""

    def open(self, clock: Clock) -> LiveSource:
        """The source.

        Raises:
            MissingExtraError: without OpenCV.
        """
        cv2 = import_opencv()
        limits = (cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, cv2.CAP_PROP_READ_TIMEOUT_MSEC)

        def capture() -> Any:
            timeouts = [value for limit in limits for value in (limit, NETWORK_TIMEOUT_MS)]
            return cv2.VideoCapture(self.url, cv2.CAP_FFMPEG, timeouts)

        return self.source_of(VideoFeed(without_password(self.url), capture), clock)


class VideoFeed:
    """Reads an OpenCV capture.

    Args:
        name: for frames and errors.
        capture: opens it.
    """

    def __init__(self, name: str, capture: Open) -> None:
        self._name = name
        self._capture = capture

    def run(self, put: Put, stop: Event) -> None:
        """See `Feed.run`."""
        for frame in read_capture(self._capture(), self._name):
            if stop.is_set():
                return
            put(frame)
        raise SourceError("it gives no more frames", where=self._name)


class VideoFile:
    """The frames of a video file; each iteration opens it anew.

    Args:
        path: of the file.

    Raises:
        MissingExtraError: without OpenCV.
        DataError: where there is no such file, or none of its frames can be decoded.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._cv2 = import_opencv()
        if not path.is_file():
            raise DataError("no such file", where=str(path))
        try:
            next(iter(self))
        except (StopIteration, SourceError):
            raise DataError("not a video that can be decoded", where=str(path)) from None

    def __iter__(self) -> Iterator[FrameRef]:
        """All frames in order."""
        return read_capture(self._cv2.VideoCapture(str(self._path), self._cv2.CAP_FFMPEG), self._path.name)


def read_capture(capture: Any, name: str) -> Iterator[FrameRef]:
    """An OpenCV capture's frames until it gives none, numbered; the capture is closed then.

    Raises:
        SourceError: where it did not open.
    """
    try:
        if not capture.isOpened():
            raise SourceError("it cannot be opened", where=name)
        count = 0
        while (read := capture.read())[0]:
            count += 1
            yield FrameRef(f"{name} {count}", rgb(read[1]))
    finally:
        capture.release()


def rgb(frame: Pixels) -> Pixels:
    """OpenCV's [H, W, 3] in BGR, or [H, W], as everything else here wants it."""
    return frame if frame.ndim == 2 else np.ascontiguousarray(frame[:, :, ::-1])


def without_password(url: str) -> str:
    """An address as it may stand in a log."""
    scheme, separator, rest = url.partition("://")
    return scheme + separator + rest.rpartition("@")[2]


def import_opencv() -> Any:
    """The module.

    Raises:
        MissingExtraError: where it is not installed.
    """
    try:
        import cv2
    except ImportError:
        raise MissingExtraError("cameras and videos need OpenCV", extra="camera") from None
    return cv2
