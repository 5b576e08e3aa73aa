"""``python -m bench.fleet``."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated

import typer
from pydantic import BaseModel
from rich.console import Console

from bench.programs import Broker, Server, free_port
from bench.quoting import quote
from bench.windows import window_bytes

FLEETS = (1_000, 10_000, 100_000)


class Row(BaseModel):
    """One fleet."""

    devices: int
    history: bool
    """Whether the server kept one."""
    every_seconds: float
    """How often each device spoke; 0 for as often as the server would hear them."""
    seconds: float
    """How long they spoke."""
    sent: int
    acknowledged: int
    per_second: float
    cpu_microseconds: float
    """Of the server, for each message."""
    resident_bytes: int
    """Of the server, at most."""
    scrape_seconds: float
    """Of ``/metrics`` with every device in it, while they spoke."""
    scrape_bytes: int
    longest_silence_seconds: float
    """Between two acknowledgements."""


class Results(BaseModel):
    """All fleets."""

    window_bytes: int
    """Of a window as it is sent."""
    rows: list[Row]


def measure(devices: int, seconds: float, every: float, folder: Path, *, history: bool) -> Row:
    """A server, a real broker and so many devices on this machine.

    Args:
        devices: how many.
        seconds: how long they speak.
        every: how often each of them does; 0 for as often as the server hears them.
        folder: for everything.
        history: whether the server keeps one.
    """
    # As in deploy/mosquitto: by default a broker drops what is beyond 1,000 messages, and has 20 on their way.
    broker = Broker(
        folder,
        free_port(),
        ("max_queued_messages 100000", "max_queued_bytes 268435456", "max_inflight_messages 1000"),
    )
    broker.start()
    server = Server(
        folder,
        broker.port,
        tables=f"[fleet]\nmax_devices = {2 * devices}\nstale_after_seconds = 3600\n"
        f"[caps]\nstrangers_per_second = 100000\nmessages_per_second = 10000\nseries = {100 * devices}\n"
        f"[history]\nenabled = {str(history).lower()}\n",
    )
    try:
        server.start_healthy()
        cpu_before = server.cpu_seconds()
        publisher = subprocess.Popen(
            [sys.executable, "-m", "bench.fleet.publisher", *map(str, (broker.port, devices, seconds, every))],
            stdout=subprocess.PIPE,
            text=True,
        )
        time.sleep(0.7 * seconds)
        begin = time.perf_counter()
        exposed = server.get("/metrics", 120)
        scraped = time.perf_counter() - begin
        told, _ = publisher.communicate()
        said = json.loads(told)
        cpu = server.cpu_seconds() - cpu_before
        resident = server.most_resident_bytes()
    finally:
        server.stop()
        broker.kill()
    return Row(
        devices=devices,
        history=history,
        every_seconds=every,
        seconds=seconds,
        sent=said["sent"],
        acknowledged=said["acknowledged"],
        per_second=round(said["acknowledged"] / said["seconds"]),
        cpu_microseconds=round(1e6 * cpu / said["acknowledged"]),
        resident_bytes=resident,
        scrape_seconds=round(scraped, 1),
        scrape_bytes=len(exposed),
        longest_silence_seconds=round(said["longest_silence"], 1),
    )


def table(results: Results) -> str:
    """As Markdown."""
    head = (
        *("devices", "history", "each speaks", "windows sent", "stored and acknowledged", "a second"),
        *("server, µs of CPU each", "server, MB resident", "/metrics meanwhile takes", "longest without an answer"),
    )
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for row in results.rows:
        cells = (
            f"{row.devices:,}",
            "yes" if row.history else "no",
            f"every {row.every_seconds:g} s" if row.every_seconds else "as it can",
            f"{row.sent:,}",
            f"{row.acknowledged:,}",
            f"**{row.per_second:,.0f}**",
            f"{row.cpu_microseconds:.0f}",
            f"{row.resident_bytes / 1e6:,.0f}",
            f"{row.scrape_seconds:.1f} s, {row.scrape_bytes / 1e6:.0f} MB",
            f"{row.longest_silence_seconds:.1f} s",
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def main(
    out: Annotated[Path, typer.Option(help="The JSON file to write.")] = Path("bench/results/fleet.json"),
    seconds: Annotated[float, typer.Option(help="How long each fleet speaks as fast as it can.", min=1)] = 30.0,
    devices: Annotated[list[int] | None, typer.Option(help="A size of fleet; may be given again.")] = None,
    every: Annotated[float, typer.Option(help="Then the largest fleet again, each device every so many seconds.")] = 10,
    minutes: Annotated[float, typer.Option(help="For so long; 0 for not at all.", min=0)] = 10.0,
    quoted: Annotated[bool, typer.Option(help="Put the table into docs/performance.md.")] = True,
) -> None:
    """Measure what one server takes in, over a real broker, with all of it on this machine. A quarter of an hour."""
    console = Console(stderr=True)
    counts = devices or FLEETS
    fleets = [(count, seconds, 0.0, history) for history in (False, True) for count in counts]
    if minutes:
        fleets.append((max(counts), 60 * minutes, every, False))
    rows = []
    for count, length, pace, history in fleets:
        with console.status(f"{count:,} devices"), tempfile.TemporaryDirectory() as folder:
            rows.append(measure(count, length, pace, Path(folder), history=history))
    results = Results(window_bytes=window_bytes(), rows=rows)
    out.write_text(results.model_dump_json(indent=1) + "\n")
    if quoted:
        quote(table(results), Path("docs/performance.md"), "fleet")
    print(f"A window is {results.window_bytes:,} bytes.\n\n{table(results)}")


if __name__ == "__main__":
    typer.run(main)
