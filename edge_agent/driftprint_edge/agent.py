"""Puts the agent together: for every stream source -> watch -> outbox, one link for all, and who looks after them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from random import Random

import structlog

from driftprint.clock import Clock
from driftprint.errors import BundleError, DriftprintError, StoreError
from driftprint.logs import is_news
from driftprint.messages import MOST_TEXT, StreamMessage, WindowMessage
from driftprint.version import VERSION
from driftprint_edge.choice import bundle_at_start, go_back
from driftprint_edge.config import AgentSettings, StreamSettings
from driftprint_edge.fetch import over_http
from driftprint_edge.home_assistant import birth_topic, discovery
from driftprint_edge.link import AgentHealth, Discovery, Link
from driftprint_edge.opening import load_watch, named, open_metrics, open_store, open_watch, trusted_keys
from driftprint_edge.progress import Progress
from driftprint_edge.reports import StreamId
from driftprint_edge.sources import Source
from driftprint_edge.store import Store, StreamState
from driftprint_edge.stream import Stream
from driftprint_edge.supervisor import Supervisor
from driftprint_edge.swaps import Running, Swaps
from driftprint_edge.turns import Turns
from driftprint_edge.vitals import VitalsReader
from driftprint_edge.watch import Watch

DRAIN_SECONDS = 10.0
"""When all sources have ended, the agent waits this long for the server to acknowledge the last messages."""

STOP_SECONDS = 1.5
"""When it is asked to stop, it waits this long for the frames that are being worked on."""

_TICK_SECONDS = 0.2


class Agent:
    """A device's agent.

    Args:
        settings: agent.toml.
        clock: dates everything.
        environment: what the supervisor has set; see `Supervisor`.

    Raises:
        DriftprintError: where a bundle, a source or the store cannot be used; naming the stream.
    """

    def __init__(self, settings: AgentSettings, *, clock: Clock, environment: Mapping[str, str] | None = None) -> None:
        self._settings = settings
        self._clock = clock
        self._log = structlog.get_logger()
        self._store_errors = 0
        self._trusted = trusted_keys(settings)
        self._store = open_store(settings, clock)
        self._progress = Progress(clock)
        self._supervisor = Supervisor(environment or {}, progress=self._progress, clock=clock)
        self._vitals = VitalsReader(settings.store.path)
        self._turns = Turns(settings.frames_at_once)
        self._metrics = open_metrics(settings, clock)
        self._outbox = _NotifyingOutbox(self._store, self._committed)
        running: dict[str, Running] = {}
        went_back: dict[str, str] = {}
        for stream in settings.stream:
            opened = self._open(stream)
            running[stream.name] = opened.running
            if opened.went_back:
                went_back[stream.name] = opened.went_back
        self._streams = {name: one.stream for name, one in running.items()}
        self._swaps = Swaps(
            running,
            choices=self._store,
            trusted=self._trusted,
            folder=settings.bundles_path,
            open_address=over_http(settings.bundles.ca_file),
            make_watch=lambda bundle, stream: load_watch(
                bundle, stream, settings, clock, baseline=self._store.baseline
            ),
            clock=clock,
            random=Random(),
            went_back=went_back,
        )
        self._link = Link(
            settings.mqtt,
            site=settings.site,
            device=settings.device,
            streams=list(self._streams),
            store=self._store,
            clock=clock,
            health_seconds=settings.health_seconds,
            health=self._health,
            on_health=self._metrics.take,
            on_command=self._swaps.command,
            discovery=_discovery(settings),
            on_turn=self._progress.part("link", within_seconds=settings.stall_seconds),
        )

    def run(
        self,
        stop: threading.Event,
        *,
        reload: threading.Event | None = None,
        read_settings: Callable[[], AgentSettings] | None = None,
    ) -> None:
        """Watch all streams until their sources end or `stop` is set.

        Args:
            stop: ends it, within a few seconds.
            reload: set when agent.toml has changed.
            read_settings: reads it.
        """
        self._metrics.start()
        self._link.start()
        swaps = self._swaps.start(stop)
        threads = [
            threading.Thread(target=self._run_stream, args=(name, stop), name=name, daemon=True)
            for name in self._streams
        ]
        for thread in threads:
            thread.start()
        self._supervisor.ready()
        while any(thread.is_alive() for thread in threads) and not stop.wait(_TICK_SECONDS):
            self._supervisor.tick()
            if reload is not None and reload.is_set() and read_settings is not None:
                reload.clear()
                self._reload(read_settings)
        self._drain(stop)
        self._supervisor.stopping()
        stop.set()
        end = self._clock.now().monotonic + STOP_SECONDS
        for thread in (*threads, swaps):
            thread.join(max(0.0, end - self._clock.now().monotonic))
        self._link.stop()
        self._metrics.close()
        self._store.close()

    def _open(self, stream: StreamSettings) -> _Opened:
        with named(stream):
            start = bundle_at_start(stream.name, stream.bundle, self._store)
            try:
                watch = self._open_watch(stream, start.bundle)
            except BundleError as error:
                if start.bundle == stream.bundle:
                    raise
                start = go_back(stream.name, stream.bundle, self._store, str(error))
                watch = self._open_watch(stream, start.bundle)
            if start.went_back:
                self._log.error("back to the bundle before", stream=stream.name, what=start.went_back)
            source = stream.source.open(self._clock)
        return _Opened(
            Running(stream, self._stream(stream, source, watch), start.bundle),
            start.went_back,
        )

    def _open_watch(self, stream: StreamSettings, bundle: str) -> Watch:
        chosen = stream.model_copy(update={"bundle": bundle})
        return open_watch(chosen, self._settings, self._clock, baseline=self._store.baseline, trusted=self._trusted)

    def _stream(self, stream: StreamSettings, source: Source, watch: Watch) -> Stream:
        stall = self._settings.stall_seconds
        # Of cameras some may be away; when none gives frames any more, a restart may bring them back.
        frames = self._progress.part("frames", within_seconds=stall) if stream.source.steady else _nothing
        return Stream(
            StreamId(self._settings.site, self._settings.device, stream.name),
            source=source,
            watch=watch,
            outbox=self._outbox,
            turns=self._turns,
            clock=self._clock,
            report_seconds=stream.report_seconds,
            on_store_error=self._on_store_error,
            on_turn=self._progress.part(f"stream {stream.name}", within_seconds=stall),
            on_frame=frames,
        )

    def _run_stream(self, name: str, stop: threading.Event) -> None:
        try:
            self._streams[name].run(stop)
        except Exception as error:  # one stream's fault must not end the others; the watchdog sees that it is gone
            self._log.error("stream ended", stream=name, what=repr(error), exc_info=True)
            return
        self._progress.over(f"stream {name}")

    def _reload(self, read_settings: Callable[[], AgentSettings]) -> None:
        """Take over what can be changed while it runs: which bundles the streams run."""
        self._supervisor.reloading()
        try:
            settings = read_settings()
        except DriftprintError as error:
            self._log.error("settings not reloaded", what=str(error))
        else:
            before = {stream.name: stream for stream in self._settings.stream}
            for stream in settings.stream:
                if stream.name in before and stream.bundle != before[stream.name].bundle:
                    self._swaps.configured(stream.name, stream.bundle)
            if _without_bundles(settings) != _without_bundles(self._settings):
                self._log.warning("only other bundles are taken while the agent runs; restart it for the rest")
            self._settings = self._settings.model_copy(
                update={"stream": tuple(_with_bundle_of(stream, settings) for stream in self._settings.stream)}
            )
        self._supervisor.ready()

    def _committed(self, message: StreamMessage) -> None:
        self._metrics.take(message)
        if isinstance(message, WindowMessage):
            self._link.show(message)
        self._link.wake()

    def _health(self) -> AgentHealth:
        problems = dict(self._swaps.problems)
        return AgentHealth(
            store_errors_total=self._store_errors,
            providers={name: stream.providers for name, stream in self._streams.items()},
            bundle_errors={name: problem.why[:MOST_TEXT] for name, problem in problems.items()},
            bundle_unfetched=tuple(name for name, problem in problems.items() if problem.unfetched),
            vitals=self._vitals.read(),
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
            self._log.error("store error", what=str(error), total=self._store_errors)


@dataclass(frozen=True, slots=True)
class _Opened:
    running: Running
    went_back: str


class _NotifyingOutbox:
    """The store, telling of every message that it has taken."""

    def __init__(self, store: Store, committed: Callable[[StreamMessage], None]) -> None:
        self.instance = store.instance
        self.load = store.load
        self._store = store
        self._committed = committed

    def commit(self, state: StreamState, message: StreamMessage) -> StreamMessage:
        numbered = self._store.commit(state, message)
        self._committed(numbered)
        return numbered


def _discovery(settings: AgentSettings) -> Discovery | None:
    if not settings.home_assistant.enabled:
        return None
    prefix = settings.home_assistant.prefix
    message = discovery(
        prefix,
        site=settings.site,
        device=settings.device,
        version=VERSION,
        streams={stream.name: stream.report_seconds for stream in settings.stream},
        health_seconds=settings.health_seconds,
    )
    return Discovery(message, birth_topic(prefix))


def _without_bundles(settings: AgentSettings) -> AgentSettings:
    streams = tuple(stream.model_copy(update={"bundle": ""}) for stream in settings.stream)
    return settings.model_copy(update={"stream": streams})


def _with_bundle_of(stream: StreamSettings, settings: AgentSettings) -> StreamSettings:
    bundles = {other.name: other.bundle for other in settings.stream}
    return stream.model_copy(update={"bundle": bundles.get(stream.name, stream.bundle)})


def _nothing() -> None:
    return None
