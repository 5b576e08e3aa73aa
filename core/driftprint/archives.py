"""Zip archives and the arrays in them, from strangers: their sizes are checked before anything is allocated."""

from __future__ import annotations

import math
import tokenize
import zipfile
import zlib

import numpy as np

DAMAGED = (
    OSError,
    ValueError,
    EOFError,
    RuntimeError,
    MemoryError,
    zipfile.BadZipFile,
    zlib.error,
    tokenize.TokenError,
)
"""What zipfile and numpy raise on archives and arrays that are damaged, encrypted or of an unknown kind."""

_COMPRESSIONS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)


def checked_member(archive: zipfile.ZipFile, name: str) -> zipfile.ZipInfo:
    """A file of an archive, compressed in no other way than the one that every Python can undo.

    Raises:
        KeyError: where there is no such file.
        ValueError: where it is compressed in another way.
    """
    info = archive.getinfo(name)
    if info.compress_type not in _COMPRESSIONS:
        raise ValueError(f"{name} is compressed in another way than deflate")
    return info


def check_array(archive: zipfile.ZipFile, name: str) -> None:
    """Check that an array holds as many numbers as it announces: numpy allocates by the announcement.

    Args:
        archive: an .npz file.
        name: the array's name.

    Raises:
        KeyError: where there is no such array.
        ValueError: where sizes differ, the array would have to be unpickled, or it is no array. Further errors
            of `DAMAGED` are possible.
    """
    info = checked_member(archive, f"{name}.npy")
    with archive.open(info) as file:
        version = np.lib.format.read_magic(file)
        if version not in ((1, 0), (2, 0)):
            raise ValueError(f"array {name!r} is of format {version}")
        read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, dtype = read_header(file)
        if dtype.hasobject:
            raise ValueError(f"array {name!r} holds objects, which are not unpickled")
        if math.prod(shape) * dtype.itemsize != info.file_size - file.tell():
            raise ValueError(f"array {name!r} announces {dtype} {list(shape)} and does not hold that")
