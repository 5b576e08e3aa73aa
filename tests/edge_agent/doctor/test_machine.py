"""The machine's clock, heat, power, memory and disk."""

from __future__ import annotations

import os
from datetime import datetime, timezone
from pathlib import Path

import pytest

from driftprint.messages import Vitals
from driftprint_edge.config import AgentSettings
from driftprint_edge.doctor.disk import check_disk, check_file_system
from driftprint_edge.doctor.finding import Finding, Verdict
from driftprint_edge.doctor.machine import check_clock, check_vitals
from tests.edge_agent.doctor.findings import OK, PROBLEM, WARNING, verdicts
from tests.edge_agent.machines import Commands, make_pi, write

NOW = datetime(2027, 3, 1, tzinfo=timezone.utc).timestamp()
GOOD = Vitals(
    memory_bytes=4 * 2**30,
    memory_available_bytes=3 * 2**30,
    temperature_celsius=50.0,
    throttled=False,
    throttled_since_boot=False,
    under_voltage=False,
    under_voltage_since_boot=False,
)


def synchronised(answer: str) -> Commands:
    return Commands(timedatectl=(f"{answer}\n", 0))


def clock(root: Path, commands: Commands, wall: float = NOW) -> Finding:
    finding = check_clock(wall, root, commands)
    assert verdicts([finding]) == {"clock": finding.verdict}
    return finding


def settings(folder: Path, **changes: object) -> AgentSettings:
    stream = {"name": "belt", "bundle": "digits", "source": {"path": "x", "frames_per_second": 1}}
    return AgentSettings.model_validate(
        {"device": "pi", "store": {"path": folder / "state" / "agent.db"}, "stream": [stream], **changes}
    )


def test_a_clock_that_a_server_sets_is_fine(tmp_path: Path) -> None:
    finding = clock(tmp_path, synchronised("yes"))
    assert (finding.verdict, finding.what) == (OK, "2027-03-01 00:00:00 UTC, set by an NTP server")


def test_a_clock_that_no_server_sets_is_a_warning(tmp_path: Path) -> None:
    assert clock(tmp_path, synchronised("no")).verdict is WARNING


@pytest.mark.parametrize("year", [1970, 2019, 2120])
def test_a_clock_in_another_time_is_a_problem(tmp_path: Path, year: int) -> None:
    wall = datetime(year, 1, 1, tzinfo=timezone.utc).timestamp()
    assert clock(tmp_path, synchronised("yes"), wall).verdict is PROBLEM


def test_without_an_answer_systemds_own_mark_counts(tmp_path: Path) -> None:
    failing = Commands(timedatectl=("", 1))
    assert "does not tell" in clock(tmp_path, failing).what
    (tmp_path / "run/systemd/timesync").mkdir(parents=True)
    assert clock(tmp_path, failing).verdict is WARNING
    write(tmp_path, "run/systemd/timesync/synchronized", "")
    assert clock(tmp_path, failing).what.endswith("set by an NTP server")


def test_a_machine_in_good_health_is_fine() -> None:
    assert verdicts(check_vitals(GOOD)) == {"temperature": OK, "speed": OK, "power": OK, "memory": OK}


def test_a_machine_that_does_not_tell_is_fine() -> None:
    findings = list(check_vitals(Vitals()))
    assert {finding.what for finding in findings} == {"this machine does not tell"}
    assert set(verdicts(findings).values()) == {OK}


@pytest.mark.parametrize(
    ("change", "name", "verdict"),
    [
        ({"temperature_celsius": 79.9}, "temperature", OK),
        ({"temperature_celsius": 80.0}, "temperature", WARNING),
        ({"throttled": True, "throttled_since_boot": True}, "speed", WARNING),
        ({"throttled_since_boot": True}, "speed", WARNING),
        ({"under_voltage": True, "under_voltage_since_boot": True}, "power", PROBLEM),
        ({"under_voltage_since_boot": True}, "power", WARNING),
        ({"memory_available_bytes": 2**28}, "memory", OK),
        ({"memory_available_bytes": 2**28 - 1}, "memory", WARNING),
        ({"memory_available_bytes": 2**25}, "memory", PROBLEM),
    ],
)
def test_what_is_not_well_is_found(change: dict[str, float], name: str, verdict: Verdict) -> None:
    found = verdicts(check_vitals(GOOD.model_copy(update=change)))
    assert found.pop(name) is verdict
    assert set(found.values()) == {OK}


def test_a_processor_slowed_down_for_want_of_power_needs_a_supply_not_a_fan() -> None:
    hot = GOOD.model_copy(update={"throttled": True, "throttled_since_boot": True})
    weak = hot.model_copy(update={"under_voltage_since_boot": True})
    fixes = [next(f.fix for f in check_vitals(vitals) if f.name == "speed") for vitals in (hot, weak)]
    assert ["cool" in str(fix) for fix in fixes] == [True, False]
    assert "supply" in str(fixes[1])


def test_a_disk_with_room_is_fine_and_nothing_is_made_on_it(tmp_path: Path) -> None:
    make_pi(tmp_path / "root")
    before = sorted(tmp_path.rglob("*"))
    assert verdicts(check_disk(settings(tmp_path), tmp_path / "root")) == {
        "store": OK,
        "store.file_system": OK,
        "evidence": OK,
    }
    assert sorted(tmp_path.rglob("*")) == before


def test_a_disk_too_small_for_what_the_settings_allow_is_a_warning(tmp_path: Path) -> None:
    greedy = settings(tmp_path, evidence={"max_megabytes": 1e12})
    found = {finding.name: finding for finding in check_disk(greedy, tmp_path)}
    assert verdicts(found.values())["evidence"] is WARNING
    assert str(found["evidence"].fix) == "make room, or lower evidence.max_megabytes"


def test_what_is_there_already_counts_towards_what_the_settings_allow(tmp_path: Path) -> None:
    kept = tmp_path / "state" / "evidence" / "belt" / "1.jpg"
    kept.parent.mkdir(parents=True)
    kept.write_bytes(bytes(2_000_000))
    grown = settings(tmp_path, evidence={"max_megabytes": 1e12})
    [finding] = [finding for finding in check_disk(grown, tmp_path) if finding.name == "evidence"]
    assert "it may grow by 999,999,999,998 MB" in finding.what


def test_evidence_that_fills_all_that_the_settings_allow_needs_no_more_room(tmp_path: Path) -> None:
    kept = tmp_path / "state" / "evidence" / "1.jpg"
    kept.parent.mkdir(parents=True)
    kept.touch()
    os.truncate(kept, 10**13)  # takes no room on the disk
    assert verdicts(check_disk(settings(tmp_path, evidence={"max_megabytes": 1e7}), tmp_path))["evidence"] is OK


def test_evidence_that_is_not_kept_needs_no_room(tmp_path: Path) -> None:
    assert "evidence" not in verdicts(check_disk(settings(tmp_path, evidence={"frames": 0}), tmp_path))


@pytest.mark.parametrize("path", ["/proc/nowhere/agent.db", "{folder}/file/agent.db"])
def test_a_place_that_cannot_be_written_is_a_problem(tmp_path: Path, path: str) -> None:
    (tmp_path / "file").write_text("")
    where = settings(tmp_path, store={"path": path.format(folder=tmp_path)}, evidence={"frames": 0})
    [finding] = check_disk(where, tmp_path)
    assert finding.verdict is PROBLEM
    assert "this user cannot write there" in finding.what
    assert "store.path" in str(finding.fix)


@pytest.mark.parametrize(
    ("kind", "verdict"),
    [("ext4", OK), ("btrfs", OK), ("tmpfs", WARNING), ("overlay", WARNING), ("nfs4", PROBLEM), ("cifs", PROBLEM)],
)
def test_the_store_must_lie_on_a_disk_of_this_machine(tmp_path: Path, kind: str, verdict: Verdict) -> None:
    folder = tmp_path / "a place"
    folder.mkdir()
    place = str(folder).replace(" ", r"\040")
    mounts = [("/", "vfat"), (tmp_path, "vfat"), (place, "vfat"), (place, kind), (f"{place}-2", "vfat")]
    lines = [f"/dev/x {where} {what} rw 0 0\n" for where, what in mounts]
    write(tmp_path / "root", "proc/self/mounts", "".join(lines))
    finding = check_file_system(folder / "state" / "agent.db", tmp_path / "root")
    assert verdicts([finding]) == {"store.file_system": verdict}
    assert finding.what.startswith(kind)


def test_a_machine_that_does_not_tell_its_file_systems_is_fine(tmp_path: Path) -> None:
    assert check_file_system(tmp_path, tmp_path / "nothing").verdict is OK
