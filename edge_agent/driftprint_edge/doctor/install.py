"""Whether what is installed here can run at all."""

from __future__ import annotations

import platform
import signal
import struct
import sys
from collections.abc import Iterator, Sequence
from importlib.metadata import Distribution, distributions, metadata

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from driftprint_edge.commands import Ran, Run
from driftprint_edge.doctor.finding import Finding, fine, problem, warning

SUPPORTED = frozenset({"x86_64", "amd64", "aarch64", "arm64"})
"""What onnxruntime has packages for."""

TRIAL = (sys.executable, "-m", "driftprint", "bundle", "verify", "digits")
"""Scores the golden frames of a bundle that comes with the install. In a process of its own: a package that was built
for a newer processor kills the one that imports it."""

TRIAL_SECONDS = 120.0


def check_python(version: str = platform.python_version(), requires: str | None = None) -> Finding:
    """The Python that runs this.

    Args:
        version: its version.
        requires: the versions that driftprint needs, None for what its own metadata says.
    """
    wanted = metadata("driftprint")["Requires-Python"] if requires is None else requires
    if not SpecifierSet(wanted).contains(version, prereleases=True):
        return problem("python", f"{version}, driftprint needs {wanted}", "install driftprint with a newer Python")
    return fine("python", version)


def check_architecture(
    machine: str = platform.machine(), bits: int = struct.calcsize("P") * 8, *, board: str = ""
) -> Finding:
    """The processor's architecture, and whether Python uses all of it.

    Args:
        machine: its name.
        bits: of Python's addresses.
        board: the machine's name, where it tells.
    """
    what = ", ".join(filter(None, (board, machine, f"{bits}-bit")))
    if bits < 64:
        return problem(
            "architecture",
            f"{what}: there is no onnxruntime for it",
            "install a 64-bit operating system and its Python",
        )
    if machine.lower() not in SUPPORTED:
        return warning(
            "architecture",
            f"{what}: PyPI has no onnxruntime for it",
            "use an x86-64 or 64-bit ARM machine, or build it",
        )
    return fine("architecture", what)


def check_packages(path: Sequence[str] = tuple(sys.path)) -> Iterator[Finding]:
    """The packages that driftprint requires, against the ranges it states.

    Args:
        path: the folders that packages are installed in.
    """
    # The first of two in different folders is the one that is imported.
    installed = reversed([*distributions(path=list(path))])
    found = {canonicalize_name(str(package.metadata["Name"])): package for package in installed}
    runtimes = sorted(name for name, package in found.items() if "onnxruntime" in _modules(package))
    if len(runtimes) > 1:
        yield warning(
            "onnxruntime",
            f"{' and '.join(runtimes)} overwrite each other's files",
            f"pip uninstall --yes {' '.join(runtimes)}, then install the one of them that fits this machine",
        )
    if runtimes:  # a build for another processor, such as onnxruntime-gpu, is as good
        found.setdefault(canonicalize_name("onnxruntime"), found[runtimes[0]])
    versions = []
    for required in map(Requirement, found[canonicalize_name("driftprint")].requires or ()):
        if required.marker is not None and not required.marker.evaluate({"extra": ""}):
            continue
        package = found.get(canonicalize_name(required.name))
        if package is not None and required.specifier.contains(package.version, prereleases=True):
            versions.append(f"{package.metadata['Name']} {package.version}")
            continue
        yield problem(
            required.name,
            f"{package.version if package else 'not installed'}, driftprint needs {required.specifier}",
            f"pip install '{required.name}{required.specifier}'",
        )
    if versions:
        yield fine("packages", ", ".join(versions))


def check_runtime(run: Run, trial: Sequence[str] = TRIAL) -> Finding:
    """Whether onnxruntime can be imported, and gives here what it gave where a reference bundle was made.

    Args:
        run: runs the trial.
        trial: a command that ends with exit code 0 where it does.
    """
    ran = run(trial, TRIAL_SECONDS)
    if ran is None:
        return problem(
            "runtime", f"no answer within {TRIAL_SECONDS:.0f} s", f"see what happens with: {' '.join(trial)}"
        )
    if ran.code == 0:
        return fine("runtime", ran.output.partition("\n")[0])
    if ran.code == -signal.SIGILL:
        return problem(
            "runtime",
            "killed for an instruction that this processor lacks: a package was built for a newer one",
            "install an older onnxruntime or numpy, or in a virtual machine hand on the host's processor",
        )
    return problem("runtime", _last_words(ran), "install anew: pip install --force-reinstall driftprint")


def _modules(package: Distribution) -> list[str]:
    return (package.read_text("top_level.txt") or "").split()


def _last_words(ran: Ran) -> str:
    if ran.code < 0:
        return f"killed by {signal.Signals(-ran.code).name}"
    return (ran.errors.strip().splitlines() or [f"it ended with exit code {ran.code} and no word"])[-1]
