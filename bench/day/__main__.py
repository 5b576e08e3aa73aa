"""``python -m bench.day``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.console import Console

from bench.day.model import make_bundle
from bench.day.replay import calibrate, plan, replay
from bench.day.report import report, table
from bench.day.scenes import DAY_SECONDS
from bench.quoting import quote
from driftprint.logs import configure_logging

SEED = 20


def main(
    out: Annotated[Path, typer.Option(help="The JSON file to write.")] = Path("bench/results/day.json"),
    seconds: Annotated[int, typer.Option(help="Frames, one a second.", min=3600)] = DAY_SECONDS,
    each: Annotated[int, typer.Option(help="Seconds that every fault lasts.", min=60)] = 300,
    times: Annotated[int, typer.Option(help="How often every fault comes.", min=1)] = 5,
    quoted: Annotated[bool, typer.Option(help="Put the table into docs/agent.md.")] = True,
) -> None:
    """Replay a day of a camera that fails, through a bundle made for it. Takes some minutes."""
    configure_logging("error")
    console = Console(stderr=True)
    with console.status("training and fingerprinting the model"):
        bundle = make_bundle(SEED)
    episodes = plan(seconds, each, times, np.random.default_rng(SEED))
    with console.status("calibrating on the day before"):
        site = calibrate(bundle, SEED + 100, each=10)
    with console.status(f"replaying {seconds:,} frames"):
        alerts = replay(bundle, site, episodes, seconds, SEED)
    day = report(episodes, alerts, seconds)
    out.write_text(day.model_dump_json(indent=1) + "\n")
    if quoted:
        quote(table(day), Path("docs/agent.md"), "day")
    print(table(day))


if __name__ == "__main__":
    typer.run(main)
