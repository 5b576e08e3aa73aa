"""The proof on 64-bit ARM: all of it that needs no emulated processor."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bench.arm import places
from bench.arm.processors import PROCESSORS
from bench.arm.programs import PACKAGES, call, find_programs
from bench.arm.report import Results, shortcomings, tables
from bench.arm.root import Archive, find_archive, python_of, set_processor
from bench.arm.run import AgentRun, run, summarise
from bench.arm.scores import Difference, Scored, compare, read_scores
from bench.arm.wheels import describe
from driftprint.errors import ConfigError, DataError, DriftprintError
from driftprint.messages import AlertMessage, AlertStatus, BundleRef, Cause, WindowMessage
from driftprint.mqtt import MqttSettings
from tests.brokers import Mosquitto

ROOT = Path(__file__).parents[2]
HEAD: dict[str, Any] = {
    "site": "bench",
    "device": "arm",
    "instance": "0" * 16,
    "stream": "camera",
    "recorded_at": 0.0,
    "bundle": BundleRef(name="digits", version=1),
}


def window(seq: int, frames: int, rate: float, *, outliers: int = 0) -> WindowMessage:
    return WindowMessage(
        **HEAD,
        seq=seq,
        frames_total=frames,
        outliers_total=outliers,
        alerts_total=0,
        frames_per_second=rate,
        alarm=False,
        evidence=0.0,
    )


def alert(frames: int, cause: Cause = Cause.DRIFT, status: AlertStatus = AlertStatus.RAISED) -> AlertMessage:
    return AlertMessage(
        **HEAD,
        alert_id="0" * 32,
        revision=0,
        status=status,
        cause=cause,
        raised_at=0.0,
        frames_total=frames,
        summary="",
    )


def results(*, agent: dict[str, Any] | None = None, scores: dict[str, Any] | None = None, **changed: Any) -> Results:
    """The committed results, changed: a proof when nothing is."""
    good = Results.model_validate_json((ROOT / "bench/results/arm.json").read_text())
    first, *others = good.emulated
    first = first.model_copy(
        update={
            "agent": first.agent.model_copy(update=agent or {}),
            "scores": first.scores.model_copy(update=scores or {}),
        }
    )
    return good.model_copy(update={"emulated": [first, *others], **changed})


def test_scores_are_compared_frame_by_frame() -> None:
    here = read_scores(["frame,score,p_value,outlier,predicted", "0,2,0.5,0,7", "1,-10,0.01,1,3", "2,0,0.9,0,1"])
    assert here[1] == Scored("1", -10.0, outlier=True, predicted="3")
    there = read_scores(["frame,score,p_value,outlier,predicted", "0,2.1,0.5,0,7", "1,-10.2,0.06,0,3", "2,0,0.9,0,2"])
    found = compare(there, here)
    assert (found.frames, found.decisions, found.classes) == (3, 1, 1)
    assert found.absolute == pytest.approx(0.2)
    assert found.relative == pytest.approx(0.05)


@pytest.mark.parametrize("there", [[], [Scored("0", 1.0, False, "")], [Scored("1", 1.0, False, "")] * 2])
def test_scores_of_other_frames_are_not_compared(there: list[Scored]) -> None:
    here = [Scored("0", 1.0, outlier=False, predicted=""), Scored("1", 1.0, outlier=False, predicted="")]
    with pytest.raises(DataError, match="not the same frames"):
        compare(there, here)


def test_no_scores_at_all_are_no_proof() -> None:
    with pytest.raises(DataError):
        compare([], [])


def test_an_agents_last_window_counts_in_whatever_order_they_come_and_however_often() -> None:
    windows = [window(3, 200, 25.0, outliers=9), window(1, 100, 50.0), window(2, 100, 0.0), window(1, 100, 50.0)]
    alerts = [alert(90, Cause.CLASS_MIX), alert(150), alert(150), alert(200, status=AlertStatus.UPDATED)]
    assert summarise(windows, alerts, unacknowledged=4) == AgentRun(
        frames=200, outliers=9, faults=0, alarm_at=150, unacknowledged=4, seconds_per_frame=0.03
    )


def test_an_agent_that_says_nothing_is_an_error() -> None:
    with pytest.raises(DriftprintError, match="no window"):
        summarise([], [], unacknowledged=0)


def test_on_this_machine_the_agent_is_heard_out_and_acknowledged(tmp_path: Path, mosquitto: Mosquitto) -> None:
    broker = MqttSettings(host=mosquitto.host, port=mosquitto.port)
    scores, agent = run(places.here(tmp_path / "here"), broker, tmp_path / "log.txt")
    assert (len(scores), agent.frames, agent.faults, agent.unacknowledged) == (200, 200, 0, 0)
    assert agent.outliers == sum(scored.outlier for scored in scores)
    assert agent.alarm_at is not None
    assert 150 < agent.alarm_at <= 160


def test_the_committed_results_are_a_proof() -> None:
    assert list(shortcomings(results())) == []


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"agent": {"frames": 199}}, "199 of 200"),
        ({"agent": {"faults": 1}}, "1 faults"),
        ({"agent": {"outliers": 3}}, "3 outliers"),
        ({"agent": {"alarm_at": None}}, "no alert"),
        ({"agent": {"unacknowledged": 2}}, "2 of the agent's messages"),
        ({"scores": {"absolute": 0.5}}, "a score differs by 0.5"),
        ({"scores": {"absolute": float("nan")}}, "a score differs by nan"),
        ({"scores": {"decisions": 1}}, "outlier in one place alone"),
        ({"scores": {"classes": 1}}, "another class"),
        ({"scores": {"frames": 20}}, "20 of 200"),
    ],
    ids=str,
)
def test_whatever_is_not_as_it_should_be_is_said(changed: dict[str, Any], says: str) -> None:
    assert any(says in what for what in shortcomings(results(**changed)))


def test_a_base_install_that_is_large_or_heavy_is_no_proof() -> None:
    wheels = results().wheels.model_copy(update={"megabytes": 130.0, "heavy": ["torch"]})
    large, heavy = shortcomings(results(wheels=wheels))
    assert "130.0 MB" in large
    assert "torch" in heavy


def test_a_root_of_another_architecture_is_no_proof() -> None:
    emulated = [one.model_copy(update={"architecture": "x86_64"}) for one in results().emulated]
    assert len(list(shortcomings(results(emulated=emulated)))) == len(emulated)


def test_the_table_has_a_column_a_processor_and_states_the_tolerance() -> None:
    found = results(scores=Difference(frames=200, absolute=0.0123, relative=0.5, decisions=7, classes=0).model_dump())
    head, rule, *rows = tables(found).splitlines()
    assert head.count("|") == rule.count("|") == 2 + len(PROCESSORS)
    assert any(f"tolerance {found.tolerance:.3f}" in row and "**0.01230**" in row for row in rows)
    assert any("one place alone | 7 | 0 |" in row for row in rows)


def test_wheels_are_weighed_and_what_is_heavy_among_them_is_named(tmp_path: Path) -> None:
    wheels = [
        tmp_path / "paho_mqtt-2.2.0-py3-none-any.whl",
        tmp_path / "numpy-2.4.6-cp311-cp311-manylinux_2_27_aarch64.manylinux_2_28_aarch64.whl",
    ]
    for wheel in wheels:
        wheel.write_bytes(bytes(1_200_000))
    (tmp_path / "target/pandas").mkdir(parents=True)
    found = describe(wheels, tmp_path / "target")
    assert found.megabytes == 2.4
    assert found.versions == {"paho-mqtt": "2.2.0", "numpy": "2.4.6"}
    assert found.heavy == ["pandas"]


def test_the_mirror_is_the_one_that_this_machines_debian_comes_from() -> None:
    listing = (
        "https://packages.example/apt stable main Example\n"
        "http://mirror.example/debian/ bookworm-updates main Debian\n"
        "http://mirror.example/debian/ bookworm contrib Debian\n"
        "http://mirror.example/debian/ bookworm main Debian\n"
        "http://mirror.example/debian-security/ bookworm-security main Debian-Security\n"
    )
    assert find_archive(listing) == Archive("http://mirror.example/debian/", "bookworm")


def test_without_a_debian_archive_it_says_what_to_do() -> None:
    with pytest.raises(ConfigError, match="apt-get update"):
        find_archive("http://mirror.example/ubuntu/ noble main Ubuntu\n")


def test_missing_programs_are_named_by_the_packages_to_install(tmp_path: Path) -> None:
    for name in set(PACKAGES) - {"debootstrap", "mosquitto"}:
        (tmp_path / name).touch(mode=0o755)
    with pytest.raises(ConfigError, match=r"apt-get install debootstrap mosquitto$"):
        find_programs(str(tmp_path))
    for name in PACKAGES:
        (tmp_path / name).touch(mode=0o755)
    assert find_programs(str(tmp_path))["mosquitto"] == str(tmp_path / "mosquitto")


def test_a_program_that_fails_is_an_error_with_its_last_line(tmp_path: Path) -> None:
    with pytest.raises(DriftprintError, match="sh ended with exit code 3, its last line: no space left"):
        call(("sh", "-c", "echo begun; echo no space left >&2; exit 3"), tmp_path / "log.txt")


def test_the_roots_python_is_found_by_its_name(tmp_path: Path) -> None:
    (tmp_path / "usr/bin").mkdir(parents=True)
    for name in ("python3", "python3.11", "python3.11-config"):
        (tmp_path / "usr/bin" / name).touch()
    assert python_of(tmp_path) == "3.11"


@pytest.mark.parametrize("processor", PROCESSORS, ids=lambda processor: processor.name)
def test_the_root_says_which_processor_it_has(tmp_path: Path, processor: Any) -> None:
    (tmp_path / "proc").mkdir()
    set_processor(tmp_path, processor)
    said = (tmp_path / "proc/cpuinfo").read_text()
    assert f"CPU part\t: {processor.part}\n" in said
    assert "asimd" in said
    assert (tmp_path / "sys/devices/system/cpu/possible").read_text() == "0\n"
