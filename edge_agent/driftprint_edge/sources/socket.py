"""Raw frames from a neighbouring process, over a Unix socket.

Each frame is a header of 16 bytes, the letters ``DPF1`` and height, width and channels as little-endian unsigned
32-bit integers, and then its pixels, row by row, one byte a channel: RGB for 3 channels, grey for 1.
"""

from __future__ import annotations

import struct
from pathlib import Path
from socketserver import StreamRequestHandler, UnixStreamServer
from threading import Event
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from driftprint.clock import Clock
from driftprint.frames import FrameRef
from driftprint.preprocess import MAX_PIXELS
from driftprint_edge.sources.live import LiveSettings, LiveSource, Put
from driftprint_edge.sources.serving import IDLE_SECONDS, Forgiving, serve

MAGIC = b"DPF1"
_HEADER = struct.Struct("<4s3I")


class SocketSettings(LiveSettings):
    """A ``[stream.source]`` of kind "socket"."""

    kind: Literal["socket"]
    path: Path
    """The socket's path; whoever may write to the file may give frames."""

    def open(self, clock: Clock) -> LiveSource:
        """The source."""
        return self.source_of(SocketFeed(self.path), clock)


class SocketFeed:
    """Listens on a Unix socket. What is no frame ends the connection, and is counted as one that cannot be decoded.

    Args:
        path: of the socket; one that is left over from before is replaced.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.bound: Event = Event()
        """Set once there is something to connect to."""

    def run(self, put: Put, stop: Event) -> None:
        """See `Feed.run`."""

        class Handler(StreamRequestHandler):
            timeout = IDLE_SECONDS

            def handle(self) -> None:
                while header := self.rfile.read(_HEADER.size):
                    size = _size(header)
                    pixels = self.rfile.read(int(np.prod(size))) if size else b""
                    if size is None or len(pixels) < int(np.prod(size)):
                        put(FrameRef("socket", header))
                        return
                    put(FrameRef("socket", _shaped(pixels, size)))

        def start() -> UnixStreamServer:
            if self._path.is_socket():
                self._path.unlink()
            server = _Server(str(self._path), Handler)
            self.bound.set()
            return server

        try:
            serve(start, stop, where=str(self._path))
        finally:
            self._path.unlink(missing_ok=True)


class _Server(Forgiving, UnixStreamServer):
    pass


def pack(frame: NDArray[np.uint8]) -> bytes:
    """A frame as it goes over the socket.

    Args:
        frame: [H, W] or [H, W, 3].
    """
    height, width = frame.shape[:2]
    channels = 1 if frame.ndim == 2 else frame.shape[2]
    return _HEADER.pack(MAGIC, height, width, channels) + np.ascontiguousarray(frame).tobytes()


def _size(header: bytes) -> tuple[int, int, int] | None:
    """Height, width and channels; None where it is no header, or of a frame that would not be taken."""
    if len(header) < _HEADER.size:
        return None
    magic, height, width, channels = _HEADER.unpack(header)
    good = magic == MAGIC and channels in (1, 3) and 0 < height * width <= MAX_PIXELS
    return (height, width, channels) if good else None


def _shaped(pixels: bytes, size: tuple[int, int, int]) -> NDArray[np.uint8]:
    frame = np.frombuffer(pixels, np.uint8).reshape(size)
    return frame[:, :, 0] if size[2] == 1 else frame
