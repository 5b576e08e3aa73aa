"""How the device itself is: load, memory, heat, power and disk, from the files that Linux keeps of them.

Whatever a machine does not tell, or tells in an unknown way, is None; nothing here raises.
"""

from __future__ import annotations

import mmap
import shutil
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from driftprint.messages import Vitals
from driftprint_edge.commands import Run, run_command

PLAUSIBLE_CELSIUS = (-60.0, 200.0)
"""Drivers of sensors that are switched off report the absolute zero, or worse."""

COMMAND_SECONDS = 2.0
_MOST_DIGITS = 14

# Bits of a Raspberry Pi's get_throttled; the same ones 16 higher say that it has happened since the start.
# https://www.raspberrypi.com/documentation/computers/os.html#get_throttled
_UNDER_VOLTAGE = 0b0001
_SLOWED = 0b1110
"""The frequency is capped, the processor is throttled, the soft temperature limit is reached."""


class VitalsReader:
    """Takes readings, each of the time since the one before. For one thread.

    Args:
        disk: a file or folder on the file system of interest; it need not exist yet.
        root: of the file system that ``proc`` and ``sys`` are in.
        run: runs ``vcgencmd``.
    """

    def __init__(self, disk: Path, *, root: Path = Path("/"), run: Run = run_command) -> None:
        self._disk = disk
        self._root = root
        self._run = run
        self._ticks = _Ticks()
        self._throttle_count: int | None = None

    def read(self) -> Vitals:
        """The vitals as they are now. The first reading has no shares of time yet."""
        before, self._ticks = self._ticks, _read_ticks(self._root)
        memory = _read_meminfo(self._root)
        power = self._read_power()
        disk_bytes, disk_free_bytes = _read_disk(self._disk)
        return Vitals(
            cpu_ratio=_share(before.busy, self._ticks.busy, before.all, self._ticks.all),
            process_cpu_ratio=_share(before.process, self._ticks.process, before.all, self._ticks.all),
            process_memory_bytes=_read_resident(self._root),
            memory_bytes=memory.get("MemTotal"),
            memory_available_bytes=memory.get("MemAvailable"),
            temperature_celsius=max(_read_temperatures(self._root), default=None),
            throttled=power.throttled,
            throttled_since_boot=power.throttled_since_boot,
            under_voltage=power.under_voltage,
            under_voltage_since_boot=power.under_voltage_since_boot,
            disk_bytes=disk_bytes,
            disk_free_bytes=disk_free_bytes,
        )

    def _read_power(self) -> _Power:
        bits = _read_pi_bits(self._root, self._run)
        if bits is not None:
            since_boot = bits | bits >> 16
            return _Power(
                throttled=bool(bits & _SLOWED),
                throttled_since_boot=bool(since_boot & _SLOWED),
                under_voltage=bool(bits & _UNDER_VOLTAGE),
                under_voltage_since_boot=bool(since_boot & _UNDER_VOLTAGE),
            )
        before, self._throttle_count = self._throttle_count, _read_throttle_count(self._root)
        if self._throttle_count is None:
            return _Power()
        return _Power(
            throttled=None if before is None else self._throttle_count > before,
            throttled_since_boot=self._throttle_count > 0,
        )


def nearest_existing(path: Path) -> Path:
    """The path itself, or the folder above it that it would be made in.

    Raises:
        OSError: where that cannot be told.
    """
    path = path.absolute()
    return next(candidate for candidate in (path, *path.parents) if candidate.exists())


@dataclass(frozen=True, slots=True)
class _Ticks:
    """Processor time so far, in the kernel's ticks."""

    all: int | None = None
    busy: int | None = None
    process: int | None = None


@dataclass(frozen=True, slots=True)
class _Power:
    """See `Vitals`."""

    throttled: bool | None = None
    throttled_since_boot: bool | None = None
    under_voltage: bool | None = None
    under_voltage_since_boot: bool | None = None


def _share(part_before: int | None, part: int | None, whole_before: int | None, whole: int | None) -> float | None:
    if part_before is None or part is None or whole_before is None or whole is None or whole <= whole_before:
        return None
    # The kernel's counters of idle time are known to run backwards now and then.
    return min(1.0, max(0.0, (part - part_before) / (whole - whole_before)))


def _read_ticks(root: Path) -> _Ticks:
    try:
        # cpu user nice system idle iowait irq softirq steal; what follows is counted under user and nice too.
        spent = [_count(word) for word in _read(root / "proc/stat").split("\n", 1)[0].split()[1:9]]
        whole, busy = sum(spent), sum(spent) - spent[3] - spent[4]
    except (ValueError, IndexError):
        return _Ticks()
    try:
        # The second field is the program's name in parentheses, which may hold anything.
        fields = _read(root / "proc/self/stat").rpartition(")")[2].split()
        return _Ticks(whole, busy, process=_count(fields[11]) + _count(fields[12]))
    except (ValueError, IndexError):
        return _Ticks(whole, busy)


def _read_resident(root: Path) -> int | None:
    try:
        return _count(_read(root / "proc/self/statm").split()[1]) * mmap.PAGESIZE
    except (ValueError, IndexError):
        return None


def _read_meminfo(root: Path) -> dict[str, int]:
    """In bytes, by the kernel's names."""
    sizes = {}
    for line in _read(root / "proc/meminfo").splitlines():
        name, _, size = line.partition(":")
        number, _, unit = size.strip().partition(" ")
        if unit == "kB":
            with suppress(ValueError):
                sizes[name] = _count(number) * 1024
    return sizes


def _read_temperatures(root: Path) -> Iterator[float]:
    for zone in root.glob("sys/class/thermal/thermal_zone*"):
        if _read(zone / "type").startswith("PMIC"):
            continue  # a Jetson's power chip, which always has 50 or 100 degrees
        try:
            celsius = float(_read(zone / "temp")) / 1000
        except ValueError:
            continue
        if PLAUSIBLE_CELSIUS[0] < celsius < PLAUSIBLE_CELSIUS[1]:
            yield celsius


def _read_pi_bits(root: Path, run: Run) -> int | None:
    for path in root.glob("sys/devices/platform/soc*/soc*firmware/get_throttled"):
        return _hexadecimal(_read(path))
    told = run(("vcgencmd", "get_throttled"), COMMAND_SECONDS)
    return None if told is None or told.code else _hexadecimal(told.output.partition("throttled=")[2])


def _hexadecimal(text: str) -> int | None:
    try:
        bits = int(text, 16)
    except ValueError:
        return None
    return bits if 0 <= bits < 2**32 else None


def _read_throttle_count(root: Path) -> int | None:
    """How often the processor's cores and packages have been slowed down; Intel's tell."""
    texts = [_read(path) for path in root.glob("sys/devices/system/cpu/cpu*/thermal_throttle/*_throttle_count")]
    try:
        return sum(map(_count, texts)) if texts else None
    except ValueError:
        return None


def _read_disk(path: Path) -> tuple[int | None, int | None]:
    try:
        usage = shutil.disk_usage(nearest_existing(path))
    except OSError:
        return None, None
    return usage.total, usage.free


def _count(text: str) -> int:
    """A whole number from nought on.

    Raises:
        ValueError: where it is none, or none that a machine would count to.
    """
    if not text.strip().isdecimal() or len(text) > _MOST_DIGITS:
        raise ValueError("not a count")
    return int(text)


def _read(path: Path) -> str:
    """A file's text; empty where it cannot be read."""
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""
