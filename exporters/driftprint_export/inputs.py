"""Works out what the model eats: from its graph, the frames, and what the user says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, cast

import numpy as np
from pydantic import ValidationError

from driftprint.errors import ConfigError, FrameError, ModelError
from driftprint.manifest import Colour, Filter, Fit, ImageInput, Layout, ModelInput, TensorInput
from driftprint.preprocess import Frame
from driftprint.settings import explain
from driftprint_export.source import GraphInput


class Preset(str, Enum):
    """Common ways to prepare an image."""

    UNIT = "unit"
    """Pixels divided by 255."""
    RAW = "raw"
    """Pixels as they are, 0 to 255."""
    SIGNED = "signed"
    """Pixels from -1 to 1."""
    IMAGENET = "imagenet"
    """torchvision's: resize to 8/7 of the side, cut the middle, ImageNet's mean and deviation."""
    YOLO = "yolo"
    """Letterbox, divided by 255."""


@dataclass(frozen=True)
class ImageChoices:
    """What the user says of the preprocessing; None is left to the preset and the graph.

    Attributes:
        preset: where to start from.
        size: height and width, for a graph that leaves them free.
        size_stated: whether the user said so, or it is the frames' own.
        fields: fields of `ImageInput` that win over the preset.
    """

    preset: Preset | None = None
    size: tuple[int, int] | None = None
    size_stated: bool = False
    fields: Mapping[str, Any] = field(default_factory=dict)

    @property
    def stated(self) -> bool:
        """Whether the user said anything at all."""
        return self.preset is not None or bool(self.fields)


def make_input(graph_input: GraphInput, frame: Frame, choices: ImageChoices) -> ModelInput:
    """Describe the model's input.

    A uint8 frame [H, W] or [H, W, 3] and an input of an image's shape make an image; everything else is a
    raw tensor.

    Args:
        graph_input: the model's input.
        frame: one of the inliers.
        choices: what the user says.

    Raises:
        ModelError: where the model cannot take such frames.
        ConfigError: where the choices do not fit the model.
    """
    place = _image_layout(graph_input) if _is_image(frame) else None
    if place is not None and not (frame.shape == graph_input.shape and graph_input.dtype.kind in "iu"):
        return _image_input(graph_input, *place, choices)
    if choices.stated:
        raise ConfigError(
            f"the model's input {graph_input.name!r} {_dims(graph_input)} or the frames, {frame.dtype} "
            f"{list(frame.shape)}, are no images",
            where="--preset",
        )
    return _tensor_input(graph_input, frame)


def _is_image(frame: Frame) -> bool:
    return frame.dtype == np.uint8 and (frame.ndim == 2 or (frame.ndim == 3 and frame.shape[2] == 3))


def _image_layout(graph_input: GraphInput) -> tuple[Layout, int] | None:
    """Layout and number of channels of an image input; None where it is none."""
    shape = graph_input.shape
    if len(shape) == 2:
        return Layout.NHW, 1
    if len(shape) == 3 and shape[0] in (1, 3):
        return Layout.NCHW, shape[0]
    if len(shape) == 3 and shape[2] in (1, 3):
        return Layout.NHWC, shape[2]
    if len(shape) == 3 and shape[0] is None:
        return Layout.NCHW, 3
    return None


def _image_input(graph_input: GraphInput, layout: Layout, channels: int, choices: ImageChoices) -> ImageInput:
    sides = graph_input.shape[1:] if layout is Layout.NCHW else graph_input.shape[:2]
    height, width = (given or (choices.size[i] if choices.size else None) for i, given in enumerate(sides))
    if height is None or width is None:
        raise ConfigError(
            f"the model's input {graph_input.name!r} {_dims(graph_input)} leaves the image's size free",
            where="--size",
            fix="say it, such as --size 224x224",
        )
    if choices.size_stated and choices.size and choices.size != (height, width):
        raise ConfigError(
            f"the model's input {graph_input.name!r} is {height}x{width}, not {choices.size[0]}x{choices.size[1]}",
            where="--size",
        )
    fields: dict[str, Any] = {
        "name": graph_input.name,
        "dtype": graph_input.dtype.name,
        "layout": layout,
        "height": height,
        "width": width,
        "colour": Colour.GREY if channels == 1 else Colour.RGB,
    }
    default = Preset.RAW if graph_input.dtype == np.uint8 else Preset.UNIT
    fields |= _preset_fields(choices.preset or default, min(height, width), channels)
    try:
        spec = ImageInput(**(fields | dict(choices.fields)))
    except ValidationError as error:
        raise ConfigError(explain(error), where="preprocessing") from None
    if spec.channels != channels:
        raise ConfigError(
            f"the model's input has {channels} channels, colour {spec.colour.value!r} has {spec.channels}",
            where="--colour",
        )
    return spec


def _preset_fields(preset: Preset, side: int, channels: int) -> dict[str, Any]:
    match preset:
        case Preset.UNIT:
            return {}
        case Preset.RAW:
            return {"scale": 1.0}
        case Preset.SIGNED:
            return {"mean": (0.5,), "std": (0.5,)}
        case Preset.YOLO:
            return {"fit": Fit.LETTERBOX, "filter": Filter.BILINEAR}
        case Preset.IMAGENET:
            if channels != 3:
                raise ConfigError("the imagenet preset is for colour images", where="--preset")
            return {
                "fit": Fit.CROP,
                "resize_shorter": round(side * 256 / 224),
                "mean": (0.485, 0.456, 0.406),
                "std": (0.229, 0.224, 0.225),
            }


def _tensor_input(graph_input: GraphInput, frame: Frame) -> TensorInput:
    fits = len(frame.shape) == len(graph_input.shape) and all(
        wanted in (None, given) for wanted, given in zip(graph_input.shape, frame.shape, strict=True)
    )
    if not fits:
        raise ModelError(
            f"takes {_dims(graph_input)} {graph_input.dtype}, the frames are {frame.dtype} {list(frame.shape)}",
            where=f"input {graph_input.name!r}",
            fix="images are uint8 [H, W] or [H, W, 3]; any other frame must have the input's own shape",
        )
    try:
        return TensorInput(name=graph_input.name, dtype=cast(Any, graph_input.dtype.name), shape=frame.shape)
    except ValidationError as error:
        raise ModelError(explain(error), where=f"input {graph_input.name!r}") from None


def _dims(graph_input: GraphInput) -> str:
    return "[N, " + ", ".join("?" if dim is None else str(dim) for dim in graph_input.shape) + "]"


def first_frame(frames: Any, where: str) -> Frame:
    """The first frame that can be read.

    Raises:
        FrameError: that of the first frame, where none of the first few can.
    """
    problem: FrameError | None = None
    for index in range(min(len(frames), 20)):
        try:
            frame: Frame = frames[index].load()
            return frame
        except FrameError as error:
            problem = problem or error
    raise problem or FrameError("no frames", reason="unreadable", where=where)
