"""``python -m bench.footprint``."""

from __future__ import annotations

import re
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from numpy.typing import NDArray
from pydantic import BaseModel
from rich.console import Console

from bench.footprint.processes import agent, bare
from bench.overhead.inference import fingerprint
from bench.overhead.nets import NETS, Net
from bench.programs import free_port
from bench.quoting import quote
from driftprint.bundle import write_bundle
from driftprint.digits import Part, load_digits

WARM_FRAMES = 300
STARTS = 5
CHOSEN = ("residual net 8, 32x32", "residual net 10, 64x64", "residual net 18, 64x64")


class Start(BaseModel):
    """One model, bare and watched by an agent."""

    model: str
    megabytes: float
    """Of the model's file."""
    bare_seconds: float
    """From the start of the process to the first frame; medians, as the next."""
    agent_seconds: float
    bare_resident_bytes: int
    agent_resident_bytes: int


class Sample(BaseModel):
    """An agent that goes on."""

    frames: int
    resident_bytes: int


class Footprint(BaseModel):
    """All of it."""

    starts: list[Start]
    long_run: list[Sample]


def measure_start(net: Net, folder: Path) -> Start:
    """Start both in turns."""
    model, bundle, _ = fingerprint(net, np.random.default_rng(0))
    (folder / "bare.onnx").write_bytes(model)
    write_bundle(folder / "bench-1.driftprint", bundle.manifest, bundle.model, bundle.golden)
    frames = np.random.default_rng(1).integers(0, 256, (WARM_FRAMES, net.size, net.size, 3), dtype=np.uint8)
    port = free_port()
    config = _configure(folder, str(folder / "bench-1.driftprint"), frames, port, frames_per_second=200)
    bares, agents, resident = [], [], []
    for _ in range(STARTS):
        bares.append(bare(folder / "bare.onnx", WARM_FRAMES))
        with agent(config) as running:
            agents.append(running.ready_seconds)
            while _frames_total(port) < WARM_FRAMES * len(agents):
                time.sleep(0.1)
            resident.append(running.resident_bytes)
    return Start(
        model=net.name,
        megabytes=round(len(model) / 1e6, 1),
        bare_seconds=round(float(np.median([seconds for seconds, _ in bares])), 2),
        agent_seconds=round(float(np.median(agents)), 2),
        bare_resident_bytes=int(np.median([size for _, size in bares])),
        agent_resident_bytes=int(np.median(resident)),
    )


def measure_long_run(frames: int, samples: int, folder: Path) -> list[Sample]:
    """What an agent has in RAM as it goes on, a tenth of the frames outliers, with no broker to send anything to."""
    digits = load_digits(Part.DEMO).frames[:450]
    odd = np.random.default_rng(0).integers(0, 256, (50, *digits.shape[1:]), dtype=np.uint8)
    port = free_port()
    config = _configure(folder, "digits", np.concatenate([digits, odd]), port, frames_per_second=100_000)
    seen: list[Sample] = []
    with agent(config) as running:
        for share in np.geomspace(0.01, 1, samples):
            while (total := _frames_total(port)) < share * frames:
                time.sleep(0.2)
            seen.append(Sample(frames=int(total), resident_bytes=running.resident_bytes))
    return seen


def table(footprint: Footprint) -> str:
    """As Markdown."""
    lines = ["| model | MB | bare: first frame after | agent: ready after | bare: MB resident | agent: MB more |"]
    lines.append("|---|---|---|---|---|---|")
    lines += [
        f"| {one.model} | {one.megabytes} | {one.bare_seconds:.2f} s | **{one.agent_seconds:.2f} s** "
        f"| {one.bare_resident_bytes / 1e6:.0f} "
        f"| **{(one.agent_resident_bytes - one.bare_resident_bytes) / 1e6:.0f}** |"
        for one in footprint.starts
    ]
    lines += ["", "| frames | MB resident |", "|---|---|"]
    lines += [f"| {sample.frames:,} | {sample.resident_bytes / 1e6:.1f} |" for sample in footprint.long_run]
    return "\n".join(lines) + "\n"


def _configure(folder: Path, bundle: str, frames: NDArray[np.uint8], port: int, *, frames_per_second: float) -> Path:
    np.savez(folder / "frames.npz", x=frames)
    config = folder / "agent.toml"
    config.write_text(
        "device = 'bench'\n[mqtt]\nport = 1\n"
        f"[store]\npath = '{folder}/agent.db'\nmax_messages = 1000\n[evidence]\nframes = 8\nmax_megabytes = 1\n"
        f"[metrics]\nport = {port}\n"
        f"[[stream]]\nname = 'camera'\nbundle = '{bundle}'\nreport_seconds = 1\n"
        f"[stream.source]\npath = '{folder}/frames.npz'\nframes_per_second = {frames_per_second}\n"
        # At full speed ten seconds hold as many frames as the usual five minutes of a camera do.
        "[stream.decision]\nwindow_seconds = 10\n"
    )
    return config


def _frames_total(port: int) -> float:
    """By the agent's own /metrics."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        text = answer.read().decode()
    found = re.search(r"^driftprint_frames_total\{.*\} (\S+)$", text, re.MULTILINE)
    return float(found[1]) if found else 0.0


def main(
    out: Annotated[Path, typer.Option(help="The JSON file to write.")] = Path("bench/results/footprint.json"),
    frames: Annotated[int, typer.Option(help="Of the long run.", min=10_000)] = 1_000_000,
    quoted: Annotated[bool, typer.Option(help="Put the table into docs/performance.md.")] = True,
) -> None:
    """Measure memory and time to start. About ten minutes, of which the long run takes most."""
    console = Console(stderr=True)
    starts = []
    for net in NETS:
        if net.name in CHOSEN:
            with console.status(net.name), tempfile.TemporaryDirectory() as folder:
                starts.append(measure_start(net, Path(folder)))
    with console.status(f"{frames:,} frames"), tempfile.TemporaryDirectory() as folder:
        long_run = measure_long_run(frames, 7, Path(folder))
    footprint = Footprint(starts=starts, long_run=long_run)
    out.write_text(footprint.model_dump_json(indent=1) + "\n")
    if quoted:
        quote(table(footprint), Path("docs/performance.md"), "footprint")
    print(table(footprint))


if __name__ == "__main__":
    typer.run(main)
