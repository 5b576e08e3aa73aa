"""The processors that are emulated: those of the two current Raspberry Pis."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Processor:
    """An Arm processor.

    Attributes:
        name: as QEMU calls it.
        board: where it is found.
        part, variant, revision, features: as in the board's ``/proc/cpuinfo``, by which onnxruntime chooses its
            kernels.
    """

    name: str
    board: str
    part: str
    variant: str
    revision: int
    features: str

    @property
    def cpuinfo(self) -> str:
        """``/proc/cpuinfo`` of one core."""
        return (
            "processor\t: 0\n"
            f"Features\t: {self.features}\n"
            "CPU implementer\t: 0x41\n"
            "CPU architecture: 8\n"
            f"CPU variant\t: {self.variant}\n"
            f"CPU part\t: {self.part}\n"
            f"CPU revision\t: {self.revision}\n\n"
        )


PROCESSORS = (
    Processor("cortex-a72", "Raspberry Pi 4", "0xd08", "0x0", 3, "fp asimd evtstrm crc32 cpuid"),
    Processor(
        "cortex-a76",
        "Raspberry Pi 5",
        "0xd0b",
        "0x4",
        1,
        "fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp",
    ),
)
"""The first has no dot products of int8 nor half precision, the second has both."""
