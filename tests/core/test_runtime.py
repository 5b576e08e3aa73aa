"""onnxruntime tells nobody."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

SCORE = """
import os
from driftprint import Monitor
from driftprint.digits import Part, load_digits

Monitor("digits")(load_digits(Part.DEMO).frames[0])
print(os.environ["ORT_DISABLE_TELEMETRY"])
"""


def score(home: Path, **environment: str) -> str:
    inherited = {name: value for name, value in os.environ.items() if name != "ORT_DISABLE_TELEMETRY"}
    inherited |= {"HOME": str(home), "XDG_CACHE_HOME": str(home / ".cache")} | environment
    ran = subprocess.run([sys.executable, "-c", SCORE], env=inherited, capture_output=True, text=True, check=True)
    return ran.stdout.strip()


def traces(home: Path) -> list[Path]:
    return [path for path in home.rglob("*") if "onnxruntime" in path.name.lower() or "Microsoft" in path.parts]


def test_scoring_leaves_no_trace_of_telemetry(tmp_path: Path) -> None:
    assert score(tmp_path) == "1"
    assert traces(tmp_path) == []


def test_who_wants_telemetry_may_have_it(tmp_path: Path) -> None:
    assert score(tmp_path, ORT_DISABLE_TELEMETRY="0") == "0"
