"""What a device says of its own health."""

from __future__ import annotations

import mmap
import os
import shutil
import sys
from pathlib import Path

import pytest

from driftprint.messages import Vitals
from driftprint_edge.commands import run_command
from driftprint_edge.vitals import VitalsReader
from tests.edge_agent.machines import Commands, make_pi, set_ticks, write

NO_COMMANDS = Commands()


def read(root: Path, commands: Commands = NO_COMMANDS) -> Vitals:
    return VitalsReader(root, root=root, run=commands).read()


def told_by(vitals: Vitals) -> set[str]:
    return {name for name, value in vitals.model_dump().items() if value is not None}


@pytest.fixture
def pi(tmp_path: Path) -> Path:
    return make_pi(tmp_path)


def test_a_pi_tells_its_memory_temperature_and_disk(pi: Path) -> None:
    vitals = read(pi)
    assert vitals.memory_bytes == 3884288 * 1024
    assert vitals.memory_available_bytes == 3243076 * 1024
    assert vitals.process_memory_bytes == 24311 * mmap.PAGESIZE
    assert vitals.temperature_celsius == 52.1
    assert vitals.disk_bytes == shutil.disk_usage(pi).total
    assert vitals.disk_free_bytes is not None


def test_load_is_the_share_of_the_time_since_the_reading_before(pi: Path) -> None:
    reader = VitalsReader(pi, root=pi, run=NO_COMMANDS)
    first = reader.read()
    # 200 ticks for programs, 100 for the kernel, 50 idle, 50 waiting for the disk; 100 of them for this process.
    set_ticks(pi, user=1200, idle=8050, process=500)
    second = reader.read()
    third = reader.read()

    assert (first.cpu_ratio, first.process_cpu_ratio) == (None, None)
    assert (second.cpu_ratio, second.process_cpu_ratio) == (0.75, 0.25)
    assert (third.cpu_ratio, third.process_cpu_ratio) == (None, None)


def test_a_share_stays_one_when_the_kernels_idle_time_runs_backwards(pi: Path) -> None:
    reader = VitalsReader(pi, root=pi, run=NO_COMMANDS)
    reader.read()
    set_ticks(pi, user=1200, idle=7990, process=400)
    assert reader.read().cpu_ratio == 1.0


@pytest.mark.parametrize(
    ("bits", "throttled", "throttled_since_boot", "under_voltage", "under_voltage_since_boot"),
    [
        ("0\n", False, False, False, False),
        ("50005\n", True, True, True, True),
        ("50000\n", False, True, False, True),
        ("20002\n", True, True, False, False),
        ("80008\n", True, True, False, False),
        ("1\n", False, False, True, True),
    ],
)
def test_a_pi_tells_whether_its_supply_is_too_weak_and_whether_it_is_slowed_down(
    tmp_path: Path,
    bits: str,
    throttled: bool,
    throttled_since_boot: bool,
    under_voltage: bool,
    under_voltage_since_boot: bool,
) -> None:
    vitals = read(make_pi(tmp_path, throttled=bits))
    assert vitals.throttled is throttled
    assert vitals.throttled_since_boot is throttled_since_boot
    assert vitals.under_voltage is under_voltage
    assert vitals.under_voltage_since_boot is under_voltage_since_boot


def test_where_the_kernel_does_not_tell_the_firmwares_command_is_asked(tmp_path: Path) -> None:
    commands = Commands(vcgencmd=("throttled=0x50005\n", 0))
    vitals = read(make_pi(tmp_path, throttled=None), commands)
    assert (vitals.throttled, vitals.under_voltage) == (True, True)
    assert commands.asked == ["vcgencmd get_throttled"]


def test_where_the_kernel_tells_no_command_is_run(pi: Path) -> None:
    commands = Commands(vcgencmd=("throttled=0x50005\n", 0))
    assert read(pi, commands).under_voltage is False
    assert commands.asked == []


@pytest.mark.parametrize(
    "answer", [("VCHI initialization failed\n", 255), ("throttled=0x50005\n", 1), ("error=2\n", 0)]
)
def test_a_command_that_fails_tells_nothing(tmp_path: Path, answer: tuple[str, int]) -> None:
    vitals = read(make_pi(tmp_path, throttled=None), Commands(vcgencmd=answer))
    assert (vitals.throttled, vitals.under_voltage, vitals.under_voltage_since_boot) == (None, None, None)


def test_a_pc_is_slowed_down_while_its_counters_rise(tmp_path: Path) -> None:
    for core in range(2):
        write(tmp_path, f"sys/devices/system/cpu/cpu{core}/thermal_throttle/core_throttle_count", "0\n")
        write(tmp_path, f"sys/devices/system/cpu/cpu{core}/thermal_throttle/package_throttle_count", "0\n")
    reader = VitalsReader(tmp_path, root=tmp_path, run=NO_COMMANDS)
    start, calm = reader.read(), reader.read()
    write(tmp_path, "sys/devices/system/cpu/cpu1/thermal_throttle/core_throttle_count", "3\n")
    slowed, over = reader.read(), reader.read()

    assert [reading.throttled for reading in (start, calm, slowed, over)] == [None, False, True, False]
    assert [reading.throttled_since_boot for reading in (start, calm, slowed, over)] == [False, False, True, True]
    assert over.under_voltage is None


def test_the_temperature_is_that_of_the_hottest_zone_that_measures(pi: Path) -> None:
    zones = {"1": ("gpu", "61500"), "2": ("off", "-274000"), "3": ("odd", "hot"), "4": ("PMIC-Die", "100000")}
    for number, (kind, text) in zones.items():
        write(pi, f"sys/class/thermal/thermal_zone{number}/type", f"{kind}\n")
        write(pi, f"sys/class/thermal/thermal_zone{number}/temp", f"{text}\n")
    (pi / "sys/class/thermal/thermal_zone5").mkdir()
    assert read(pi).temperature_celsius == 61.5


def test_a_machine_without_any_of_these_files_tells_of_its_disk_alone(tmp_path: Path) -> None:
    assert told_by(read(tmp_path / "nothing")) == {"disk_bytes", "disk_free_bytes"}


NINES = "9" * 5000


@pytest.mark.parametrize(
    "garbage",
    [
        "",
        "\n",
        "cpu\n",
        "cpu a b c d e\n",
        "1 (x\n",
        "\0\xff",
        "-1\n",
        "nan\n",
        "MemTotal: -3 kB\n",
        f"{NINES}\n",
        f"MemTotal: {NINES} kB\n",
        f"cpu {NINES} {NINES} 1 1 1 1 1 1 1\n",
        f"1 (x) S {'9' * 300} 1 1 1 1 1 1 1 1 1 1 1 1 1 1\n",
    ],
    ids=lambda text: repr(text[:20]),
)
def test_garbage_in_any_file_is_nothing_told(pi: Path, garbage: str) -> None:
    for file in pi.rglob("*"):
        if file.is_file():
            file.write_text(garbage, encoding="latin-1")
    reader = VitalsReader(pi, root=pi, run=NO_COMMANDS)
    for vitals in (reader.read(), reader.read()):
        # -1 thousandth of a degree is a temperature.
        assert told_by(vitals) - {"temperature_celsius"} == {"disk_bytes", "disk_free_bytes"}


def test_folders_in_place_of_files_are_nothing_told(pi: Path) -> None:
    for file in [*pi.rglob("*")]:
        if file.is_file():
            file.unlink()
            file.mkdir()
    assert told_by(read(pi)) == {"disk_bytes", "disk_free_bytes"}


def test_the_disk_is_the_one_that_the_store_will_be_made_on(pi: Path) -> None:
    vitals = VitalsReader(pi / "not" / "yet" / "agent.db", root=pi, run=NO_COMMANDS).read()
    assert vitals.disk_bytes == shutil.disk_usage(pi).total


@pytest.mark.skipif(sys.platform != "linux", reason="Linux keeps these files")
def test_this_machine_tells_of_itself(tmp_path: Path) -> None:
    reader = VitalsReader(tmp_path)
    reader.read()
    while reader.read().cpu_ratio is None:  # a tick of the kernel must have passed
        sum(range(100_000))
    before = os.times()
    while os.times().user - before.user < 0.1:
        sum(range(100_000))
    vitals = reader.read()

    assert vitals.cpu_ratio is not None
    assert 0 < vitals.cpu_ratio <= 1
    assert vitals.process_cpu_ratio is not None
    assert 0 < vitals.process_cpu_ratio <= 1
    assert vitals.memory_bytes is not None
    assert vitals.memory_available_bytes is not None
    assert vitals.process_memory_bytes is not None
    assert 2**20 < vitals.process_memory_bytes < vitals.memory_bytes
    assert 0 < vitals.memory_available_bytes <= vitals.memory_bytes


def test_a_command_that_is_not_there_or_takes_too_long_gives_nothing() -> None:
    assert run_command(("no-such-program", "x"), 5) is None
    assert run_command((sys.executable, "-c", "import time; time.sleep(60)"), 0.2) is None


def test_a_command_gives_its_words_and_how_it_ended() -> None:
    ran = run_command((sys.executable, "-c", "import sys; print('a'); print('b', file=sys.stderr); sys.exit(3)"), 60)
    assert ran is not None
    assert (ran.code, ran.output, ran.errors) == (3, "a\n", "b\n")
