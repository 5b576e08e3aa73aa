"""Opens what agent.toml names: bundles, sources, the store, /metrics; for the agent, and for whoever only looks."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from driftprint.bundle import Bundle, read_bundle
from driftprint.clock import Clock
from driftprint.errors import ConfigError, DriftprintError, StoreError
from driftprint.installed import find_bundle
from driftprint.keys import TrustedKeys
from driftprint.mqtt import make_client
from driftprint.stats.site import SiteBaseline
from driftprint_edge.config import AgentSettings, StreamSettings
from driftprint_edge.metrics import Metrics
from driftprint_edge.sources import Source
from driftprint_edge.store import Store
from driftprint_edge.watch import Watch, load_scorer, make_watch

Baselines = Callable[[str, str], "SiteBaseline | None"]
"""What was learnt at a site, by the stream's name and the bundle's id."""


def open_watch(
    stream: StreamSettings, settings: AgentSettings, clock: Clock, *, baseline: Baselines, trusted: TrustedKeys | None
) -> Watch:
    """Load a stream's bundle, which replays its golden frames.

    Raises:
        DriftprintError: where it cannot be used.
    """
    return load_watch(
        read_bundle(find_bundle(stream.bundle), trusted=trusted), stream, settings, clock, baseline=baseline
    )


def load_watch(
    bundle: Bundle, stream: StreamSettings, settings: AgentSettings, clock: Clock, *, baseline: Baselines
) -> Watch:
    """Load a bundle for a stream, which replays its golden frames.

    Raises:
        DriftprintError: where it cannot be used.
    """
    site = baseline(stream.name, bundle.manifest.id)
    return make_watch(load_scorer(bundle, stream), stream, settings, site=site, start=clock.now())


def open_stream(stream: StreamSettings, settings: AgentSettings, clock: Clock) -> tuple[Source, Watch]:
    """A stream's source and what watches it, with nothing learnt at its site.

    Args:
        stream: which.
        settings: agent.toml.
        clock: dates everything.

    Raises:
        DriftprintError: where one of them cannot be used; naming the stream.
    """
    with named(stream):
        watch = open_watch(stream, settings, clock, baseline=lambda *_: None, trusted=trusted_keys(settings))
        return stream.source.open(clock), watch


def open_store(settings: AgentSettings, clock: Clock) -> Store:
    """The agent's store.

    Raises:
        StoreError: where it cannot be used, as while another agent runs.
    """
    return Store(
        settings.store.path,
        clock=clock,
        new_id=lambda: secrets.token_hex(8),
        max_messages=settings.store.max_messages,
        max_megabytes=settings.store.max_megabytes,
    )


def open_metrics(settings: AgentSettings, clock: Clock) -> Metrics:
    """The device's own /metrics, not listening yet.

    Raises:
        MissingExtraError: where it is wanted, without the extra "metrics".
    """
    return Metrics(
        settings.metrics,
        site=settings.site,
        device=settings.device,
        # A replay slower than its reports sends one with each frame.
        report_seconds={
            stream.name: max(stream.report_seconds, 1 / stream.source.frames_per_second) for stream in settings.stream
        },
        health_seconds=settings.health_seconds,
        clock=clock,
    )


def trusted_keys(settings: AgentSettings) -> TrustedKeys | None:
    """Whose signatures are taken; None where none is asked for.

    Raises:
        ConfigError: where the folder cannot be read, or holds what is no key.
    """
    folder = settings.bundles.trusted_keys
    return None if folder is None else TrustedKeys(folder)


def check_parts(settings: AgentSettings, clock: Clock) -> None:
    """Load all that the agent would: certificates, bundles and sources.

    Not the store: the agent that runs holds it, and a check by root must not make its files.

    Raises:
        DriftprintError: where one of them cannot be used.
    """
    make_client(settings.mqtt, "check", clean_session=True)
    open_metrics(settings, clock)
    for stream in settings.stream:
        open_stream(stream, settings, clock)


def roll_back(settings: AgentSettings, stream: str, clock: Clock) -> str:
    """Have a stream go one step back from the bundle that it was sent; says what was done.

    Raises:
        ConfigError: where there is no such stream.
        StoreError: where the store cannot be used, as while the agent runs.
    """
    names = [known.name for known in settings.stream]
    if stream not in names:
        raise ConfigError(f"there is no stream {stream!r}", where="--rollback", fix=f"there are {', '.join(names)}")
    store = open_store(settings, clock)
    try:
        choice = store.choice(stream)
        if choice is None or not choice.bundle_id:
            return f"{stream}: it runs what agent.toml names, or has gone back already"
        if store.volatile:
            raise StoreError("the disk takes no writes", where=str(settings.store.path))
        store.choose(stream, choice.back())
        return f"{stream}: back from {choice.bundle_id} to {choice.previous}"
    finally:
        store.close()


@contextmanager
def named(stream: StreamSettings) -> Iterator[None]:
    """Has errors within it name the stream."""
    try:
        yield
    except DriftprintError as error:
        error.where = f"stream {stream.name!r}: {error.where}" if error.where else f"stream {stream.name!r}"
        raise
