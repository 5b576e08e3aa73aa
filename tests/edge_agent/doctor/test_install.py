"""Whether what is installed can run at all."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from driftprint_edge.commands import run_command
from driftprint_edge.doctor.install import check_architecture, check_packages, check_python, check_runtime
from driftprint_edge.doctor.processor import board_of, check_features, check_providers
from tests.edge_agent.doctor.findings import OK, PROBLEM, WARNING, only, verdicts
from tests.edge_agent.machines import PC_CPUINFO, Commands, make_pi, write

REQUIRED = ("numpy>=1.26", "onnxruntime>=1.20", "tomli>=2; python_version < '3'", "opencv>=4; extra == 'camera'")


def install(folder: Path, name: str, version: str, *, requires: tuple[str, ...] = (), modules: str = "") -> None:
    info = f"{name.replace('-', '_')}-{version}.dist-info"
    lines = [f"Name: {name}", f"Version: {version}", *(f"Requires-Dist: {text}" for text in requires)]
    write(folder, f"{info}/METADATA", "Metadata-Version: 2.1\n" + "\n".join(lines) + "\n")
    write(folder, f"{info}/top_level.txt", f"{modules or name}\n")


@pytest.fixture
def packages(tmp_path: Path) -> Path:
    """A folder in which driftprint and a fitting numpy are installed."""
    install(tmp_path, "driftprint", "0.1.0", requires=REQUIRED)
    install(tmp_path, "numpy", "2.1.0")
    return tmp_path


def test_what_is_installed_here_fits() -> None:
    finding = only(check_packages())
    assert finding.verdict is OK
    assert "onnxruntime 1." in finding.what
    assert check_python().verdict is OK
    assert check_architecture().verdict is OK


def test_packages_of_the_right_versions_are_fine_and_extras_are_not_asked_for(packages: Path) -> None:
    install(packages, "onnxruntime", "1.20.1")
    finding = only(check_packages([str(packages)]))
    assert (finding.verdict, finding.what) == (OK, "numpy 2.1.0, onnxruntime 1.20.1")


def test_a_package_that_is_missing_or_too_old_is_named_with_the_command_that_installs_it(tmp_path: Path) -> None:
    install(tmp_path, "driftprint", "0.1.0", requires=REQUIRED)
    install(tmp_path, "numpy", "1.24.2")
    findings = {finding.name: finding for finding in check_packages([str(tmp_path)])}
    assert verdicts(findings.values()) == {"numpy": PROBLEM, "onnxruntime": PROBLEM}
    assert findings["numpy"].what == "1.24.2, driftprint needs >=1.26"
    assert findings["numpy"].fix == "pip install 'numpy>=1.26'"
    assert findings["onnxruntime"].what == "not installed, driftprint needs >=1.20"


def test_a_build_of_onnxruntime_for_other_hardware_will_do(packages: Path) -> None:
    install(packages, "onnxruntime-gpu", "1.22.0", modules="onnxruntime")
    finding = only(check_packages([str(packages)]))
    assert (finding.verdict, finding.what) == (OK, "numpy 2.1.0, onnxruntime-gpu 1.22.0")


def test_a_build_for_other_hardware_must_be_new_enough_too(packages: Path) -> None:
    install(packages, "onnxruntime-gpu", "1.18.0", modules="onnxruntime")
    assert verdicts(check_packages([str(packages)]))["onnxruntime"] is PROBLEM


def test_two_builds_of_onnxruntime_get_into_each_others_way(packages: Path) -> None:
    install(packages, "onnxruntime", "1.20.1")
    install(packages, "onnxruntime-gpu", "1.22.0", modules="onnxruntime")
    warning, fine = check_packages([str(packages)])
    assert (warning.verdict, fine.verdict) == (WARNING, OK)
    assert warning.fix is not None
    assert "pip uninstall --yes onnxruntime onnxruntime-gpu" in warning.fix


def test_of_two_versions_the_one_that_is_imported_counts(packages: Path, tmp_path: Path) -> None:
    install(packages, "onnxruntime", "1.20.1")
    install(tmp_path / "other", "numpy", "1.0")
    assert verdicts(check_packages([str(packages), str(tmp_path / "other")])) == {"packages": OK}
    assert verdicts(check_packages([str(tmp_path / "other"), str(packages)]))["numpy"] is PROBLEM


def test_an_old_python_is_a_problem() -> None:
    assert verdicts([check_python("3.9.18", ">=3.10")]) == {"python": PROBLEM}
    assert verdicts([check_python("3.10.0", ">=3.10")]) == {"python": OK}


@pytest.mark.parametrize(
    ("machine", "bits", "verdict"),
    [
        ("x86_64", 64, OK),
        ("aarch64", 64, OK),
        ("arm64", 64, OK),
        ("aarch64", 32, PROBLEM),
        ("armv7l", 32, PROBLEM),
        ("riscv64", 64, WARNING),
    ],
)
def test_architectures_are_told_apart(machine: str, bits: int, verdict: object) -> None:
    finding = check_architecture(machine, bits, board="Some Board")
    assert verdicts([finding]) == {"architecture": verdict}
    assert finding.what.startswith(f"Some Board, {machine}, {bits}-bit")


def test_onnxruntime_scores_a_reference_bundle_here() -> None:
    finding = check_runtime(run_command)
    assert finding.verdict is OK
    assert "16 golden frames score as exported" in finding.what


@pytest.mark.parametrize(
    ("program", "what", "fix"),
    [
        ("import os; os.kill(os.getpid(), 4)", "an instruction that this processor lacks", "older onnxruntime"),
        ("import os; os.kill(os.getpid(), 9)", "killed by SIGKILL", "install anew"),
        ("import no_such_module", "ModuleNotFoundError: No module named 'no_such_module'", "install anew"),
        ("raise SystemExit(3)", "it ended with exit code 3 and no word", "install anew"),
    ],
    ids=["another processor", "killed", "not installed", "silent"],
)
def test_a_runtime_that_does_not_run_is_told_without_dying_of_it(program: str, what: str, fix: str) -> None:
    finding = check_runtime(run_command, (sys.executable, "-c", program))
    assert finding.verdict is PROBLEM
    assert what in finding.what
    assert fix in str(finding.fix)


def test_a_runtime_that_says_nothing_is_a_problem() -> None:
    assert check_runtime(Commands()).verdict is PROBLEM


def test_a_pi_has_a_name_and_no_instructions_for_int8(tmp_path: Path) -> None:
    make_pi(tmp_path)
    finding = check_features(tmp_path)
    assert board_of(tmp_path) == "Raspberry Pi 4 Model B Rev 1.4"
    assert finding.verdict is OK
    assert finding.what == "has ASIMD; none of the instructions made for int8 models"


def test_a_pc_has_its_own_instructions(tmp_path: Path) -> None:
    write(tmp_path, "proc/cpuinfo", PC_CPUINFO)
    finding = check_features(tmp_path)
    assert (finding.verdict, finding.what) == (OK, "has AVX2, AVX-VNNI")
    assert board_of(tmp_path) == ""


def test_a_pc_without_avx2_is_slow(tmp_path: Path) -> None:
    write(tmp_path, "proc/cpuinfo", PC_CPUINFO.replace("avx2 ", ""))
    finding = check_features(tmp_path)
    assert finding.verdict is WARNING
    assert "-cpu host" in str(finding.fix)


@pytest.mark.parametrize("text", [None, "", "flags\n", "\0\0"])
def test_a_processor_that_does_not_tell_is_no_problem(tmp_path: Path, text: str | None) -> None:
    if text is not None:
        write(tmp_path, "proc/cpuinfo", text)
    assert verdicts([check_features(tmp_path)]) == {"processor": OK}


def test_the_execution_providers_here_are_listed() -> None:
    assert "CPUExecutionProvider" in check_providers().what
