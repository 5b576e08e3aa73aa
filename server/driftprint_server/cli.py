"""``driftprint server``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def server(
    config: Annotated[
        Path | None, typer.Option("--config", "-c", help="The server's settings: server.toml. Without it: defaults.")
    ] = None,
    check: Annotated[bool, typer.Option("--check", help="Load settings, open the store, and exit.")] = False,
    log_level: Annotated[str, typer.Option(help="debug, info, warning or error.")] = "info",
) -> None:
    """Gather what the agents report: fleet state, `/metrics` for Prometheus, and a live page.

    Subscribes at the MQTT broker, stores every message before acknowledging it, and serves HTTP on
    127.0.0.1:8466 unless told otherwise. The first start prints the password for the page, once; more users with
    `driftprint users`. A setting can also come from the environment, e.g. `DRIFTPRINT_MQTT__PASSWORD`.

    An example with every setting explained is `deploy/server.example.toml`.
    """
    import gc
    import signal
    import sys
    import threading

    from driftprint.clock import SystemClock
    from driftprint.errors import MissingExtraError
    from driftprint.logs import configure_logging

    try:
        from driftprint_server.access.users import FIRST_USER
        from driftprint_server.config import read_settings
        from driftprint_server.remote_write.replica import Replica
        from driftprint_server.server import Server
    except ModuleNotFoundError as error:
        raise MissingExtraError(f"driftprint server needs the package {error.name}", extra="server") from None

    configure_logging(log_level)
    settings = read_settings(config)
    clock = SystemClock()
    daemon = Server(settings, clock=clock) if settings.mqtt.share is None else Replica(settings, clock=clock)
    if check:
        daemon.close()
        print(f"{config or 'defaults'}: fine, store {settings.store.path}, broker {settings.broker}")
        return
    if isinstance(daemon, Server) and (password := daemon.first_password()) is not None:
        print(f"Log in as {FIRST_USER} with the password {password}", file=sys.stderr)
        print("It is shown this once. Another one: driftprint users password admin", file=sys.stderr, flush=True)
    # Of what comes and goes with each message hardly anything can be a cycle, so it need not be looked for that often;
    # and what is there by now stays.
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    daemon.run(stop)
