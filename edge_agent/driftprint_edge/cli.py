"""``driftprint agent``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def agent(
    config: Annotated[Path, typer.Option("--config", "-c", help="The agent's settings: agent.toml.")],
    check: Annotated[
        bool,
        typer.Option("--check", help="Load settings, certificates, bundles and sources, say what was found, and exit."),
    ] = False,
    calibrate: Annotated[
        str | None,
        typer.Option(
            "--calibrate",
            metavar="DURATION",
            help="Watch for so long (90s, 10m, 2h), while all is normal, and learn each stream's own outlier ratio.",
        ),
    ] = None,
    undo_calibrate: Annotated[
        bool, typer.Option("--undo-calibrate", help="Take the latest calibration back: the one before it holds again.")
    ] = False,
    rollback: Annotated[
        str | None,
        typer.Option(
            "--rollback", metavar="STREAM", help="Have a stream run the bundle before the one that it was sent last."
        ),
    ] = None,
    log_level: Annotated[str, typer.Option(help="debug, info, warning or error.")] = "info",
) -> None:
    """Watch one or more streams and report over MQTT.

    For each `[[stream]]` of the configuration: every frame goes through the model and its fingerprint in one
    onnxruntime session; windows and alerts go to the server, which survives a broker, a server or a device
    that is away. A setting can also come from the environment, e.g. `DRIFTPRINT_MQTT__PASSWORD`.

    A bundle knows how often its calibration set gives outliers; a site may differ. `--calibrate`, with the agent
    stopped, learns that from the site's own footage, and how far apart video frames must be to say something new.

    SIGHUP has it read the file again and take other bundles over, with no frame lost. `--rollback`, with the agent
    stopped, goes one step back from a bundle that the server has sent.

    An example with every setting explained is `deploy/agent.example.toml`.
    """
    import os
    import signal
    import threading

    from driftprint.clock import SystemClock
    from driftprint.logs import configure_logging
    from driftprint.settings import load_settings
    from driftprint_edge.agent import Agent
    from driftprint_edge.calibrate import run_calibration, undo
    from driftprint_edge.config import AgentSettings
    from driftprint_edge.opening import check_parts, roll_back

    configure_logging(log_level)
    settings = load_settings(config, AgentSettings)
    clock = SystemClock()
    if check:
        check_parts(settings, clock)
        print(f"{config}: fine, {len(settings.stream)} stream(s) of {settings.site}/{settings.device}")
        return
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    reload = threading.Event()
    signal.signal(signal.SIGHUP, lambda *_: reload.set())
    if rollback is not None:
        print(roll_back(settings, rollback, clock))
    elif undo_calibrate:
        for line in undo(settings, clock):
            print(line)
    elif calibrate is not None:
        for line in run_calibration(settings, calibrate, clock=clock, stop=stop):
            print(line)
    else:
        agent = Agent(settings, clock=clock, environment=os.environ)
        agent.run(stop, reload=reload, read_settings=lambda: load_settings(config, AgentSettings))
