"""A real RTSP server, GStreamer's, for tests.

Run as a script, by the system's Python, it serves a red picture at ``/camera`` and prints its port.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PYTHON = "/usr/bin/python3"
"""Debian's, for which GStreamer's bindings are packaged."""

PIPELINE = (
    "( videotestsrc is-live=true pattern=red ! video/x-raw,format=I420,width=64,height=48,framerate=20/1"
    " ! jpegenc ! rtpjpegpay name=pay0 )"
)


@contextmanager
def serve_rtsp() -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """The stream's address, and the process; without GStreamer the test is skipped, or fails where CI is "true"."""
    import pytest

    process = subprocess.Popen([PYTHON, str(Path(__file__))], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        port = process.stdout.readline().strip()
        if not port:
            missing = "GStreamer's RTSP server is not installed (Debian: gir1.2-gst-rtsp-server-1.0, python3-gi)"
            (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(missing)
        yield f"rtsp://127.0.0.1:{port}/camera", process
    finally:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


def main() -> None:
    """Serve until killed."""
    import gi  # type: ignore[import-not-found]

    gi.require_version("Gst", "1.0")
    gi.require_version("GstRtspServer", "1.0")
    from gi.repository import GLib, Gst, GstRtspServer  # type: ignore[import-not-found]

    Gst.init(None)
    server = GstRtspServer.RTSPServer()
    server.set_address("127.0.0.1")
    server.set_service("0")
    factory = GstRtspServer.RTSPMediaFactory()
    factory.set_launch(PIPELINE)
    factory.set_shared(True)
    server.get_mount_points().add_factory("/camera", factory)
    server.attach(None)
    print(server.get_bound_port(), flush=True)
    GLib.MainLoop().run()


if __name__ == "__main__":
    main()
