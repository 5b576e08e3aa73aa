"""The machine's clock, heat, power and memory."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

from driftprint.messages import Vitals
from driftprint_edge.commands import Run
from driftprint_edge.doctor.finding import Finding, fine, problem, warning

PLAUSIBLE_YEARS = range(2026, 2100)
HOT_CELSIUS = 80.0
"""From here on a Raspberry Pi slows down, and most others soon do."""
SCARCE_BYTES, TOO_FEW_BYTES = 256 * 2**20, 64 * 2**20
"""Of memory. With a small model the agent takes about 100 MiB."""

_NO_WORD = "this machine does not tell"
_COMMAND_SECONDS = 5.0
_COOL = "cool it: a heat sink, a fan, air around the housing"
_FEED = "use the supply made for this board and a short, thick cable; move USB devices to a powered hub"


def check_clock(wall: float, root: Path, run: Run) -> Finding:
    """Whether the clock is right: messages are dated by it, and certificates judged.

    Args:
        wall: what it says, Unix time in seconds.
        root: of the file system that ``run`` is in.
        run: runs ``timedatectl``.
    """
    says = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(wall))
    if time.gmtime(wall).tm_year not in PLAUSIBLE_YEARS:
        return problem("clock", f"it says {says}", "set it: timedatectl set-ntp true, with an NTP server within reach")
    synchronised = _is_synchronised(root, run)
    if synchronised is None:
        return fine("clock", f"{says}; {_NO_WORD} whether an NTP server sets it")
    if not synchronised:
        return warning(
            "clock",
            f"{says}, set by no NTP server",
            "timedatectl set-ntp true, or chrony; off the internet name a server of your own network",
        )
    return fine("clock", f"{says}, set by an NTP server")


def check_vitals(vitals: Vitals) -> Iterator[Finding]:
    """Heat, power and memory.

    Args:
        vitals: a reading.
    """
    yield _temperature(vitals)
    yield _slowed(vitals)
    yield _power(vitals)
    yield _memory(vitals)


def _is_synchronised(root: Path, run: Run) -> bool | None:
    told = run(("timedatectl", "show", "-p", "NTPSynchronized", "--value"), _COMMAND_SECONDS)
    if told is not None and told.output.strip() in ("yes", "no"):
        return told.output.strip() == "yes"
    # Of systemd's own client, which makes the folder when it starts.
    folder = root / "run/systemd/timesync"
    return (folder / "synchronized").exists() if folder.exists() else None


def _temperature(vitals: Vitals) -> Finding:
    celsius = vitals.temperature_celsius
    if celsius is None:
        return fine("temperature", _NO_WORD)
    what = f"{celsius:.0f} degrees Celsius"
    return warning("temperature", what, _COOL) if celsius >= HOT_CELSIUS else fine("temperature", what)


def _slowed(vitals: Vitals) -> Finding:
    fix = _FEED if vitals.under_voltage_since_boot else _COOL
    if vitals.throttled:
        return warning("speed", "the processor is slowed down now", fix)
    if vitals.throttled_since_boot:
        return warning("speed", "the processor has been slowed down since the machine started", fix)
    return fine("speed", _NO_WORD if vitals.throttled_since_boot is None else "never slowed down since the start")


def _power(vitals: Vitals) -> Finding:
    if vitals.under_voltage:
        return problem("power", "the supply is too weak: the board may stop, or damage its card, at any moment", _FEED)
    if vitals.under_voltage_since_boot:
        return warning("power", "the supply has been too weak since the machine started", _FEED)
    return fine("power", _NO_WORD if vitals.under_voltage is None else "never too weak since the start")


def _memory(vitals: Vitals) -> Finding:
    available, size = vitals.memory_available_bytes, vitals.memory_bytes
    if available is None or size is None:
        return fine("memory", _NO_WORD)
    what = f"{available / 2**20:.0f} of {size / 2**20:.0f} MiB are available"
    fix = "end programs that are not needed, such as the desktop, or use a machine with more memory"
    if available < TOO_FEW_BYTES:
        return problem("memory", what, fix)
    return warning("memory", what, fix) if available < SCARCE_BYTES else fine("memory", what)
