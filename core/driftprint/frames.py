"""Reading frames from files: folders of images and .npz arrays."""

from __future__ import annotations

import io
import warnings
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, UnidentifiedImageError

from driftprint.archives import DAMAGED, check_array
from driftprint.errors import DataError, FrameError
from driftprint.preprocess import MAX_PIXELS, Frame

IMAGE_SUFFIXES = frozenset({".bmp", ".gif", ".jpeg", ".jpg", ".png", ".ppm", ".pgm", ".tif", ".tiff", ".webp"})
_FORMATS = ("JPEG", "PNG", "BMP", "GIF", "PPM", "TIFF", "WEBP")
"""What these suffixes stand for. Pillow knows many more formats, one of which starts Ghostscript on what has come."""
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""By EXIF orientation."""


@dataclass(frozen=True, slots=True)
class FrameRef:
    """A frame that can be loaded.

    Attributes:
        name: the file's path within its folder, or the frame's number in its array.
        source: the file, a file's contents, or the frame.
    """

    name: str
    source: Path | bytes | NDArray[Any]

    def load(self) -> Frame:
        """The frame: an image as uint8 [H, W] or [H, W, 3] RGB, or a raw tensor.

        Raises:
            FrameError: where the file cannot be decoded.
        """
        if isinstance(self.source, Path | bytes):
            return decode_image(self.source)
        return self.source


class FrameSet(Protocol):
    """A finite, ordered set of frames."""

    groups: Sequence[str] | None
    """For each frame the video, house or session it comes from, where that is known."""

    def __len__(self) -> int:
        """How many frames there are."""
        ...

    def __getitem__(self, index: int) -> FrameRef:
        """The frame at `index`."""
        ...

    def __iter__(self) -> Iterator[FrameRef]:
        """All frames in order."""
        ...


class ImageFolder(Sequence[FrameRef]):
    """The images under a folder, subfolders included, in the order of their paths.

    Raises:
        DataError: where there are none.
    """

    groups: Sequence[str] | None = None

    def __init__(self, folder: Path) -> None:
        self._files = sorted(
            path for path in folder.rglob("*") if path.suffix.lower() in IMAGE_SUFFIXES and path.is_file()
        )
        self._folder = folder
        if not self._files:
            raise DataError(
                f"no images in this folder (looked for {', '.join(sorted(IMAGE_SUFFIXES))})", where=str(folder)
            )

    def __len__(self) -> int:
        return len(self._files)

    def __getitem__(self, index: Any) -> Any:  # a slice gives a list, as Sequence wants
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        file = self._files[index]
        return FrameRef(file.relative_to(self._folder).as_posix(), file)


class ArrayFrames(Sequence[FrameRef]):
    """Frames in memory.

    Args:
        x: [N, ...].
        groups: see `FrameSet.groups`.
    """

    def __init__(self, x: NDArray[Any], groups: Sequence[str] | None = None) -> None:
        self._x = x
        self.groups = groups

    def __len__(self) -> int:
        return len(self._x)

    def __getitem__(self, index: Any) -> Any:  # a slice gives a list, as Sequence wants
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        return FrameRef(str(index), self._x[index])


def read_frames(path: Path) -> FrameSet:
    """The frames at `path`: a folder of images, one image, or an .npz file.

    Args:
        path: for an .npz, array ``x`` holds the frames: uint8 [N, H, W] or [N, H, W, 3] RGB for images, any
            numbers [N, ...] for raw tensors.

    Raises:
        DataError: naming the path and what was expected there.
    """
    if path.is_dir():
        return ImageFolder(path)
    if not path.exists():
        raise DataError("no such file or folder", where=str(path))
    if path.suffix.lower() == ".npz":
        return _read_arrays(path)
    raise DataError("expected a folder of images or an .npz file with an array 'x'", where=str(path))


def _read_arrays(file: Path) -> ArrayFrames:
    """The frames of an .npz file: array ``x``, [N, ...], and optionally ``group``, [N]."""
    try:
        with zipfile.ZipFile(file) as archive:
            for name in ("x", "group"):
                if f"{name}.npy" in archive.namelist():
                    check_array(archive, name)
        with np.load(file, allow_pickle=False) as arrays:
            if "x" not in arrays:
                raise DataError(f"has no array 'x' (it has: {', '.join(arrays) or 'none'})", where=str(file))
            x, groups = arrays["x"], arrays.get("group")
    except DAMAGED as error:
        raise DataError(f"not a readable .npz file ({error})", where=str(file)) from None
    if x.ndim < 2 or not len(x) or x.dtype.kind not in "uif":
        raise DataError(f"array 'x' is {x.dtype} {list(x.shape)}, expected numbers of shape [N, ...]", where=str(file))
    if groups is not None and groups.shape != (len(x),):
        raise DataError(f"array 'group' has shape {list(groups.shape)}, expected [{len(x)}]", where=str(file))
    return ArrayFrames(x, None if groups is None else [str(group) for group in groups])


def decode_image(source: Path | bytes) -> NDArray[np.uint8]:
    """An encoded image's pixels, turned upright by its EXIF orientation.

    16 bits are scaled to 8, an alpha channel is dropped, of an animation the first picture is taken.

    Args:
        source: the file, or its contents.

    Returns:
        uint8 [H, W] for grey images, [H, W, 3] RGB for all others.

    Raises:
        FrameError: with reason ``undecodable``, ``too_large``, ``unreadable``, or ``dtype`` for 32-bit and signed
            numbers, of which nothing says which one is white.
    """
    where = str(source) if isinstance(source, Path) else None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's warnings on large pictures: we have our own limit
            with Image.open(io.BytesIO(source) if isinstance(source, bytes) else source, formats=_FORMATS) as image:
                if image.width * image.height > MAX_PIXELS:
                    raise FrameError(f"more than {MAX_PIXELS} pixels", reason="too_large", where=where)
                if image.mode == "F" or (image.mode == "I" and image.format == "TIFF"):
                    what = "an image of 32-bit or signed numbers, expected 8 or 16 bits without a sign"
                    raise FrameError(what, reason="dtype", where=where)
                image.load()  # by which Pillow turns TIFFs, and no others, upright itself
                return _pixels(_upright(image))
    except FrameError:
        raise
    except UnidentifiedImageError:
        raise FrameError("not an image that can be decoded", reason="undecodable", where=where) from None
    except Image.DecompressionBombError:
        raise FrameError(f"more than {MAX_PIXELS} pixels", reason="too_large", where=where) from None
    except Exception as error:  # Pillow's decoders raise whatever damaged data leads them into
        if isinstance(error, OSError) and error.errno is not None:
            raise FrameError(f"cannot be read ({error})", reason="unreadable", where=where) from None
        raise FrameError(f"not an image that can be decoded ({error})", reason="undecodable", where=where) from None


def _upright(image: Image.Image) -> Image.Image:
    # Not Pillow's exif_transpose: that writes the EXIF data anew, which fails on what some cameras put in there.
    turn = _TURNS.get(image.getexif().get(ExifTags.Base.Orientation, 1))
    return image if turn is None else image.transpose(turn)


def _pixels(image: Image.Image) -> NDArray[np.uint8]:
    if image.mode.startswith("I"):  # 16 bits, whatever the largest number in it: 65535 becomes 255
        return ((np.asarray(image).astype(np.uint32) + 128) // 257).astype(np.uint8)
    return np.asarray(image.convert("L" if image.mode in ("1", "L", "LA") else "RGB"))
