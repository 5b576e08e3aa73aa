"""Puts the agent together: for every stream source -> scorer -> decider -> outbox, and one link for all."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable
from dataclasses import dataclass

import structlog

from driftprint.bundle import Bundle, read_bundle
from driftprint.clock import Clock
from driftprint.decision import Decider
from driftprint.errors import DriftprintError, StoreError
from driftprint.installed import find_bundle
from driftprint.logs import is_news
from driftprint.manifest import ImageInput, Manifest
from driftprint.messages import BundleRef, StreamMessage
from driftprint.mqtt import make_client
from driftprint.scorer import Scorer
from driftprint.stats.site import SiteBaseline
from driftprint_edge.camera import CameraWatch, Normal, look
from driftprint_edge.config import AgentSettings, StreamSettings
from driftprint_edge.evidence import Evidence, EvidenceFolder
from driftprint_edge.link import Link
from driftprint_edge.sources import Source
from driftprint_edge.store import Store, StreamState
from driftprint_edge.stream import Stream, StreamId

DRAIN_SECONDS = 10.0
"""When all sources have ended, the agent waits this long for the server to acknowledge the last messages."""


@dataclass(frozen=True, slots=True)
class Parts:
    """What a stream is made of."""

    source: Source
    scorer: Scorer
    decider: Decider
    camera: CameraWatch


def open_parts(
    stream: StreamSettings,
    settings: AgentSettings,
    clock: Clock,
    *,
    baseline: Callable[[str, str], SiteBaseline | None] = lambda _stream, _bundle: None,
) -> Parts:
    """Load a stream's bundle, which replays its golden frames, and open its source.

    Args:
        stream: which.
        settings: agent.toml.
        clock: dates everything.
        baseline: what was learnt at its site, by the stream's name and the bundle's id.

    Raises:
        DriftprintError: where one of them cannot be used; naming the stream.
    """
    try:
        bundle = read_bundle(find_bundle(stream.bundle))
        scorer = Scorer(bundle, threads=stream.threads, providers=stream.providers)
        decider = Decider(
            stream.decision,
            calibration_size=len(scorer.calibration),
            frames_per_false_alarm=settings.frames_per_false_alarm(stream),
            site=baseline(stream.name, scorer.manifest.id),
        )
        camera = CameraWatch(
            stream.camera_checks,
            hold_seconds=stream.camera.hold_seconds,
            missing_seconds=stream.camera.missing_seconds,
            normal=_normal(bundle, scorer) if stream.camera_checks else None,
            start=clock.now(),
            new_id=lambda: secrets.token_hex(16),
        )
        return Parts(stream.source.open(clock), scorer, decider, camera)
    except DriftprintError as error:
        error.where = f"stream {stream.name!r}: {error.where}" if error.where else f"stream {stream.name!r}"
        raise


def open_store(settings: AgentSettings, clock: Clock) -> Store:
    """The agent's store.

    Raises:
        StoreError: where it cannot be used, as while another agent runs.
    """
    return Store(
        settings.store.path, clock=clock, new_id=lambda: secrets.token_hex(8), max_messages=settings.store.max_messages
    )


def _normal(bundle: Bundle, scorer: Scorer) -> Normal | None:
    """What a working camera's frames look like, by the golden frames; None where these are no pictures."""
    if not isinstance(bundle.manifest.input, ImageInput):
        return None
    return Normal.of([look(frame, scorer.prepare(frame)) for frame in bundle.golden.frames])


def check_parts(settings: AgentSettings, clock: Clock) -> None:
    """Load all that the agent would: certificates, bundles and sources.

    Not the store: the agent that runs holds it, and a check by root must not make its files.

    Raises:
        DriftprintError: where one of them cannot be used.
    """
    make_client(settings.mqtt, "check", clean_session=True)
    for stream in settings.stream:
        open_parts(stream, settings, clock)


class Agent:
    """A device's agent.

    Args:
        settings: agent.toml.
        clock: dates everything.

    Raises:
        DriftprintError: where a bundle, a source or the store cannot be used; naming the stream.
    """

    def __init__(self, settings: AgentSettings, *, clock: Clock) -> None:
        self._clock = clock
        self._store_errors = 0
        self._store = open_store(settings, clock)
        self._link = Link(
            settings.mqtt,
            site=settings.site,
            device=settings.device,
            streams=[stream.name for stream in settings.stream],
            store=self._store,
            clock=clock,
            health_seconds=settings.health_seconds,
            store_errors=lambda: self._store_errors,
            providers=lambda: {name: stream.providers for name, stream in self._streams.items()},
        )
        outbox = _NotifyingOutbox(self._store, self._link.wake)
        self._evidence = EvidenceFolder(settings.evidence_path, int(settings.evidence.max_megabytes * 1e6))
        self._streams = {stream.name: self._open(stream, settings, outbox) for stream in settings.stream}

    def run(self, stop: threading.Event) -> None:
        """Watch all streams until their sources end or `stop` is set."""
        self._link.start()
        threads = [
            threading.Thread(target=stream.run, args=(stop,), name=name, daemon=True)
            for name, stream in self._streams.items()
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            _join(thread)
        self._drain(stop)
        self._link.stop()
        self._store.close()

    def _open(self, stream: StreamSettings, settings: AgentSettings, outbox: _NotifyingOutbox) -> Stream:
        parts = open_parts(stream, settings, self._clock, baseline=self._store.baseline)
        return Stream(
            StreamId(settings.site, settings.device, stream.name),
            source=parts.source,
            scorer=parts.scorer,
            decider=parts.decider,
            camera=parts.camera,
            outbox=outbox,
            evidence=self._evidence_of(stream.name, parts.scorer.manifest, settings.evidence.frames),
            clock=self._clock,
            report_seconds=stream.report_seconds,
            on_store_error=self._on_store_error,
        )

    def _evidence_of(self, stream: str, manifest: Manifest, frames: int) -> Evidence:
        return Evidence(
            stream,
            bundle=BundleRef(name=manifest.name, version=manifest.version),
            layers=manifest.fingerprint.layers,
            folder=self._evidence,
            frames=frames,
        )

    def _drain(self, stop: threading.Event) -> None:
        """Give the server time to acknowledge, unless asked to stop."""
        end = self._clock.now().monotonic + DRAIN_SECONDS
        while self._store.outbox_messages and self._clock.now().monotonic < end:
            if stop.wait(0.05):
                return

    def _on_store_error(self, error: StoreError) -> None:
        self._store_errors += 1
        if is_news(self._store_errors):
            structlog.get_logger().error("store error", what=str(error), total=self._store_errors)


class _NotifyingOutbox:
    """The store, telling the link of every new message."""

    def __init__(self, store: Store, wake: Callable[[], None]) -> None:
        self.instance = store.instance
        self.load = store.load
        self._store = store
        self._wake = wake

    def commit(self, state: StreamState, message: StreamMessage) -> StreamMessage:
        numbered = self._store.commit(state, message)
        self._wake()
        return numbered


def _join(thread: threading.Thread) -> None:
    """Wait for a thread in steps, so that the main thread can run signal handlers meanwhile."""
    while thread.is_alive():
        thread.join(timeout=0.2)
