"""Prometheus' own check of an exposition."""

from __future__ import annotations

import os
import shutil
import subprocess

import pytest


def promtool_complaints(exposition: str) -> str:
    """What ``promtool check metrics`` says of it; empty where all is well.

    Without promtool the test is skipped, or fails where CI is "true".
    """
    binary = shutil.which("promtool")
    if binary is None:
        missing = "promtool is not installed (Debian: apt-get install prometheus)"
        if os.environ.get("CI") == "true":
            pytest.fail(missing)
        pytest.skip(missing)
    checked = subprocess.run(
        [binary, "check", "metrics"], input=exposition.encode(), capture_output=True, check=False, timeout=30
    )
    said = (checked.stdout + checked.stderr).decode()
    return said if checked.returncode == 0 else f"exit {checked.returncode}: {said}"
