"""``python -m bench.remote_write``."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
import urllib.parse
import urllib.request
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Annotated

import typer
from rich.console import Console

from bench.programs import Broker, free_port
from bench.quoting import quote
from bench.remote_write.programs import replica, running
from bench.remote_write.results import FAKE, FEW, MANY, REAL, WHOLE, Results, Row, table
from bench.remote_write.sizing import sizing
from bench.windows import window_bytes

CASES = ((1, FEW), (2, FEW), (1, MANY))
"""Replicas, and devices."""
ROUNDS = 3


@dataclass(frozen=True, slots=True)
class Round:
    """What was written in a while.

    Attributes:
        samples: by all replicas.
        bytes: of them, on their way to the target.
        per_second: samples, likewise.
        busy_seconds: for how long cores worked for replicas.
    """

    samples: float
    bytes: float
    per_second: float
    busy_seconds: float


def summary(what: str, replicas: int, devices: int, rounds: Sequence[Round]) -> Row:
    """The row of some rounds: the one in the middle, lest another program's work be taken for a replica's."""
    return Row(
        what=what,
        replicas=replicas,
        devices=devices,
        samples=round(sum(one.samples for one in rounds)),
        per_second=round(median(one.per_second for one in rounds)),
        cpu_seconds_per_million=round(median(1e6 * one.busy_seconds / one.samples for one in rounds), 2),
        bytes_per_sample=round(median(one.bytes / one.samples for one in rounds), 1),
    )


def measure(what: str, url: str, replicas: int, devices: int, seconds: float) -> tuple[Row, int]:
    """So many replicas that write windows to one target at the same time.

    Args:
        what: what is measured.
        url: where it takes remote write.
        replicas: how many.
        devices: of each.
        seconds: how long a round takes.

    Returns:
        the row, and how many samples were written in all.
    """
    command = [sys.executable, "-m", "bench.remote_write.writer", url]
    with ExitStack() as stack:
        writers = [
            stack.enter_context(
                subprocess.Popen(
                    [*command, f"{replicas}-{number}", str(devices), str(ROUNDS), str(seconds)],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    text=True,
                )
            )
            for number in range(replicas)
        ]
        total = 0
        for writer in writers:
            assert writer.stdout is not None
            total += json.loads(writer.stdout.readline())["ready"]
        for writer in writers:
            assert writer.stdin is not None
            writer.stdin.write("\n")
            writer.stdin.flush()
        said = [json.loads(writer.communicate(timeout=ROUNDS * seconds + 60)[0]) for writer in writers]
    rounds = [
        Round(
            samples=sum(one["samples"] for one in together),
            bytes=sum(one["bytes"] for one in together),
            per_second=sum(one["samples"] / one["seconds"] for one in together),
            busy_seconds=sum(one["busy_seconds"] for one in together),
        )
        for together in zip(*said, strict=True)
    ]
    row = summary(what, replicas, devices, rounds)
    return row, total + row.samples


def measure_whole(url: str, replicas: int, devices: int, seconds: float, folder: Path) -> Row:
    """So many whole replicas, which hear devices over a broker.

    Args:
        url: where the target takes remote write.
        replicas: how many.
        devices: of all together, each of which every replica hears sooner or later.
        seconds: how long the devices speak in a round, and once each at least.
        folder: for everything.
    """
    # As in deploy/mosquitto: by default a broker drops what is beyond 1,000 messages.
    broker = Broker(folder, free_port(), ("max_queued_messages 100000", "max_queued_bytes 268435456"))
    broker.start()
    with ExitStack() as stack:
        stack.callback(broker.kill)
        started = [
            stack.enter_context(replica(folder / str(number), broker.port, url, devices)) for number in range(replicas)
        ]
        _speak(broker.port, devices, 2)  # now few series are new to them
        rounds = []
        for _ in range(ROUNDS):
            before = [one.totals() for one in started]
            took = _speak(broker.port, devices, seconds)
            after = [one.totals() for one in started]
            samples, size, busy = (sum(b[i] - a[i] for a, b in zip(before, after, strict=True)) for i in range(3))
            rounds.append(Round(samples=samples, bytes=size, per_second=samples / took, busy_seconds=busy))
        resident = max(one.most_resident_bytes() for one in started)
    return summary(WHOLE, replicas, devices, rounds).model_copy(update={"resident_bytes": resident})


def _speak(port: int, devices: int, seconds: float) -> float:
    """Devices speak for so long; for how long it took until all of it was acknowledged."""
    command = [sys.executable, "-m", "bench.fleet.publisher", str(port), str(devices), str(seconds)]
    told = json.loads(subprocess.run(command, capture_output=True, check=True, timeout=seconds + 180).stdout)
    if told["acknowledged"] < told["sent"]:
        raise RuntimeError(f"of {told['sent']} windows {told['acknowledged']} were acknowledged")
    return float(told["seconds"])


def found(url: str, replicas: int) -> int:
    """How many samples of a run VictoriaMetrics has."""
    urllib.request.urlopen(f"{url}/internal/force_flush").close()
    query = f'sum(count_over_time({{site=~"{replicas}-.*"}}[2h]))'
    with urllib.request.urlopen(f"{url}/api/v1/query?{urllib.parse.urlencode({'query': query})}") as answer:
        (result,) = json.load(answer)["data"]["result"]
    return int(result["value"][1])


def main(
    out: Annotated[Path, typer.Option(help="The JSON file to write.")] = Path("bench/results/remote_write.json"),
    seconds: Annotated[float, typer.Option(help="How long each of the three rounds takes.", min=1)] = 6.0,
    quoted: Annotated[bool, typer.Option(help="Put the tables into docs/scaling.md.")] = True,
) -> None:
    """Measure how many samples replicas write, with all of it on this machine. About four minutes."""
    program = shutil.which("victoria-metrics")
    if program is None:
        raise typer.BadParameter("victoria-metrics is not installed (Debian: apt-get install victoria-metrics)")
    console = Console(stderr=True)
    rows = []
    port = free_port()
    with running([sys.executable, "-m", "bench.remote_write.receiver", str(port)], port) as url:
        with console.status(FAKE):
            rows += [measure(FAKE, f"{url}/api/v1/write", *case, seconds)[0] for case in CASES]
        for case in CASES:
            with console.status(WHOLE), tempfile.TemporaryDirectory() as folder:
                rows.append(measure_whole(f"{url}/api/v1/write", *case, seconds, Path(folder)))
    port = free_port()
    with tempfile.TemporaryDirectory() as folder:
        command = [program, f"-storageDataPath={folder}", f"-httpListenAddr=127.0.0.1:{port}"]
        with running(command, port) as url, console.status(REAL):
            for replicas in (1, 2):
                row, written = measure(REAL, f"{url}/api/v1/write", replicas, FEW, seconds)
                rows.append(row.model_copy(update={"lost": written - found(url, replicas)}))
    results = Results(window_bytes=window_bytes(), rows=rows)
    out.write_text(results.model_dump_json(indent=1) + "\n")
    if quoted:
        quote(table(results), Path("docs/scaling.md"), "remote-write")
        quote(sizing(results), Path("docs/scaling.md"), "million")
    print(f"A window is {results.window_bytes:,} bytes.\n\n{table(results)}\n{sizing(results)}")


if __name__ == "__main__":
    typer.run(main)
