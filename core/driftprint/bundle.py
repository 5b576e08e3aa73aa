"""Reading and writing bundles: a folder or a zip file named ``NAME-VERSION.driftprint``."""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from driftprint.archives import DAMAGED, check_array
from driftprint.bundle_files import (
    GOLDEN,
    MANIFEST,
    MODEL,
    SIGNATURE,
    SUFFIX,
    Limits,
    read_file,
    read_files,
    zip_files,
)
from driftprint.errors import BundleError
from driftprint.keys import TrustedKeys
from driftprint.manifest import FileEntry, Manifest
from driftprint.onnx_wire import has_external_data
from driftprint.settings import explain
from driftprint.signing import Verified, read_verified

__all__ = [
    "GOLDEN",
    "GOLDEN_FRAMES",
    "MANIFEST",
    "MODEL",
    "SUFFIX",
    "Bundle",
    "Golden",
    "Limits",
    "read_bundle",
    "read_manifest",
    "sample",
    "write_bundle",
]

GOLDEN_FRAMES = 16


@dataclass(frozen=True)
class Golden:
    """Frames with what the exporter saw for them, replayed whenever a bundle is loaded.

    Attributes:
        frames: raw frames, before preprocessing.
        scores: float32 [G].
        layers: float32 [G, L].
        outputs: for each of the model's own outputs, float64 [G, S]: samples of it as `sample` takes them.
    """

    frames: tuple[NDArray[Any], ...]
    scores: NDArray[np.float32]
    layers: NDArray[np.float32]
    outputs: Mapping[str, NDArray[np.float64]]


@dataclass(frozen=True)
class Bundle:
    """A bundle in memory, its checksums verified.

    Attributes:
        manifest: what it says of itself.
        model: the serialised graph.
        golden: the golden frames.
        signed_by: whose signature was verified; None where none was asked for.
    """

    manifest: Manifest
    model: bytes
    golden: Golden
    signed_by: Verified | None = None


def read_bundle(path: Path, limits: Limits | None = None, trusted: TrustedKeys | None = None) -> Bundle:
    """Read a bundle and verify every file's size and checksum against the manifest.

    Nothing is unpickled, no other file than the bundle's own is opened, and a model whose tensors lie in other
    files is refused.

    Args:
        path: the folder or zip file.
        limits: the largest files to read.
        trusted: who must have signed it: nothing in it is parsed before its signature holds. None takes unsigned
            bundles too, and looks at no signature.

    Raises:
        SignatureError: where the signature cannot be trusted.
        BundleError: naming the file and what is wrong with it.
    """
    limits = limits or Limits()
    if trusted is None:
        contents, signed_by = read_files(path, limits), None
    else:
        contents, signed_by = read_verified(path, trusted, limits)
    manifest = _parse_manifest(contents[MANIFEST], where=f"{path}/{MANIFEST}")
    for name in (MODEL, GOLDEN):
        entry = manifest.files.get(name)
        if entry is None:
            raise BundleError(f"{name} is not listed under files", where=f"{path}/{MANIFEST}")
        if len(contents[name]) != entry.size or hashlib.sha256(contents[name]).hexdigest() != entry.sha256:
            raise BundleError(
                "does not match the checksum in the manifest", where=f"{path}/{name}", fix="copy the bundle again"
            )
    try:
        external = has_external_data(contents[MODEL])
    except ValueError as error:
        raise BundleError(f"not a valid ONNX model ({error})", where=f"{path}/{MODEL}") from None
    if external:
        raise BundleError(
            "has tensors that lie in other files; a bundle's model must be self-contained", where=f"{path}/{MODEL}"
        )
    golden = _parse_golden(contents[GOLDEN], limits.golden, where=f"{path}/{GOLDEN}")
    return Bundle(manifest, contents[MODEL], golden, signed_by)


def read_manifest(path: Path, limits: Limits | None = None) -> Manifest:
    """Read a bundle's manifest alone.

    Raises:
        BundleError: naming the file or field and what was expected there.
    """
    return _parse_manifest(read_file(path, MANIFEST, limits or Limits()), where=f"{path}/{MANIFEST}")


def write_bundle(path: Path, manifest: Manifest, model: bytes, golden: Golden, *, zipped: bool = False) -> Manifest:
    """Write a bundle; the same contents give the same bytes.

    Args:
        path: the folder or zip file to write; what is there is replaced.
        manifest: its ``files`` are filled in here.
        model: the serialised model.
        golden: the golden frames.
        zipped: one zip file instead of a folder.

    Returns:
        The manifest as written.
    """
    contents = {MODEL: model, GOLDEN: _pack_golden(golden)}
    files = {
        name: FileEntry(sha256=hashlib.sha256(data).hexdigest(), size=len(data)) for name, data in contents.items()
    }
    manifest = manifest.model_copy(update={"files": files})
    contents[MANIFEST] = (manifest.model_dump_json(indent=1) + "\n").encode()
    if zipped:
        path.write_bytes(zip_files(contents))
    else:
        path.mkdir(parents=True, exist_ok=True)
        (path / SIGNATURE).unlink(missing_ok=True)
        for name, data in contents.items():
            (path / name).write_bytes(data)
    return manifest


def sample(output: NDArray[Any], most: int = 4096) -> NDArray[np.float64]:
    """At most `most` numbers of an output, evenly spread over it: what golden frames keep of large outputs.

    Args:
        output: an output of the model for one frame, of any shape and numeric dtype.
        most: how many numbers at most.

    Returns:
        float64 [S].
    """
    flat = np.asarray(output).reshape(-1)
    if flat.size > most:
        flat = flat[np.linspace(0, flat.size - 1, most).astype(np.int64)]
    return flat.astype(np.float64)


def _parse_manifest(data: bytes, *, where: str) -> Manifest:
    try:
        return Manifest.model_validate_json(data)
    except ValidationError as error:
        raise BundleError(explain(error), where=where) from None


def _pack_golden(golden: Golden) -> bytes:
    arrays: dict[str, NDArray[Any]] = {f"frame_{i:02d}": frame for i, frame in enumerate(golden.frames)}
    arrays["scores"] = golden.scores
    arrays["layers"] = golden.layers
    arrays |= {f"output_{name}": values for name, values in golden.outputs.items()}
    files = {}
    for name, array in arrays.items():
        buffer = io.BytesIO()
        np.lib.format.write_array(buffer, np.ascontiguousarray(array), allow_pickle=False)
        files[f"{name}.npy"] = buffer.getvalue()
    return zip_files(files)


def _parse_golden(data: bytes, most: int, *, where: str) -> Golden:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            if sum(info.file_size for info in archive.infolist()) > most:
                raise BundleError(f"unpacks to more than {most} bytes", where=where)
            for name in archive.namelist():
                check_array(archive, name.removesuffix(".npy"))
        with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
            golden = Golden(
                frames=tuple(arrays[name] for name in sorted(arrays) if name.startswith("frame_")),
                scores=arrays["scores"],
                layers=arrays["layers"],
                outputs={name[len("output_") :]: arrays[name] for name in arrays if name.startswith("output_")},
            )
    except (KeyError, *DAMAGED) as error:
        raise BundleError(f"not valid golden frames ({error})", where=where) from None
    arrays_of_numbers = (*golden.frames, golden.scores, golden.layers, *golden.outputs.values())
    if any(array.dtype.kind not in "uif" for array in arrays_of_numbers):
        raise BundleError("golden frames and their scores must be numbers", where=where)
    shapes = [golden.scores.shape, golden.layers.shape[:1], *(values.shape[:1] for values in golden.outputs.values())]
    if not golden.frames or any(shape != (len(golden.frames),) for shape in shapes):
        raise BundleError("golden frames and their scores differ in number", where=where)
    return golden
