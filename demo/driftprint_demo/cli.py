"""``driftprint demo``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def demo(
    once: Annotated[
        bool,
        typer.Option(
            "--once",
            help="End by itself: exit code 0 when both changes were reported within 60 s, without false alarm.",
        ),
    ] = False,
    http_port: Annotated[
        int | None, typer.Option(help="Port of the server's page; without it 8466, or any where that is taken.")
    ] = None,
    mqtt_port: Annotated[int | None, typer.Option(help="Port of the embedded broker; without it any.")] = None,
    folder: Annotated[
        Path | None,
        typer.Option(help="Keep frames, settings and logs here; without it in a temporary folder, removed at the end."),
    ] = None,
) -> None:
    """See it work: three devices, one of which goes blind and one of which sees new things.

    Starts an embedded MQTT broker, the server, and three agents, all on this machine, each agent replaying
    real frames through the reference bundle of handwritten digits. No camera, account or network is needed.

    Ctrl-C ends it.
    """
    import signal
    import sys
    import tempfile

    from rich.console import Console

    from driftprint.clock import SystemClock
    from driftprint.errors import ConfigError
    from driftprint_demo.demo import Demo

    # Ended in any way, the processes it has started end too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with tempfile.TemporaryDirectory(prefix="driftprint-demo-") as temporary:
        workspace = folder or Path(temporary)
        try:
            workspace.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(f"cannot be made ({error.strerror})", where=str(workspace)) from None
        failure = Demo(
            workspace, http_port=http_port, mqtt_port=mqtt_port, console=Console(highlight=False), clock=SystemClock()
        ).run(once=once)
    if failure is not None:
        print(f"driftprint demo: {failure}", file=sys.stderr)
        raise typer.Exit(1)
