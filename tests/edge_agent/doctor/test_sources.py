"""Whether a stream's source has frames to give."""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import TypeAdapter

from driftprint.clock import SystemClock
from driftprint_edge.doctor.finding import Finding
from driftprint_edge.doctor.sources import check_source
from driftprint_edge.sources import SourceSettings
from tests.brokers import Mosquitto, free_port
from tests.bundles import inlier_frames
from tests.edge_agent.doctor.findings import OK, PROBLEM, WARNING, only, verdicts


def look(access: Any = os.access, **table: object) -> Finding:
    finding = only(check(access, **table))
    assert verdicts([finding]) == {"source": finding.verdict}
    return finding


def check(access: Any = os.access, **table: object) -> list[Finding]:
    source: SourceSettings = TypeAdapter(SourceSettings).validate_python({"frames_per_second": 1, **table})
    return list(check_source("source", source, SystemClock(), access=access))


def nobody(_path: Path, _mode: int) -> bool:
    """The rights of a user who has none."""
    return False


def test_frames_to_replay_are_fine_where_they_can_be_read(tmp_path: Path) -> None:
    np.savez(tmp_path / "frames.npz", x=inlier_frames(2))
    assert look(path=tmp_path / "frames.npz").verdict is OK
    missing = look(path=tmp_path / "none.npz")
    assert missing.verdict is PROBLEM
    assert f"{tmp_path}/none.npz: no such file or folder" in missing.what


def test_a_camera_that_is_there_is_fine() -> None:
    pytest.importorskip("cv2")
    assert look(kind="camera", device="/dev/null").verdict is OK


def test_a_camera_that_is_not_there_is_a_problem_and_others_are_named(tmp_path: Path) -> None:
    pytest.importorskip("cv2")
    (tmp_path / "video2").touch()
    finding = look(kind="camera", device=str(tmp_path / "video0"))
    assert finding.verdict is PROBLEM
    assert f"{tmp_path}/video2" in str(finding.fix)
    (tmp_path / "video2").unlink()
    assert "plug the camera in" in str(look(kind="camera", device=str(tmp_path / "video0")).fix)


def test_a_camera_that_this_user_may_not_use_needs_a_group() -> None:
    pytest.importorskip("cv2")
    finding = look(nobody, kind="camera", device="/dev/null")
    assert finding.verdict is PROBLEM
    assert "usermod --append --groups video" in str(finding.fix)


def test_without_opencv_a_camera_needs_the_extra() -> None:
    """In a process that is told that there is no such module."""
    from driftprint_edge.commands import run_command

    program = (
        "import sys; sys.modules['cv2'] = None\n"
        "from tests.edge_agent.doctor.test_sources import look\n"
        "finding = look(kind='camera', device='/dev/null')\n"
        "print(finding.verdict.value, finding.what, finding.fix)"
    )
    ran = run_command((sys.executable, "-c", program), 60)
    assert ran is not None
    assert ran.output.startswith("problem cameras and videos need OpenCV"), ran.errors
    assert "driftprint[camera]" in ran.output


def test_a_network_camera_that_answers_is_fine() -> None:
    pytest.importorskip("cv2")
    with socket.create_server(("127.0.0.1", 0)) as camera:
        port = camera.getsockname()[1]
        finding = look(kind="rtsp", url=f"rtsp://viewer:secret@127.0.0.1:{port}/stream2")
    assert finding.verdict is OK
    assert finding.what == f"rtsp://127.0.0.1:{port}/stream2: 127.0.0.1:{port} answers"


def test_a_network_camera_that_is_away_is_a_problem() -> None:
    pytest.importorskip("cv2")
    finding = look(kind="rtsp", url=f"rtsp://viewer:secret@127.0.0.1:{free_port()}/stream2")
    assert finding.verdict is PROBLEM
    assert "nothing listens there" in finding.what
    assert "secret" not in f"{finding.what}{finding.fix}"


def test_a_network_camera_has_its_protocols_usual_port() -> None:
    pytest.importorskip("cv2")
    assert ":554: no such name" in look(kind="rtsp", url="rtsp://no-such-host.invalid/").what
    assert ":80: no such name" in look(kind="rtsp", url="http://no-such-host.invalid/").what


def test_a_password_that_breaks_the_address_is_not_shown() -> None:
    pytest.importorskip("cv2")
    finding = look(kind="rtsp", url="rtsp://viewer:sec/ret@127.0.0.1/stream2")
    assert finding.verdict is PROBLEM
    assert "%2F" in str(finding.fix)
    assert "sec" not in f"{finding.what}{finding.fix}"


def test_what_does_not_go_over_tcp_cannot_be_tried() -> None:
    pytest.importorskip("cv2")
    finding = look(kind="rtsp", url="udp://239.0.0.1:5000")
    assert (finding.verdict, finding.what) == (OK, "udp://239.0.0.1:5000: cannot be tried beforehand")


def test_a_watched_folder_must_be_there_and_open_to_this_user(tmp_path: Path) -> None:
    pytest.importorskip("watchfiles")
    assert look(kind="folder", path=tmp_path).verdict is OK
    assert look(kind="folder", path=tmp_path / "none").verdict is PROBLEM
    assert look(nobody, kind="folder", path=tmp_path).verdict is PROBLEM


def test_the_broker_of_a_topic_is_looked_at_like_the_agents_own(mosquitto: Mosquitto) -> None:
    broker = {"host": mosquitto.host, "port": mosquitto.port}
    assert verdicts(check(kind="mqtt", topic="frames", broker=broker)) == {"source": OK, "source.login": OK}
    mosquitto.stop()
    assert verdicts(check(kind="mqtt", topic="frames", broker=broker)) == {"source": PROBLEM}


def test_a_broker_with_unreadable_certificates_is_a_problem(tmp_path: Path) -> None:
    finding = look(kind="mqtt", topic="frames", broker={"ca_file": tmp_path / "none.pem"})
    assert finding.verdict is PROBLEM


def test_a_port_for_posts_is_fine_when_free_and_a_warning_when_taken() -> None:
    port = free_port()
    assert look(kind="http", port=port).verdict is OK
    with socket.create_server(("127.0.0.1", port)):
        assert look(kind="http", port=port).verdict is WARNING
    assert look(kind="http", port=port, host="192.0.2.1").verdict is PROBLEM


def test_a_sockets_folder_must_be_there_and_its_path_short(tmp_path: Path) -> None:
    assert look(kind="socket", path=tmp_path / "line.sock").verdict is OK
    assert look(kind="socket", path=tmp_path / "none" / "line.sock").verdict is PROBLEM
    assert look(nobody, kind="socket", path=tmp_path / "line.sock").verdict is PROBLEM
    assert "107" in look(kind="socket", path=tmp_path / ("x" * 107)).what
