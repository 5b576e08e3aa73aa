"""What the processor can do, and what onnxruntime can use of the machine."""

from __future__ import annotations

from pathlib import Path

from driftprint_edge.doctor.finding import Finding, fine, warning

X86 = {"avx2": "AVX2", "avx512f": "AVX-512", "avx512_vnni": "AVX-512 VNNI", "avx_vnni": "AVX-VNNI"}
ARM = {"asimd": "ASIMD", "asimdhp": "FP16", "asimddp": "dot product", "i8mm": "int8 matrices"}
"""By the kernel's name of it, what makes inference fast."""

INT8 = frozenset({"avx512_vnni", "avx_vnni", "asimddp", "i8mm"})
"""Made for int8 models."""


def board_of(root: Path) -> str:
    """The name of a single-board computer; empty for other machines."""
    try:
        return (root / "proc/device-tree/model").read_text(errors="replace").rstrip("\0\n")
    except OSError:
        return ""


def check_features(root: Path) -> Finding:
    """The processor's instructions.

    Args:
        root: of the file system that ``proc`` is in.
    """
    features = _features(root)
    known = X86 if features & {"sse2", "avx"} else ARM
    has = [name for feature, name in known.items() if feature in features]
    if not features:
        return fine("processor", "this machine does not tell what its processor can do")
    if known is X86 and "avx2" not in features:
        return warning(
            "processor",
            "no AVX2: models take several times as long as they could",
            "in a virtual machine hand on the host's processor (QEMU: -cpu host), else use a newer one",
        )
    what = f"has {', '.join(has) or 'none of the instructions that make inference fast'}"
    return fine("processor", what if features & INT8 else f"{what}; none of the instructions made for int8 models")


def check_providers() -> Finding:
    """The execution providers that onnxruntime was built with."""
    import onnxruntime

    return fine("providers", ", ".join(onnxruntime.get_available_providers()))


def _features(root: Path) -> set[str]:
    try:
        lines = (root / "proc/cpuinfo").read_text(errors="replace").splitlines()
    except OSError:
        return set()
    for line in lines:
        name, _, value = line.partition(":")
        if name.strip() in ("flags", "Features"):
            return set(value.split())
    return set()
