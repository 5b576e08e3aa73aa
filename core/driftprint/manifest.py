"""A bundle's manifest: what the model eats, how its fingerprint was made, and what it was calibrated on."""

from __future__ import annotations

from enum import Enum
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from driftprint.errors import BundleError

MANIFEST_SCHEMA: Literal[1] = 1
"""The major version of the manifest. Raised only when an older reader would misunderstand."""

SCORE_OUTPUT = "driftprint_score"
"""The graph's output with one outlier score a frame: float32 [N]."""

LAYERS_OUTPUT = "driftprint_layers"
"""The graph's output with one score a frame and fingerprinted layer: float32 [N, L]."""

MAX_CALIBRATION = 20_000
"""More calibration scores than this are not stored: the bound on p0 hardly tightens any more."""

Positive = Annotated[int, Field(ge=1, le=65_536)]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class _Part(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


class Colour(str, Enum):
    """The channels a model expects, in their order."""

    RGB = "rgb"
    BGR = "bgr"
    GREY = "grey"


class Layout(str, Enum):
    """The order of an image tensor's axes."""

    NCHW = "NCHW"
    NHWC = "NHWC"
    NHW = "NHW"


class Fit(str, Enum):
    """How a frame of another aspect ratio is made to fit."""

    STRETCH = "stretch"
    """Resize both sides, whatever the aspect ratio."""
    CROP = "crop"
    """Resize the shorter side to ``resize_shorter``, cut the middle."""
    LETTERBOX = "letterbox"
    """Resize to fit inside, pad evenly with ``pad_value``."""


class Filter(str, Enum):
    """The resampling filter, as Pillow defines it: with antialiasing when making smaller."""

    NEAREST = "nearest"
    BOX = "box"
    BILINEAR = "bilinear"
    HAMMING = "hamming"
    BICUBIC = "bicubic"
    LANCZOS = "lanczos"


class ImageInput(_Part):
    """How a frame (uint8 [H, W] grey or [H, W, 3] RGB) becomes the model's input tensor.

    In this order: colour, resize and crop or pad, then ``(pixel * scale - mean) / std`` per channel in
    float32, cast to `dtype`, laid out as `layout`.
    """

    kind: Literal["image"] = "image"
    name: str
    """The graph input's name."""
    dtype: Literal["float32", "float16", "uint8"] = "float32"
    layout: Layout = Layout.NCHW
    height: Positive
    width: Positive
    colour: Colour = Colour.RGB
    fit: Fit = Fit.STRETCH
    filter: Filter = Filter.BILINEAR
    resize_shorter: Positive | None = None
    """For fit "crop": the length of the shorter side before the cut; the larger target side if None."""
    pad_value: Annotated[int, Field(ge=0, le=255)] = 114
    """For fit "letterbox": the grey level of the padding."""
    scale: Finite = 1 / 255
    mean: tuple[Finite, ...] = (0.0,)
    """One number, or one a channel, in the tensor's channel order."""
    std: tuple[Annotated[float, Field(gt=0, allow_inf_nan=False)], ...] = (1.0,)

    @property
    def channels(self) -> int:
        """How many channels the tensor has."""
        return 1 if self.colour is Colour.GREY else 3

    @model_validator(mode="after")
    def _consistent(self) -> ImageInput:
        for field in ("mean", "std"):
            if len(getattr(self, field)) not in (1, self.channels):
                raise ValueError(f"{field} must have 1 or {self.channels} numbers")
        if self.layout is Layout.NHW and self.colour is not Colour.GREY:
            raise ValueError("layout NHW is for grey images")
        if self.fit is Fit.CROP and (self.resize_shorter or max(self.height, self.width)) < max(
            self.height, self.width
        ):
            raise ValueError("resize_shorter must be at least the longer side of the crop")
        return self


class TensorInput(_Part):
    """A raw tensor (audio features, vibration, tokens), handed to the model as it is."""

    kind: Literal["tensor"] = "tensor"
    name: str
    dtype: Literal["float32", "float16", "float64", "uint8", "int8", "int32", "int64"] = "float32"
    shape: tuple[Positive, ...] = Field(max_length=6)
    """The shape of one frame, without the batch axis."""


ModelInput = Annotated[ImageInput | TensorInput, Field(discriminator="kind")]


class Fingerprint(_Part):
    """How the score is computed, for people; the graph itself holds the mathematics."""

    method: str
    """The fingerprint method's registered name."""
    combination: str = "fisher"
    """The registered name of how the layers' scores are joined."""
    layers: tuple[str, ...] = Field(min_length=1, max_length=64)
    """The fingerprinted tensors, in the order of the graph's `LAYERS_OUTPUT`."""
    class_conditional: bool
    fitted_on: Annotated[int, Field(ge=1)]
    """How many inliers it was fitted on."""


class CalibrationSet(_Part):
    """The scores of inliers that neither the model nor the fingerprint was fitted on."""

    scores: tuple[Finite, ...] = Field(min_length=1, max_length=MAX_CALIBRATION)
    """Sorted, ascending."""
    groups: Annotated[int, Field(ge=1)] | None = None
    """How many houses, videos or sessions they come from; None if unknown."""
    held_out_from_training: bool | None = None
    """Whether the model was trained without them; None if the exporter was not told."""

    @model_validator(mode="after")
    def _ascending(self) -> CalibrationSet:
        if any(a > b for a, b in zip(self.scores, self.scores[1:], strict=False)):
            raise ValueError("scores must ascend")
        return self


class Tolerance(_Part):
    """How far a replayed golden frame may be from what the exporter saw."""

    score: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    """Absolute, in units of the score."""
    output: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    """Absolute, relative to each output's largest magnitude."""


class FileEntry(_Part):
    """One file of the bundle."""

    sha256: Sha256
    size: Annotated[int, Field(ge=0)]


class Provenance(_Part):
    """How the bundle was made."""

    driftprint: str
    """The version of driftprint."""
    packages: dict[str, str] = Field(default_factory=dict)
    """The packages that took part, with versions."""
    source: str = ""
    """The model it was made from: a file's or factory's name, never a path."""
    arguments: dict[str, str] = Field(default_factory=dict)
    """The exporter's settings that differ from the defaults, and the seed."""


class Manifest(_Part):
    """``manifest.json`` of a bundle."""

    schema_version: Literal[1] = MANIFEST_SCHEMA
    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.]([A-Za-z0-9_.-]{0,62}[A-Za-z0-9_.])?$")]
    version: Annotated[int, Field(ge=0, lt=2**31)]
    """Rises with every release of the bundle."""
    description: str = ""
    labels: tuple[Annotated[str, Field(max_length=128)], ...] = Field(default=(), max_length=100_000)
    """The class names, in the order of the logits; empty for a model without classes."""
    logits_output: str | None = None
    """The graph output whose largest entry is the predicted class; None for a model without classes."""
    input: ModelInput
    fingerprint: Fingerprint
    calibration: CalibrationSet
    tolerance: Tolerance
    training_data_sha256: Sha256
    """Digest of the inliers the fingerprint was fitted on: sha256 over the sha256 of each frame, in order."""
    files: dict[str, FileEntry]
    """Every other file of the bundle by its name, the signature excepted."""
    provenance: Provenance

    @property
    def id(self) -> str:
        """``NAME-VERSION``."""
        return f"{self.name}-{self.version}"

    def label(self, index: int) -> str:
        """The name of a predicted class: its label, or its number where there are no labels."""
        return self.labels[index] if index < len(self.labels) else str(index)


def check_not_older(new: Manifest, current: Manifest) -> None:
    """Refuse a step back to an older version of the same bundle: its signature holds as well as ever.

    Args:
        new: the bundle to take.
        current: the one that has been running in its place. One of another name can be no older.

    Raises:
        BundleError: where the new one is older.
    """
    if new.name == current.name and new.version < current.version:
        raise BundleError(
            f"is older than version {current.version}, which has run here",
            where=new.id,
            fix="export it again with a higher version",
        )
