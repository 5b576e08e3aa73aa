"""Files that are there whole or not at all, and keys that nobody else can read at any moment."""

from __future__ import annotations

import os
from pathlib import Path

from driftprint.errors import ConfigError

PUBLIC = 0o644
SECRET = 0o600


def read(path: Path) -> bytes:
    """What is in a file.

    Raises:
        ConfigError: where it cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(f"cannot be read ({error.strerror})", where=str(path)) from None


def write(path: Path, data: bytes, *, mode: int) -> None:
    """Write a file, in place of one that is there. Its folder is made where it is missing, for the owner alone.

    Args:
        path: the file.
        data: its contents.
        mode: its permissions, which it has from the first byte on.

    Raises:
        ConfigError: where it cannot be written.
    """
    part = path.with_name(f".{path.name}.part")
    try:
        make_folder(path.parent)
        part.unlink(missing_ok=True)
        # O_EXCL: follows no link.
        with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        part.replace(path)
    except OSError as error:
        raise ConfigError(f"cannot be written ({error.strerror})", where=str(path)) from None


def make_folder(path: Path) -> None:
    """Make a folder and those above it that are missing, all for the owner alone."""
    if not path.is_dir():
        make_folder(path.parent)
        path.mkdir(mode=0o700)
