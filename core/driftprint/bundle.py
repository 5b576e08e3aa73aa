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

from driftprint.archives import DAMAGED, check_array, checked_member
from driftprint.errors import BundleError
from driftprint.manifest import FileEntry, Manifest
from driftprint.onnx_wire import has_external_data
from driftprint.settings import explain

SUFFIX = ".driftprint"
MANIFEST, MODEL, GOLDEN = "manifest.json", "model.onnx", "golden.npz"
GOLDEN_FRAMES = 16


@dataclass(frozen=True)
class Limits:
    """The largest files that are read, in bytes: checked before anything is allocated."""

    manifest: int = 16 * 2**20
    model: int = 512 * 2**20
    golden: int = 64 * 2**20
    """Of the unpacked arrays too."""

    def of(self, name: str) -> int:
        """The limit for one of a bundle's files."""
        return {MANIFEST: self.manifest, MODEL: self.model, GOLDEN: self.golden}[name]


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
    """A bundle in memory, its checksums verified."""

    manifest: Manifest
    model: bytes
    golden: Golden


def read_bundle(path: Path, limits: Limits | None = None) -> Bundle:
    """Read a bundle and verify every file's size and checksum against the manifest.

    Nothing is unpickled, no other file than the bundle's own three is opened, and a model whose tensors lie
    in other files is refused.

    Args:
        path: the folder or zip file.
        limits: the largest files to read.

    Raises:
        BundleError: naming the file and what is wrong with it.
    """
    limits = limits or Limits()
    manifest = read_manifest(path, limits)
    contents = {}
    for name in (MODEL, GOLDEN):
        entry = manifest.files.get(name)
        if entry is None:
            raise BundleError(f"{name} is not listed under files", where=f"{path}/{MANIFEST}")
        contents[name] = _read(path, name, limits)
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
    return Bundle(manifest, contents[MODEL], golden)


def read_manifest(path: Path, limits: Limits | None = None) -> Manifest:
    """Read a bundle's manifest alone.

    Raises:
        BundleError: naming the file or field and what was expected there.
    """
    raw = _read(path, MANIFEST, limits or Limits())
    try:
        return Manifest.model_validate_json(raw)
    except ValidationError as error:
        raise BundleError(explain(error), where=f"{path}/{MANIFEST}") from None


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
        path.write_bytes(_zip(contents))
    else:
        path.mkdir(parents=True, exist_ok=True)
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


def _read(path: Path, name: str, limits: Limits) -> bytes:
    most = limits.of(name)
    try:
        if path.is_dir():
            return _read_limited(path / name, most)
        with zipfile.ZipFile(path) as archive:
            info = checked_member(archive, name)
            if info.file_size > most:
                raise BundleError(f"larger than {most} bytes", where=f"{path}/{name}")
            with archive.open(info) as file:
                data = file.read(most + 1)
    except KeyError:
        raise BundleError(f"has no {name}", where=str(path)) from None
    except FileNotFoundError:
        what = f"has no {name}" if path.is_dir() else "no such bundle"
        raise BundleError(what, where=str(path), fix="`driftprint bundle list` shows those installed") from None
    except zipfile.BadZipFile:
        raise BundleError("neither a folder nor a zip file", where=str(path)) from None
    except DAMAGED as error:
        raise BundleError(f"cannot be read ({error})", where=f"{path}/{name}") from None
    if len(data) > most:
        raise BundleError(f"larger than {most} bytes", where=f"{path}/{name}")
    return data


def _read_limited(file: Path, most: int) -> bytes:
    with file.open("rb") as stream:
        data = stream.read(most + 1)
    if len(data) > most:
        raise BundleError(f"larger than {most} bytes", where=str(file))
    return data


def _zip(contents: Mapping[str, bytes]) -> bytes:
    """A zip whose bytes depend on nothing but `contents`."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name in sorted(contents):
            info = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
            info.compress_type = zipfile.ZIP_DEFLATED
            info.external_attr = 0o644 << 16
            archive.writestr(info, contents[name])
    return buffer.getvalue()


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
    return _zip(files)


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
