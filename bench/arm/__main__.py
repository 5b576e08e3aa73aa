"""``python -m bench.arm``: make the root, install, run, compare, and put the result into docs/arm.md."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from bench.arm import places, wheels
from bench.arm.frames import FRAMES
from bench.arm.processors import PROCESSORS
from bench.arm.programs import QEMU, find_programs
from bench.arm.report import Emulated, Results, shortcomings, tables
from bench.arm.root import LISTING, SITE_PACKAGES, find_archive, make_root, python_of, set_processor
from bench.arm.run import BUNDLE, run
from bench.arm.scores import compare
from bench.quoting import quote
from driftprint.bundle import read_bundle
from driftprint.errors import ConfigError, DriftprintError
from driftprint.installed import find_bundle
from driftprint.mqtt import MqttSettings
from tests.brokers import Mosquitto

CHECKOUT = Path(__file__).parents[2]


def main(
    work: Annotated[Path, typer.Option(help="The folder of the root and of all that is run.")] = Path("build/arm"),
    out: Annotated[Path, typer.Option(help="The JSON file to write.")] = Path("bench/results/arm.json"),
    quoted: Annotated[bool, typer.Option(help="Put the table into docs/arm.md.")] = True,
) -> None:
    """Prove that the base install runs on 64-bit ARM. Takes some minutes; a root that is there is taken as it is."""
    if os.geteuid():
        raise ConfigError("debootstrap and chroot need root", where="make arm", fix="run it as root")
    programs = find_programs(os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin")))
    work.mkdir(parents=True, exist_ok=True)
    results = prove(work, programs, Console(stderr=True))
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(results.model_dump_json(indent=1) + "\n")
    if quoted:
        quote(tables(results), Path("docs/arm.md"), "arm")
    print(tables(results))
    if found := list(shortcomings(results)):
        raise SystemExit("\n".join(found))


def prove(work: Path, programs: Mapping[str, str], console: Console) -> Results:
    """Make, install, run and compare.

    Args:
        work: the folder for all of it.
        programs: as `find_programs` gives them.
        console: shows what is being done.
    """
    log = work / "log.txt"
    log.write_bytes(b"")
    with console.status("the root") as status:
        archive = find_archive(subprocess.run(LISTING, capture_output=True, text=True, check=True).stdout)
        root = make_root(work, archive, programs, log)
        python = python_of(root)
        if python != f"{sys.version_info.major}.{sys.version_info.minor}":
            # pip reads the lock's conditions for the Python that it runs on.
            raise ConfigError(f"Debian {archive.codename} has Python {python}", where=".venv", fix="make it with that")
        status.update("the wheels")
        files = wheels.gather(CHECKOUT, work / "wheels", python, log)
        wheels.install(files, root / SITE_PACKAGES, python, log)
        with _broker(programs["mosquitto"], work / "mosquitto") as broker:
            status.update("here")
            this = places.here(work / "here")
            scores, agent = run(this, broker, log)
            emulated = []
            for processor in PROCESSORS:
                status.update(processor.name)
                set_processor(root, processor)
                place = places.emulated(root, processor, programs["chroot"])
                architecture, version = place.machine()
                scores_there, agent_there = run(place, broker, log)
                emulated.append(
                    Emulated(
                        processor=processor.name,
                        board=processor.board,
                        architecture=architecture,
                        python=version,
                        scores=compare(scores_there, scores),
                        agent=agent_there,
                    )
                )
    bundle = read_bundle(find_bundle(BUNDLE))
    return Results(
        debian=archive.codename,
        qemu=_version(programs[QEMU]),
        wheels=wheels.describe(files, root / SITE_PACKAGES),
        bundle=bundle.manifest.id,
        golden_frames=len(bundle.golden.frames),
        tolerance=bundle.manifest.tolerance.score,
        frames=FRAMES,
        here=this.machine()[0],
        agent_here=agent,
        emulated=emulated,
    )


@contextmanager
def _broker(mosquitto: str, folder: Path) -> Iterator[MqttSettings]:
    broker = Mosquitto(mosquitto, folder, persistence=False)
    broker.start()
    try:
        yield MqttSettings(host=broker.host, port=broker.port)
    finally:
        broker.stop()


def _version(qemu: str) -> str:
    said = subprocess.run((qemu, "--version"), capture_output=True, text=True, check=True).stdout
    match = re.search(r"version ([\d.]+)", said)
    return match[1] if match else said.strip()


if __name__ == "__main__":
    try:
        typer.run(main)
    except DriftprintError as error:
        print(f"make arm: {error}", file=sys.stderr)
        raise SystemExit(2) from None
