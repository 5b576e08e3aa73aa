"""A remote-write receiver over which a test has power, with another reader of the format than ours."""

from __future__ import annotations

import base64
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ssl import SSLContext
from typing import Any

import cramjam
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

Labels = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Answer:
    """What the receiver says to a request."""

    status: int = 204
    text: str = ""
    headers: Mapping[str, str] | None = None


@dataclass(frozen=True)
class Request:
    """What it was sent."""

    headers: Mapping[str, str]
    """By name in lower case."""
    series: tuple[tuple[Labels, tuple[tuple[int, float], ...]], ...]
    """Labels as they came; time in milliseconds and value."""
    connection: object
    """The client's address: the same over one connection."""

    @property
    def samples(self) -> dict[tuple[Labels, int], float]:
        return {(labels, at): value for labels, samples in self.series for at, value in samples}

    @property
    def devices(self) -> set[str]:
        return {dict(labels)["device"] for labels, _ in self.series}


class Receiver:
    """Takes every request, unless `answer` says something else of it."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.sizes: list[int] = []
        """Of their bodies, in bytes."""
        self.answer: Callable[[Request], Answer] = lambda _request: Answer()
        self.url = ""

    @property
    def taken(self) -> dict[tuple[Labels, int], float]:
        """All samples of the requests that were answered so."""
        return {
            key: value for one in self.requests if self.answer(one).status < 300 for key, value in one.samples.items()
        }


@contextmanager
def receiving(tls: SSLContext | None = None) -> Iterator[Receiver]:
    """A receiver, for as long as the block."""
    receiver = Receiver()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            request = Request(
                {name.lower(): value for name, value in self.headers.items()}, decode(body), self.client_address
            )
            receiver.requests.append(request)
            receiver.sizes.append(len(body))
            answer = receiver.answer(request)
            self.send_response(answer.status)
            for name, value in (answer.headers or {}).items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(answer.text)))
            self.end_headers()
            self.wfile.write(answer.text.encode())

        def log_message(self, *_args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    receiver.url = f"{'https' if tls else 'http'}://localhost:{server.server_port}/api/v1/write"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield receiver
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def basic(login: str) -> str:
    return f"Basic {base64.b64encode(login.encode()).decode()}"


def decode(body: bytes) -> tuple[tuple[Labels, tuple[tuple[int, float], ...]], ...]:
    """The series of a compressed request."""
    request = _WriteRequest.FromString(bytes(cramjam.snappy.decompress_raw(body)))
    return tuple(
        (
            tuple((label.name, label.value) for label in series.labels),
            tuple((sample.timestamp, sample.value) for sample in series.samples),
        )
        for series in request.timeseries
    )


def _make_write_request() -> Any:
    """``prometheus.WriteRequest``, by the specification's .proto."""
    field = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="remote.proto", package="prometheus", syntax="proto3")
    messages: dict[str, list[tuple[str, int, int, str]]] = {
        "Label": [("name", 1, field.TYPE_STRING, ""), ("value", 2, field.TYPE_STRING, "")],
        "Sample": [("value", 1, field.TYPE_DOUBLE, ""), ("timestamp", 2, field.TYPE_INT64, "")],
        "TimeSeries": [("labels", 1, field.TYPE_MESSAGE, "Label"), ("samples", 2, field.TYPE_MESSAGE, "Sample")],
        "WriteRequest": [("timeseries", 1, field.TYPE_MESSAGE, "TimeSeries")],
    }
    for name, fields in messages.items():
        message = file.message_type.add(name=name)
        for field_name, number, kind, of in fields:
            label = field.LABEL_REPEATED if of else field.LABEL_OPTIONAL
            added = message.field.add(name=field_name, number=number, type=kind, label=label)
            if of:
                added.type_name = f".prometheus.{of}"
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("prometheus.WriteRequest"))


_WriteRequest = _make_write_request()
