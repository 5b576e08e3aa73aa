"""Other programs, asked for a few words."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias


@dataclass(frozen=True, slots=True)
class Ran:
    """How a program ended.

    Attributes:
        code: its exit code; negative, the signal that killed it.
        output: what it wrote to standard output.
        errors: and to standard error.
    """

    code: int
    output: str
    errors: str = ""


Run: TypeAlias = Callable[[Sequence[str], float], "Ran | None"]
"""Runs a command for at most so many seconds; None where it is not installed, or takes longer."""


def run_command(command: Sequence[str], seconds: float) -> Ran | None:
    """See `Run`."""
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=seconds,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return Ran(done.returncode, done.stdout, done.stderr)
