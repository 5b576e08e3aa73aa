"""What a device tells whoever scrapes it, and the server that does so. Needs the extra "metrics"."""

from __future__ import annotations

import socket
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from socketserver import TCPServer
from threading import Lock, Thread

import structlog
from prometheus_client import CollectorRegistry, MetricsHandler
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from driftprint.clock import Clock
from driftprint.errors import ConfigError
from driftprint.exposition import ALARM, DEVICE_CATALOGUE, DEVICE_INFO, LAST_SEEN, UP, Families, add_health, add_window
from driftprint.messages import AlertMessage, AlertStatus, Cause, DeviceMessage, HealthMessage, WindowMessage
from driftprint.version import VERSION
from driftprint_edge.sources.live import POLL_SECONDS
from driftprint_edge.sources.serving import IDLE_SECONDS, Forgiving

STALE_REPORTS = 3
"""What was measured holds for as many intervals between reports."""
MAX_CLASSES = 20
"""Predicted classes per stream; as many as a server shows that is not told otherwise."""


@dataclass(frozen=True, slots=True)
class _Stream:
    """What a stream has said.

    Attributes:
        window: its latest; None where all it has sent is an alert.
        alarm: whether an alert of drift is raised, by its latest word.
        until: how long that holds, by the monotonic clock.
    """

    window: WindowMessage | None
    alarm: bool
    until: float


class DeviceCollector(Collector):
    """A device and its streams as Prometheus sees them: in the very families of the server. For several threads.

    Args:
        site: the device's site.
        device: its id.
        report_seconds: by stream, for all of them, how often it sends a window message.
        health_seconds: how often a health message is taken.
        clock: tells what is old.
    """

    def __init__(
        self, *, site: str, device: str, report_seconds: Mapping[str, float], health_seconds: float, clock: Clock
    ) -> None:
        self._labels = (site, device)
        self._report_seconds = report_seconds
        self._health_seconds = health_seconds
        self._clock = clock
        self._lock = Lock()
        self._streams: dict[str, _Stream] = {}
        self._health: HealthMessage | None = None
        self._health_until = 0.0

    def take(self, message: DeviceMessage) -> None:
        """A message has been made. Each stream's must come in order."""
        now = self._clock.now().monotonic
        with self._lock:
            match message:
                case HealthMessage():
                    self._health = message
                    self._health_until = now + STALE_REPORTS * self._health_seconds
                case WindowMessage(stream=name):
                    self._streams[name] = _Stream(message, message.alarm, self._until(name, now))
                case AlertMessage(stream=name, cause=Cause.DRIFT):
                    known = self._streams.get(name) or _Stream(None, False, self._until(name, now))
                    self._streams[name] = replace(known, alarm=message.status is not AlertStatus.CLEARED)

    def collect(self) -> Iterator[Metric]:
        """All families with their samples; those without samples too."""
        now = self._clock.now()
        families = Families(DEVICE_CATALOGUE)
        families.add(UP, self._labels, 1)
        families.add(LAST_SEEN, self._labels, now.wall)
        families.add(DEVICE_INFO, (*self._labels, VERSION), 1)
        with self._lock:
            if self._health is not None:
                add_health(families, self._labels, self._health, present=now.monotonic <= self._health_until)
            for name, stream in self._streams.items():
                self._stream(families, (*self._labels, name), stream, present=now.monotonic <= stream.until)
        yield from families.metrics()

    def _stream(self, families: Families, labels: tuple[str, ...], stream: _Stream, *, present: bool) -> None:
        if present:
            families.add(ALARM, labels, stream.alarm)
        if stream.window is not None:
            at = stream.window.recorded_at
            add_window(families, labels, stream.window, at=at, present=present, max_classes=MAX_CLASSES)

    def _until(self, stream: str, now: float) -> float:
        return now + STALE_REPORTS * self._report_seconds[stream]


class ScrapeServer:
    """Serves a collector over HTTP, in a thread of its own.

    Args:
        collector: what to show.
        host: to listen on.
        port: to listen on; 0 for any that is free.
    """

    def __init__(self, collector: Collector, host: str, port: int) -> None:
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(collector)
        self._host = host
        self._server: _Server | None = None
        self.port = port
        """Where it listens, once it has started."""

    def start(self) -> None:
        """Listen.

        Raises:
            ConfigError: where that is not possible, as while another program listens there.
        """
        try:
            self._server = _Server(self._host, self.port, self._registry)
        except OSError as error:
            raise ConfigError(
                f"cannot listen on {self._host}:{self.port} ({error.strerror or error})",
                where="metrics.port",
                fix="choose another one, or another metrics.host",
            ) from None
        self.port = self._server.server_address[1]
        Thread(target=self._server.serve_forever, args=(POLL_SECONDS,), name="metrics", daemon=True).start()
        host = f"[{self._host}]" if ":" in self._host else self._host
        structlog.get_logger().info("serving metrics", url=f"http://{host}:{self.port}/metrics")

    def close(self) -> None:
        """Listen no longer."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()


class _Handler(MetricsHandler):
    timeout = IDLE_SECONDS


class _Server(Forgiving, TCPServer):
    """Not an `HTTPServer`: that looks its own host's name up, for which a device without a name server waits."""

    allow_reuse_address = True

    def __init__(self, host: str, port: int, registry: CollectorRegistry) -> None:
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        super().__init__((host, port), _Handler.factory(registry))
