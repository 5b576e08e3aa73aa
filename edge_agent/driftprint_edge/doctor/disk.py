"""The disk that the agent writes to."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from driftprint_edge.config import AgentSettings
from driftprint_edge.doctor.finding import Finding, Verdict, fine, problem, warning
from driftprint_edge.vitals import nearest_existing

MESSAGE_BYTES = 1000
"""Of a message in the store, about."""
FULL_BYTES = 10 * 10**6

VOLATILE = frozenset({"overlay", "ramfs", "tmpfs"})
REMOTE = frozenset({"9p", "ceph", "cifs", "fuse.sshfs", "nfs", "nfs4", "smb3", "vboxsf", "virtiofs"})


def check_disk(settings: AgentSettings, root: Path) -> Iterator[Finding]:
    """Where the store and the evidence go.

    Args:
        settings: agent.toml.
        root: of the file system that ``proc`` is in.
    """
    store = settings.store.path
    room = _check_room("store", store, settings.store.max_messages * MESSAGE_BYTES, "store.max_messages")
    yield room
    if room.verdict is not Verdict.PROBLEM:
        yield check_file_system(store, root)
    if settings.evidence.frames:
        most = int(settings.evidence.max_megabytes * 1e6)
        yield _check_room("evidence", settings.evidence_path, most, "evidence.max_megabytes")


def check_file_system(store: Path, root: Path) -> Finding:
    """Whether the store outlasts a restart, and SQLite works there.

    Args:
        store: the store's path.
        root: of the file system that ``proc`` is in.
    """
    kind = _file_system(nearest_existing(store).resolve(), root)
    fix = "set store.path to a folder on a disk of this machine; in a container, to a mounted volume"
    if kind in VOLATILE:
        return warning(
            "store.file_system",
            f"{kind}: totals and waiting messages may be lost when the machine or its container starts anew",
            fix,
        )
    if kind in REMOTE:
        return problem("store.file_system", f"{kind}: SQLite's write-ahead log does not work over a network", fix)
    return fine("store.file_system", kind or "this machine does not tell of what kind it is")


def _check_room(name: str, path: Path, most: int, setting: str) -> Finding:
    """Whether this user can write there, and as much as the settings allow."""
    try:
        existing = nearest_existing(path)
        folder = existing if existing.is_dir() else existing.parent
        with tempfile.TemporaryFile(dir=folder):
            pass
        if not os.access(existing, os.R_OK | os.W_OK):
            raise PermissionError("Permission denied")
        free, used = shutil.disk_usage(folder).free, _size(path)
    except OSError as error:
        return problem(
            name,
            f"{path}: this user cannot write there ({error.strerror or error})",
            f"make it the agent's own: chown, or another {setting.partition('.')[0]}.path; "
            "run the doctor as the user that the agent runs as",
        )
    what = f"{path}: {free / 1e6:,.0f} MB are free"
    if free < FULL_BYTES:
        return problem(name, what, "make room on that disk")
    if free < most - used:
        return warning(name, f"{what}, it may grow by {(most - used) / 1e6:,.0f} MB", f"make room, or lower {setting}")
    return fine(name, what)


def _size(path: Path) -> int:
    """Of a file, or of all files in a folder, in bytes.

    Raises:
        OSError: as where a folder above it is a file.
    """
    size = 0
    for file in (path, *path.rglob("*")):
        # The agent that runs may remove one at any moment.
        with suppress(FileNotFoundError):
            size += file.stat().st_size
    return size


def _file_system(path: Path, root: Path) -> str:
    """The kind of file system that a path is on; empty where the machine does not tell."""
    try:
        lines = (root / "proc/self/mounts").read_text(errors="replace").splitlines()
    except OSError:
        return ""
    # Device, folder and kind; blanks in them are octal escapes. The last of two on one folder hides the other.
    mounts = {_unescaped(fields[1]): fields[2] for line in lines if len(fields := line.split()) >= 3}
    return next((mounts[str(folder)] for folder in (path, *path.parents) if str(folder) in mounts), "")


def _unescaped(text: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), text)
