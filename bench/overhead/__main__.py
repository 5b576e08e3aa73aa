"""``python -m bench.overhead``: measure, write the JSON, and put its tables into the documentation."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import Annotated

import numpy as np
import onnxruntime
import torch
import typer
from rich.console import Console

from bench.overhead import inference, loop
from bench.overhead.nets import NETS
from bench.overhead.report import Machine, Results, summary, tables
from bench.quoting import quote

THREADS = (1, 2)


def main(
    out: Annotated[Path, typer.Option(help="The JSON file to write.")] = Path("bench/results/overhead.json"),
    quoted: Annotated[bool, typer.Option(help="Put the tables into docs/performance.md and the README.")] = True,
    rounds: Annotated[int, typer.Option(help="Rounds a figure; more make it steadier.", min=3)] = 40,
) -> None:
    """Measure what watching costs. Takes about five minutes; let the machine do nothing else meanwhile."""
    console = Console(stderr=True)
    torch.set_num_threads(1)
    costs = []
    with console.status("") as status:
        for net in NETS:
            status.update(f"{net.name}: fingerprint")
            bare, bundle, frame = inference.fingerprint(net, np.random.default_rng(0))
            for threads in THREADS:
                status.update(f"{net.name}: {threads} thread(s)")
                costs.append(inference.measure(net.name, bare, bundle, frame, threads=threads, rounds=rounds))
        status.update("the agent's loop")
        results = Results(machine=_machine(), inference=costs, loop=loop.measure(rounds))
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(results.model_dump_json(indent=1) + "\n")
    if quoted:
        quote(tables(results), Path("docs/performance.md"), "overhead")
        quote(summary(results), Path("README.md"), "overhead")
    print(tables(results))


def _machine() -> Machine:
    return Machine(
        processor=_processor(),
        cores=os.cpu_count() or 0,
        python=platform.python_version(),
        onnxruntime=onnxruntime.__version__,
    )


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{platform.machine()}, {names[0]}" if names else platform.machine()


if __name__ == "__main__":
    typer.run(main)
