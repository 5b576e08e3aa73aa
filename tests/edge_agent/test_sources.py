"""Every source with the real thing at its other end."""

from __future__ import annotations

import http.client
import io
import socket
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Thread

import cv2
import numpy as np
import paho.mqtt.publish as publish
import pytest
from numpy.typing import NDArray
from PIL import Image

from driftprint.clock import SystemClock
from driftprint.errors import DataError, FrameError, SourceError
from driftprint.frames import FrameRef
from driftprint.mqtt import MqttSettings
from driftprint_edge.sources.folder import FolderSettings
from driftprint_edge.sources.http import MAX_BYTES, HttpFeed
from driftprint_edge.sources.live import Feed
from driftprint_edge.sources.mqtt import MqttFeed
from driftprint_edge.sources.replay import ReplaySettings
from driftprint_edge.sources.socket import SocketFeed, pack
from driftprint_edge.sources.video import CameraSettings, RtspSettings, VideoFile, without_password
from tests.brokers import Mosquitto, free_port, wait_for
from tests.edge_agent.rtsp_server import serve_rtsp

Pixels = NDArray[np.uint8]

RED = np.full((48, 64, 3), (200, 30, 20), np.uint8)


class Running:
    """A feed in a thread, and what it has handed on."""

    def __init__(self, feed: Feed) -> None:
        self.frames: list[FrameRef] = []
        self.lost: list[SourceError] = []
        self.stop = Event()
        self._came = Event()
        self._thread = Thread(target=self._run, args=(feed,))
        self._thread.start()

    def wait_for(self, count: int) -> list[FrameRef]:
        wait_for(lambda: len(self.frames) >= count, what=lambda: f"{count} frames, got {self.frames}")
        return self.frames

    def end(self) -> None:
        self.stop.set()
        self._thread.join(10)
        assert not self._thread.is_alive()

    def _run(self, feed: Feed) -> None:
        try:
            feed.run(self.frames.append, self.stop)
        except SourceError as error:
            self.lost.append(error)


@contextmanager
def running(feed: Feed) -> Iterator[Running]:
    runs = Running(feed)
    try:
        yield runs
    finally:
        runs.end()


def encoded(frame: Pixels, kind: str) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(frame).save(buffer, kind)
    return buffer.getvalue()


def post(port: int, body: bytes, **headers: str) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request("POST", "/", body, headers)
    status = connection.getresponse().status
    connection.close()
    return status


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_a_posted_image_is_a_frame(kind: str) -> None:
    feed = HttpFeed("127.0.0.1", 0)
    with running(feed) as runs:
        assert feed.bound.wait(60)
        assert post(feed.port, encoded(RED, kind)) == 202
        [frame] = runs.wait_for(1)
    assert np.abs(frame.load().astype(int) - RED).max() < 10


def test_what_is_posted_but_no_image_is_found_out_when_it_is_loaded() -> None:
    feed = HttpFeed("127.0.0.1", 0)
    with running(feed) as runs:
        assert feed.bound.wait(60)
        assert post(feed.port, encoded(RED, "JPEG")[:200]) == 202
        assert post(feed.port, b"") == 202
        frames = runs.wait_for(2)
    for frame in frames:
        with pytest.raises(FrameError) as raised:
            frame.load()
        assert raised.value.reason == "undecodable"


def test_a_body_that_is_too_large_or_of_no_stated_length_is_refused() -> None:
    feed = HttpFeed("127.0.0.1", 0)
    with running(feed) as runs:
        assert feed.bound.wait(60)
        assert post(feed.port, b"", **{"Content-Length": str(MAX_BYTES + 1)}) == 413
        assert post(feed.port, b"", **{"Content-Length": "-5"}) == 411
        assert runs.frames == []


def test_a_client_that_breaks_off_is_no_trouble_for_the_next() -> None:
    feed = HttpFeed("127.0.0.1", 0)
    with running(feed) as runs:
        assert feed.bound.wait(60)
        with socket.create_connection(("127.0.0.1", feed.port)) as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # closes with a reset
            client.sendall(b"POST / HTTP/1.1\r\nContent-Length: 100000\r\n\r\nabc")
        assert post(feed.port, encoded(RED, "PNG")) == 202
        runs.wait_for(1)


def test_a_port_that_is_taken_is_a_lost_source() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, running(HttpFeed(*taken.getsockname())) as runs:
        wait_for(lambda: bool(runs.lost), what=lambda: "the feed to give up")
    assert "cannot listen there" in str(runs.lost[0])


@contextmanager
def connected(path: Path, feed: SocketFeed) -> Iterator[socket.socket]:
    assert feed.bound.wait(60)
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
        yield client


@pytest.mark.parametrize("frame", [RED, RED[:, :, 0]])
def test_raw_frames_come_over_a_socket_as_they_are(tmp_path: Path, frame: Pixels) -> None:
    path = tmp_path / "frames.sock"
    feed = SocketFeed(path)
    with running(feed) as runs, connected(path, feed) as client:
        client.sendall(pack(frame) * 3)
        frames = runs.wait_for(3)
        client.close()
    assert all(np.array_equal(got.load(), frame) for got in frames)
    assert not path.exists()


@pytest.mark.parametrize(
    "garbage", [b"GET / HTTP/1.1\r\n\r\n", b"DPF1", pack(RED)[:1000], b"DPF1" + b"\xff" * 12, b"DPF1" + b"\x00" * 12]
)
def test_garbage_on_a_socket_is_counted_and_ends_that_connection_only(tmp_path: Path, garbage: bytes) -> None:
    path = tmp_path / "frames.sock"
    feed = SocketFeed(path)
    with running(feed) as runs:
        with connected(path, feed) as client:
            client.sendall(garbage)
            client.shutdown(socket.SHUT_WR)
            [bad] = runs.wait_for(1)
            assert client.recv(1) == b""
        with connected(path, feed) as client:
            client.sendall(pack(RED))
            runs.wait_for(2)
            client.close()
    with pytest.raises(FrameError):
        bad.load()


def test_a_socket_left_over_from_a_killed_agent_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "frames.sock"
    with socket.socket(socket.AF_UNIX) as old:
        old.bind(str(path))
    feed = SocketFeed(path)
    with running(feed) as runs, connected(path, feed) as client:
        client.sendall(pack(RED))
        runs.wait_for(1)
        client.close()


def test_images_on_a_topic_are_frames(mosquitto: Mosquitto) -> None:
    feed = MqttFeed(MqttSettings(host=mosquitto.host, port=mosquitto.port), "frigate/+/person/snapshot")
    with running(feed) as runs:
        wait_for(lambda: "SUBSCRIBE" in mosquitto.log, what=lambda: "a subscription")
        for topic in ("frigate/yard/person/snapshot", "frigate/yard/car/snapshot", "frigate/door/person/snapshot"):
            publish.single(topic, encoded(RED, "JPEG"), hostname=mosquitto.host, port=mosquitto.port, qos=1)
        frames = runs.wait_for(2)
    assert [frame.name for frame in frames] == ["frigate/yard/person/snapshot", "frigate/door/person/snapshot"]
    assert frames[0].load().shape == RED.shape


def test_a_broker_that_goes_away_is_a_lost_source(mosquitto: Mosquitto) -> None:
    with running(MqttFeed(MqttSettings(host=mosquitto.host, port=mosquitto.port), "x")) as runs:
        wait_for(lambda: "SUBSCRIBE" in mosquitto.log, what=lambda: "a subscription")
        mosquitto.kill()
        wait_for(lambda: bool(runs.lost), what=lambda: "the feed to notice")


def test_no_broker_is_a_lost_source() -> None:
    with running(MqttFeed(MqttSettings(host="127.0.0.1", port=free_port()), "x")) as runs:
        wait_for(lambda: bool(runs.lost), what=lambda: "the feed to give up")
    assert "cannot connect" in str(runs.lost[0])


def test_images_written_into_a_folder_are_frames(tmp_path: Path) -> None:
    (tmp_path / "old.png").write_bytes(encoded(RED, "PNG"))
    source = FolderSettings(kind="folder", path=tmp_path, frames_per_second=100).open(SystemClock())
    stop, names = Event(), []
    written = iter(range(100))

    def write() -> None:
        """One after another, until all the kinds have come: a watch takes a moment to begin."""
        while not stop.wait(0.3):
            i = next(written)
            (tmp_path / f"note-{i}.txt").write_text("no image")
            (tmp_path / f"new-{i}.png").write_bytes(encoded(RED, "PNG"))

    writer = Thread(target=write)
    writer.start()
    for frame in filter(None, source.frames(stop)):
        assert np.array_equal(frame.load(), RED)
        names.append(frame.name)
        if len(names) == 2:
            stop.set()
    writer.join()
    assert all(name.startswith("new-") and name.endswith(".png") for name in names)


def test_a_folder_that_is_not_there_is_a_lost_source(tmp_path: Path) -> None:
    source = FolderSettings(kind="folder", path=tmp_path / "gone", frames_per_second=1).open(SystemClock())
    assert_lost(source.feed, "cannot be watched")


def assert_lost(feed: Feed, why: str) -> None:
    with running(feed) as runs:
        wait_for(lambda: bool(runs.lost), what=lambda: "the feed to give up")
    assert why in str(runs.lost[0])


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten frames that become brighter, red before blue."""
    path = tmp_path_factory.mktemp("video") / "brighter.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 25, (64, 48))
    for i in range(10):
        writer.write(np.full((48, 64, 3), (10, 20, 20 * (i + 1)), np.uint8))
    writer.release()
    return path


def test_a_video_file_is_replayed_frame_by_frame_in_rgb(video: Path) -> None:
    source = ReplaySettings(path=video, frames_per_second=10_000, repeat=False).open(SystemClock())
    means = [frame.load().mean(axis=(0, 1)) for frame in source.frames(Event())]
    assert np.allclose(means, [(20 * (i + 1), 20, 10) for i in range(10)], atol=6)


@pytest.mark.parametrize("content", [None, b"", b"no video at all"])
def test_what_is_no_video_is_said_at_the_start(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "x.mp4"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError):
        VideoFile(path)


@pytest.fixture
def camera_on_the_network() -> Iterator[Callable[[], str]]:
    """Serves an endless MJPEG stream, as network cameras do, and goes away when asked to."""
    servers: list[ThreadingHTTPServer] = []

    class Camera(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
            self.end_headers()
            picture = encoded(RED, "JPEG")
            for _ in range(30):
                head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(picture)}\r\n\r\n".encode()
                self.wfile.write(head + picture + b"\r\n")

        def log_message(self, *_: object) -> None:
            pass

    def start() -> str:
        server = ThreadingHTTPServer(("127.0.0.1", 0), Camera)
        servers.append(server)
        Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        return f"http://admin:secret@127.0.0.1:{server.server_address[1]}/stream.mjpg"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def test_a_network_stream_gives_frames_and_is_lost_when_it_ends(camera_on_the_network: Callable[[], str]) -> None:
    settings = RtspSettings(kind="rtsp", url=camera_on_the_network(), frames_per_second=1000)
    feed = settings.open(SystemClock()).feed
    with running(feed) as runs:
        wait_for(lambda: bool(runs.lost), what=lambda: "the stream to end")
    assert len(runs.frames) >= 20
    assert np.abs(runs.frames[0].load().astype(int) - RED).max() < 12
    assert "no more frames" in str(runs.lost[0])
    assert "secret" not in str(runs.lost[0]) + runs.frames[0].name


def test_an_rtsp_stream_gives_frames_and_is_lost_when_the_camera_goes() -> None:
    with serve_rtsp() as (url, camera):
        feed = RtspSettings(kind="rtsp", url=url, frames_per_second=1000).open(SystemClock()).feed
        with running(feed) as runs:
            wait_for(lambda: len(runs.frames) >= 5, what=lambda: f"frames, {runs.lost}")
            camera.kill()
            wait_for(lambda: bool(runs.lost), what=lambda: "the feed to notice")
    assert np.abs(runs.frames[0].load().astype(int) - (255, 0, 0)).max() < 30
    assert "no more frames" in str(runs.lost[0])


def test_a_camera_that_is_not_there_is_a_lost_source() -> None:
    source = CameraSettings(kind="camera", device="/dev/video-none", frames_per_second=1).open(SystemClock())
    assert_lost(source.feed, "cannot be opened")


def test_a_stream_that_is_not_there_is_a_lost_source() -> None:
    settings = RtspSettings(kind="rtsp", url=f"rtsp://127.0.0.1:{free_port()}/x", frames_per_second=1)
    assert_lost(settings.open(SystemClock()).feed, "cannot be opened")


def test_passwords_are_left_out_of_names() -> None:
    assert without_password("rtsp://me:se@cret@camera/1") == "rtsp://camera/1"
    assert without_password("rtsp://camera/1") == "rtsp://camera/1"
