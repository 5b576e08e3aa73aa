"""What systemd is told: readiness, the end, and food for the watchdog only while everything moves."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from driftprint_edge.progress import Progress
from driftprint_edge.supervisor import Supervisor
from tests.server.clocks import FakeClock


class Systemd:
    """The other end of the notify socket."""

    def __init__(self, address: str) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(address.replace("@", "\0", 1))
        self._socket.setblocking(False)

    def heard(self) -> list[str]:
        words = []
        while True:
            try:
                words.append(self._socket.recv(4096).decode())
            except BlockingIOError:
                return words

    def close(self) -> None:
        self._socket.close()


@pytest.fixture(params=["file", "abstract"])
def address(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return f"{tmp_path}/notify" if request.param == "file" else f"@{tmp_path}/notify"


@pytest.fixture
def systemd(address: str) -> Iterator[Systemd]:
    systemd = Systemd(address)
    yield systemd
    systemd.close()


@pytest.fixture
def progress(clock: FakeClock) -> Progress:
    return Progress(clock)


@pytest.fixture
def supervisor(address: str, progress: Progress, clock: FakeClock) -> Supervisor:
    environment = {"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "60000000"}
    return Supervisor(environment, progress=progress, clock=clock)


def fed(systemd: Systemd) -> int:
    return sum("WATCHDOG=1" in word.splitlines() for word in systemd.heard())


def test_it_is_told_of_the_beginning_the_reload_and_the_end(supervisor: Supervisor, systemd: Systemd) -> None:
    supervisor.ready()
    supervisor.reloading()
    supervisor.ready()
    supervisor.stopping()
    first, reloading, again, last = systemd.heard()
    assert (first, again, last) == ("READY=1", "READY=1", "STOPPING=1")
    assert reloading.startswith("RELOADING=1\nMONOTONIC_USEC=")


def test_the_watchdog_is_fed_well_before_it_bites(
    supervisor: Supervisor, systemd: Systemd, clock: FakeClock, progress: Progress
) -> None:
    moved = progress.part("stream", within_seconds=30)
    for _ in range(600):
        clock.wall += 0.2
        moved()
        supervisor.tick()
    assert 4 <= fed(systemd) <= 12


def test_the_watchdog_starves_as_long_as_one_part_stands_still(
    supervisor: Supervisor, systemd: Systemd, clock: FakeClock, progress: Progress
) -> None:
    moved, stuck = (progress.part(name, within_seconds=30) for name in ("link", "frames"))
    clock.wall += 31
    moved()
    supervisor.tick()
    assert systemd.heard() == ["STATUS=standing still: frames"]
    clock.wall += 60
    moved()
    stuck()
    supervisor.tick()
    assert fed(systemd) == 1


def test_what_has_come_to_its_end_need_not_move(
    supervisor: Supervisor, systemd: Systemd, clock: FakeClock, progress: Progress
) -> None:
    progress.part("stream", within_seconds=30)
    progress.over("stream")
    clock.wall += 31
    supervisor.tick()
    assert fed(systemd) == 1


def test_a_supervisor_that_does_not_listen_is_no_harm(tmp_path: Path, progress: Progress, clock: FakeClock) -> None:
    environment = {"NOTIFY_SOCKET": str(tmp_path / "nobody"), "WATCHDOG_USEC": "1000000"}
    supervisor = Supervisor(environment, progress=progress, clock=clock)
    supervisor.ready()
    supervisor.tick()


def test_without_a_supervisor_nobody_is_told(progress: Progress, clock: FakeClock) -> None:
    supervisor = Supervisor({}, progress=progress, clock=clock)
    supervisor.ready()
    supervisor.tick()
    supervisor.stopping()
