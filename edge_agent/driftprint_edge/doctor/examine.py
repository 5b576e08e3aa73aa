"""All checks in their order."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from driftprint.clock import Clock, SystemClock
from driftprint.settings import load_settings, state_folder
from driftprint_edge.commands import Run, run_command
from driftprint_edge.doctor.finding import Finding, Verdict, warning
from driftprint_edge.doctor.install import check_architecture, check_packages, check_python, check_runtime
from driftprint_edge.doctor.machine import check_clock, check_vitals
from driftprint_edge.doctor.processor import board_of, check_features, check_providers
from driftprint_edge.vitals import VitalsReader


def examine(
    config: Path | None, *, root: Path = Path("/"), run: Run = run_command, clock: Clock | None = None
) -> Iterator[Finding]:
    """Look at this machine, and with a configuration at all that the agent would need.

    Args:
        config: agent.toml.
        root: of the file system that ``proc``, ``sys`` and ``run`` are in.
        run: runs other programs.
        clock: tells the time.

    Raises:
        ConfigError: where the configuration is wrong.
    """
    clock = clock or SystemClock()
    yield check_python()
    yield check_architecture(board=board_of(root))
    yield from check_packages()
    yield check_features(root)
    runtime = check_runtime(run)
    yield runtime
    yield check_clock(clock.now().wall, root, run)
    yield from check_vitals(VitalsReader(state_folder(), root=root, run=run).read())
    if runtime.verdict is Verdict.OK:
        yield check_providers()
    if config is None:
        return
    if runtime.verdict is not Verdict.OK:
        # What follows imports the same packages into this process.
        yield warning("configuration", "not looked at", "make the runtime work first, then run the doctor again")
        return
    yield from _examine_configured(config, root, clock)


def _examine_configured(config: Path, root: Path, clock: Clock) -> Iterator[Finding]:
    from driftprint_edge.config import AgentSettings
    from driftprint_edge.doctor.broker import check_broker
    from driftprint_edge.doctor.disk import check_disk
    from driftprint_edge.doctor.streams import check_stream

    settings = load_settings(config, AgentSettings)
    for stream in settings.stream:
        yield from check_stream(stream, settings, clock)
    yield from check_broker(settings.mqtt, wall=clock.now().wall)
    yield from check_disk(settings, root)
