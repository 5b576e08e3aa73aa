"""Folders that look like the root of a machine's file system, with what its kernel writes in /proc and /sys."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from driftprint_edge.commands import Ran

PI_CPUINFO = """\
processor\t: 0
BogoMIPS\t: 108.00
Features\t: fp asimd evtstrm crc32 cpuid
CPU implementer\t: 0x41
CPU architecture: 8
CPU variant\t: 0x0
CPU part\t: 0xd08
CPU revision\t: 3

Hardware\t: BCM2835
Revision\t: c03114
Model\t\t: Raspberry Pi 4 Model B Rev 1.4
"""

PC_CPUINFO = """\
processor\t: 0
vendor_id\t: GenuineIntel
model name\t: Intel(R) N100
flags\t\t: fpu vme de pse tsc msr sse sse2 ssse3 sse4_1 sse4_2 avx f16c rdrand avx2 bmi2 avx_vnni
bugs\t\t: spectre_v1 spectre_v2
"""

PI_MEMINFO = """\
MemTotal:        3884288 kB
MemFree:         2611444 kB
MemAvailable:    3243076 kB
Buffers:           47620 kB
Cached:           689172 kB
SwapTotal:        102396 kB
HugePages_Total:       0
"""

PI_MOUNTS = """\
/dev/root / ext4 rw,noatime 0 0
devtmpfs /dev devtmpfs rw,relatime,size=1674864k,nr_inodes=418716,mode=755 0 0
proc /proc proc rw,relatime 0 0
tmpfs /run tmpfs rw,nosuid,nodev,size=776860k,nr_inodes=819200,mode=755 0 0
/dev/mmcblk0p1 /boot vfat rw,relatime,fmask=0022,dmask=0022,codepage=437,iocharset=ascii,errors=remount-ro 0 0
"""


def write(root: Path, path: str, text: str) -> None:
    """Write one of a machine's files."""
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).write_text(text)


def set_ticks(root: Path, *, user: int, idle: int, process: int) -> None:
    """How long the processor has worked so far, and for this process, in the kernel's ticks.

    Args:
        root: the machine's.
        user: for programs; the kernel itself has had half as many.
        idle: not at all; as many again it waited for the disk.
        process: for this process, in all.
    """
    write(
        root,
        "proc/stat",
        f"cpu  {user} 0 {user // 2} {idle} {idle} 0 0 0 0 0\ncpu0 {user} 0 {user // 2} {idle} {idle} 0 0 0 0 0\n"
        "intr 21374842 0 0\nctxt 40412391\nbtime 1764079462\nprocesses 14571\nprocs_running 2\n",
    )
    write(
        root,
        "proc/self/stat",
        f"1012 (a (strange) name) S 1 1012 1012 0 -1 4194560 9512 0 12 0 {process // 2} {process - process // 2} 0 0 "
        "20 0 7 0 1493 331694080 24311 18446744073709551615 1 1 0 0 0 0 0 16781312 2 0 0 0 17 2 0 0 0 0 0 0 0\n",
    )


def make_pi(root: Path, *, throttled: str | None = "0\n", celsius: float = 52.1) -> Path:
    """A Raspberry Pi 4.

    Args:
        root: the folder.
        throttled: what the kernel's get_throttled says; None where it has none, as newer ones.
        celsius: its temperature.

    Returns:
        `root`.
    """
    write(root, "proc/cpuinfo", PI_CPUINFO)
    write(root, "proc/meminfo", PI_MEMINFO)
    write(root, "proc/self/mounts", PI_MOUNTS)
    write(root, "proc/self/statm", "80980 24311 9821 711 0 40110 0\n")
    write(root, "proc/device-tree/model", "Raspberry Pi 4 Model B Rev 1.4\0")
    write(root, "sys/class/thermal/thermal_zone0/type", "cpu-thermal\n")
    write(root, "sys/class/thermal/thermal_zone0/temp", f"{round(celsius * 1000)}\n")
    set_ticks(root, user=1000, idle=8000, process=400)
    if throttled is not None:
        write(root, "sys/devices/platform/soc/soc:firmware/get_throttled", throttled)
    return root


class Commands:
    """Stands for the programs that a machine has.

    Args:
        outputs: by a command's first word, what it writes and the exit code it ends with.
    """

    def __init__(self, **outputs: tuple[str, int]) -> None:
        self._outputs = outputs
        self.asked: list[str] = []

    def __call__(self, command: Sequence[str], seconds: float) -> Ran | None:
        assert seconds > 0
        self.asked.append(" ".join(command))
        if command[0] not in self._outputs:
            return None
        output, code = self._outputs[command[0]]
        return Ran(code, output)
