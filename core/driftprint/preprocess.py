"""From a frame to the model's input tensor, exactly as the manifest says."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from driftprint.errors import FrameError
from driftprint.manifest import Colour, Filter, Fit, ImageInput, Layout, ModelInput, TensorInput

Frame = NDArray[Any]
"""An image, uint8 [H, W] (grey) or [H, W, 3] (RGB); or a raw tensor of the manifest's shape."""

MAX_PIXELS = 100_000_000
"""Larger images are refused: before they are decoded, and before they are brought to another size."""


class Preprocessor(Protocol):
    """Turns a frame into a batch of one."""

    def __call__(self, frame: Frame) -> NDArray[Any]:
        """The model's input for `frame`, with a batch axis of 1.

        Raises:
            FrameError: where the frame is not of the kind that the manifest describes.
        """
        ...


def make_preprocessor(spec: ModelInput) -> Preprocessor:
    """The preprocessor that `spec` describes."""
    return ImagePreprocessor(spec) if isinstance(spec, ImageInput) else TensorPreprocessor(spec)


class ImagePreprocessor:
    """Colour, size, scale and layout of an image, in that order.

    Resizing is Pillow's, which antialiases when making smaller: the same pixels as torchvision's transforms
    on PIL images give.

    Args:
        spec: what the model expects.
    """

    def __init__(self, spec: ImageInput) -> None:
        self._spec = spec
        self._filter = _FILTERS[spec.filter]
        std = np.asarray(spec.std, np.float32)
        # (pixel * scale - mean) / std as one multiplication and one addition
        self._gain = np.float32(spec.scale) / std
        self._offset = -np.asarray(spec.mean, np.float32) / std
        self._as_is = spec.dtype == "uint8" and spec.scale == 1 and not np.any(self._offset) and np.all(std == 1)

    def __call__(self, frame: Frame) -> NDArray[Any]:
        """The model's input for an image; see `Preprocessor`."""
        spec = self._spec
        pixels = self._fit(self._colour(checked_image(frame)))
        values = pixels if self._as_is else np.multiply(pixels, self._gain, dtype=np.float32)
        if not self._as_is:
            values += self._offset
        if spec.colour is Colour.GREY:
            values = values[..., 0]
            batch = {
                Layout.NCHW: values[None, None],
                Layout.NHWC: values[None, ..., None],
                Layout.NHW: values[None],
            }[spec.layout]
        else:
            batch = values.transpose(2, 0, 1)[None] if spec.layout is Layout.NCHW else values[None]
        return np.ascontiguousarray(batch, dtype=spec.dtype)

    def _colour(self, frame: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """To [H, W, C] with the channels the model expects."""
        if self._spec.colour is Colour.GREY:
            if frame.ndim == 3:  # ITU-R BT.601 luma, as Pillow and OpenCV compute it
                frame = np.asarray(Image.fromarray(frame).convert("L"))
            return frame[..., None]
        if frame.ndim == 2:
            frame = np.repeat(frame[..., None], 3, axis=2)
        return frame[..., ::-1] if self._spec.colour is Colour.BGR else frame

    def _fit(self, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        spec = self._spec
        height, width = pixels.shape[:2]
        if spec.fit is Fit.STRETCH:
            return self._resize(pixels, spec.height, spec.width)
        if spec.fit is Fit.CROP:
            ratio = (spec.resize_shorter or max(spec.height, spec.width)) / min(height, width)
            rows, columns = max(spec.height, int(height * ratio)), max(spec.width, int(width * ratio))
            if rows * columns > MAX_PIXELS:
                raise FrameError(f"an image of {height} x {width}, too long to be cropped", reason="too_large")
            pixels = self._resize(pixels, rows, columns)
            top = round((pixels.shape[0] - spec.height) / 2)
            left = round((pixels.shape[1] - spec.width) / 2)
            return pixels[top : top + spec.height, left : left + spec.width]
        ratio = min(spec.height / height, spec.width / width)
        inner_height = min(spec.height, max(1, round(height * ratio)))
        inner_width = min(spec.width, max(1, round(width * ratio)))
        padded = np.full((spec.height, spec.width, pixels.shape[2]), spec.pad_value, np.uint8)
        top, left = (spec.height - inner_height) // 2, (spec.width - inner_width) // 2
        padded[top : top + inner_height, left : left + inner_width] = self._resize(pixels, inner_height, inner_width)
        return padded

    def _resize(self, pixels: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
        if pixels.shape[:2] == (height, width):
            return pixels
        image = Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)
        return np.asarray(image.resize((width, height), self._filter)).reshape(height, width, -1)


class TensorPreprocessor:
    """Checks a raw tensor and gives it a batch axis.

    Args:
        spec: what the model expects.
    """

    def __init__(self, spec: TensorInput) -> None:
        self._spec = spec

    def __call__(self, frame: Frame) -> NDArray[Any]:
        """The model's input for a tensor; see `Preprocessor`."""
        if frame.shape != self._spec.shape:
            raise FrameError(
                f"a tensor of shape {list(frame.shape)}, expected {list(self._spec.shape)}", reason="shape"
            )
        if not np.can_cast(frame.dtype, self._spec.dtype, casting="same_kind"):
            raise FrameError(f"a tensor of {frame.dtype}, expected {self._spec.dtype}", reason="dtype")
        with np.errstate(over="ignore"):
            tensor = np.ascontiguousarray(frame, dtype=self._spec.dtype)
        if tensor.dtype.kind == "f" and not np.isfinite(tensor).all():
            raise FrameError(f"a tensor with NaN, infinity or numbers beyond {tensor.dtype}", reason="not_finite")
        if tensor.dtype.kind in "ui" and not np.array_equal(tensor, frame):
            raise FrameError(f"a tensor of {frame.dtype} with numbers beyond {tensor.dtype}", reason="dtype")
        return tensor[None]


def checked_image(frame: Frame) -> NDArray[np.uint8]:
    """The frame, if it is uint8 [H, W] or [H, W, 3] with at least one pixel.

    Raises:
        FrameError: if not.
    """
    if frame.dtype != np.uint8:
        raise FrameError(f"an image of {frame.dtype}, expected uint8", reason="dtype")
    if frame.ndim not in (2, 3) or (frame.ndim == 3 and frame.shape[2] != 3) or not frame.size:
        raise FrameError(f"an image of shape {list(frame.shape)}, expected [H, W] or [H, W, 3]", reason="shape")
    return frame


_FILTERS = {
    Filter.NEAREST: Image.Resampling.NEAREST,
    Filter.BOX: Image.Resampling.BOX,
    Filter.BILINEAR: Image.Resampling.BILINEAR,
    Filter.HAMMING: Image.Resampling.HAMMING,
    Filter.BICUBIC: Image.Resampling.BICUBIC,
    Filter.LANCZOS: Image.Resampling.LANCZOS,
}
