"""``python -m bench.fleet``."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Annotated

import typer
from pydantic import BaseModel
from rich.console import Console

from bench.faults.kills import Broker, free_port
from bench.quoting import quote

FLEETS = (1_000, 10_000, 100_000)
PAGE = 4096


class Row(BaseModel):
    """One size of fleet."""

    devices: int
    sent: int
    acknowledged: int
    per_second: float
    resident_bytes: int
    """Of the server, at the end."""
    scrape_seconds: float
    """Of ``/metrics`` with every device in it."""
    scrape_bytes: int


class Results(BaseModel):
    """All sizes."""

    rows: list[Row]


def measure(devices: int, seconds: float, folder: Path) -> Row:
    """A server, a real broker and so many devices on this machine.

    Args:
        devices: how many.
        seconds: how long they speak.
        folder: for everything.
    """
    # As in deploy/mosquitto: by default a broker drops what is beyond 1,000 messages.
    broker = Broker(folder, free_port(), ("max_queued_messages 100000", "max_queued_bytes 268435456"))
    port = free_port()
    broker.start()
    config = folder / "server.toml"
    config.write_text(
        f"[mqtt]\nport = {broker.port}\n[http]\nport = {port}\n[store]\npath = '{folder}/server.db'\n"
        f"[fleet]\nmax_devices = {2 * devices}\nstale_after_seconds = 3600\n"
    )
    command = [sys.executable, "-m", "driftprint", "server", "--config", str(config)]
    server = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    try:
        _wait_for_health(port)
        told = subprocess.run(
            [sys.executable, "-m", "bench.fleet.publisher", str(broker.port), str(devices), str(seconds)],
            capture_output=True,
            text=True,
            check=True,
        )
        said = json.loads(told.stdout)
        begin = time.perf_counter()
        exposed = _get(port, "/metrics", 120)
        scraped = time.perf_counter() - begin
        resident = int(Path(f"/proc/{server.pid}/statm").read_text().split()[1]) * PAGE
    finally:
        server.terminate()
        server.wait(30)
        broker.kill()
    return Row(
        devices=devices,
        sent=said["sent"],
        acknowledged=said["acknowledged"],
        per_second=round(said["acknowledged"] / said["seconds"]),
        resident_bytes=resident,
        scrape_seconds=round(scraped, 1),
        scrape_bytes=len(exposed),
    )


def table(results: Results) -> str:
    """As Markdown."""
    lines = ["| devices | windows sent | stored and acknowledged | a second | server, MB resident | /metrics takes |"]
    lines.append("|---|---|---|---|---|---|")
    lines += [
        f"| {row.devices:,} | {row.sent:,} | {row.acknowledged:,} | **{row.per_second:,.0f}** "
        f"| {row.resident_bytes / 1e6:,.0f} | {row.scrape_seconds:.1f} s, {row.scrape_bytes / 1e6:.0f} MB |"
        for row in results.rows
    ]
    return "\n".join(lines) + "\n"


def _wait_for_health(port: int) -> None:
    end = time.monotonic() + 60
    while time.monotonic() < end:
        try:
            _get(port, "/healthz", 5)
        except OSError:  # not yet listening, or not yet healthy
            time.sleep(0.1)
        else:
            return
    raise TimeoutError("the server does not get healthy")


def _get(port: int, path: str, seconds: float) -> bytes:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=seconds) as answer:
        body: bytes = answer.read()
    return body


def main(
    out: Annotated[Path, typer.Option(help="The JSON file to write.")] = Path("bench/results/fleet.json"),
    seconds: Annotated[float, typer.Option(help="How long each fleet speaks.", min=1)] = 30.0,
    devices: Annotated[list[int] | None, typer.Option(help="A size of fleet; may be given again.")] = None,
    quoted: Annotated[bool, typer.Option(help="Put the table into docs/performance.md.")] = True,
) -> None:
    """Measure what one server takes in, over a real broker, with all of it on this machine. Some minutes."""
    console = Console(stderr=True)
    rows = []
    for count in devices or FLEETS:
        with console.status(f"{count:,} devices"), tempfile.TemporaryDirectory() as folder:
            rows.append(measure(count, seconds, Path(folder)))
    results = Results(rows=rows)
    out.write_text(results.model_dump_json(indent=1) + "\n")
    if quoted:
        quote(table(results), Path("docs/performance.md"), "fleet")
    print(table(results))


if __name__ == "__main__":
    typer.run(main)
