"""What a daemon's log looks like where it goes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

SAY = """
import structlog
from driftprint.logs import configure_logging

configure_logging("info")
log = structlog.get_logger()
log.debug("unheard")
log.info("started", stream="belt")
log.error("lost", what="the camera")
"""


def lines(path: Path, journal: str | None) -> list[str]:
    environment = {name: value for name, value in os.environ.items() if name != "JOURNAL_STREAM"}
    with path.open("w+b") as file:
        status = os.fstat(file.fileno())
        if journal is not None:
            environment["JOURNAL_STREAM"] = journal.format(this=f"{status.st_dev}:{status.st_ino}")
        subprocess.run([sys.executable, "-c", SAY], env=environment, stderr=file, check=True)
    return path.read_text().splitlines()


def test_a_file_gets_a_json_object_a_line(tmp_path: Path) -> None:
    for journal in (None, "8:123"):
        entries = [json.loads(line) for line in lines(tmp_path / "log", journal)]
        assert [(entry["event"], entry["level"]) for entry in entries] == [("started", "info"), ("lost", "error")]
        assert entries[0]["stream"] == "belt"


def test_the_journal_is_told_of_priorities_too(tmp_path: Path) -> None:
    started, lost = lines(tmp_path / "log", "{this}")
    assert (started[:3], lost[:3]) == ("<6>", "<3>")
    assert json.loads(lost[3:])["what"] == "the camera"
