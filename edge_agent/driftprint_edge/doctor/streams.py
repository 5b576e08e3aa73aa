"""Whether a stream's bundle runs here, and as fast as was meant."""

from __future__ import annotations

from collections.abc import Iterator

from driftprint.clock import Clock
from driftprint.errors import DriftprintError
from driftprint_edge.config import AgentSettings, StreamSettings
from driftprint_edge.doctor.finding import Finding, fine, refused, warning
from driftprint_edge.doctor.sources import check_source
from driftprint_edge.opening import open_watch, trusted_keys


def check_stream(stream: StreamSettings, settings: AgentSettings, clock: Clock) -> Iterator[Finding]:
    """A stream's bundle, providers and source.

    Args:
        stream: which.
        settings: agent.toml.
        clock: tells the time.
    """
    name = f"stream.{stream.name}"
    yield from check_bundle(name, stream, settings, clock)
    yield from check_source(f"{name}.source", stream.source, clock)


def check_bundle(name: str, stream: StreamSettings, settings: AgentSettings, clock: Clock) -> Iterator[Finding]:
    """Load it as the agent would, which replays its golden frames.

    Args:
        name: of the findings.
        stream: whose bundle.
        settings: agent.toml.
        clock: tells the time.
    """
    try:
        trusted = trusted_keys(settings)
        scorer = open_watch(stream, settings, clock, baseline=lambda *_: None, trusted=trusted).scorer
    except DriftprintError as error:
        yield refused(f"{name}.bundle", error, "copy or export the bundle again, or check the stream's settings")
        return
    frames = len(scorer.golden_frames)
    yield fine(f"{name}.bundle", f"{scorer.manifest.id}: {frames} golden frames score as they should")
    used = ", ".join(scorer.providers)
    if missing := [provider for provider in stream.providers if provider not in scorer.providers]:
        yield warning(
            f"{name}.providers",
            f"{', '.join(missing)} cannot be used, it runs on {used}",
            "install the onnxruntime built for it (such as onnxruntime-gpu) and its libraries, or take it out",
        )
    else:
        yield fine(f"{name}.providers", used)
