"""What ``driftprint export`` does with its options."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from rich.console import Console
from rich.progress import track

from driftprint.bundle import SUFFIX, read_bundle, write_bundle
from driftprint.errors import ConfigError, DataError, FrameError
from driftprint.frames import FrameSet, read_frames
from driftprint.manifest import ModelInput
from driftprint.preprocess import Frame, make_preprocessor
from driftprint.scorer import Scorer
from driftprint_export.classes import Task
from driftprint_export.combinations import COMBINATIONS
from driftprint_export.inputs import ImageChoices, Preset, first_frame, make_input
from driftprint_export.methods import METHODS
from driftprint_export.pipeline import ExportSettings, export
from driftprint_export.report import write_report
from driftprint_export.source import GraphInput, SourceModel, load_onnx
from driftprint_export.summary import print_summary

_NAME = re.compile(r"^(?P<name>.+)-(?P<version>\d+)$")
C = TypeVar("C", bound=Enum)


@dataclass(frozen=True)
class Options:
    """The command's options as they were typed; see `driftprint_export.cli.export`."""

    out: Path
    inliers: Path
    calibration: Path | None
    onnx: Path | None
    torch: str | None
    checkpoint: Path | None
    constant: list[str] | None
    task: str
    labels: Path | None
    preset: str | None
    size: str | None
    colour: str | None
    fit: str | None
    resize_shorter: int | None
    resize_filter: str | None
    scale: float | None
    mean: str | None
    std: str | None
    layer: list[str] | None
    method: str
    combine: str | None
    seed: int
    most_frames: int
    description: str
    report: Path | None
    zip: bool


def run(options: Options) -> None:
    """Export, write the bundle and its report, and print a summary.

    Raises:
        DriftprintError: in any of its kinds, saying what to change.
    """
    console = Console(stderr=True)
    settings = _settings(options)
    inliers = read_frames(options.inliers)
    calibration = read_frames(options.calibration) if options.calibration else None
    first = _first(inliers, options.inliers)
    choices = _image_choices(options, inliers, first)
    source, model_input = _load(options, first, choices)

    def show(items: Iterable[Any], description: str, total: int) -> Iterable[Any]:
        return track(items, description=description, total=total, console=console)

    exported = export(source, model_input, inliers, calibration, settings, first=first, track=show)
    path = options.out
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        manifest = write_bundle(
            path, exported.bundle.manifest, exported.bundle.model, exported.bundle.golden, zipped=options.zip
        )
    except OSError as error:
        raise ConfigError(f"cannot be written ({error.strerror or error})", where=str(path)) from None
    Scorer(read_bundle(path))  # as a device will: what cannot be loaded here is not finished
    report = options.report or path.with_name(f"{manifest.id}.report.html")
    write_report(report, exported, manifest)
    print_summary(console, exported, manifest, path, report, stated=choices.stated)


def _settings(options: Options) -> ExportSettings:
    match = _NAME.match(options.out.name.removesuffix(SUFFIX))
    if options.out.suffix != SUFFIX or match is None:
        raise ConfigError(
            f"expected a name of the form NAME-VERSION{SUFFIX}, such as parts-1{SUFFIX}", where=str(options.out)
        )
    if options.method not in METHODS:
        raise ConfigError(f"no method {options.method!r}", where="--method", fix=f"there are {', '.join(METHODS)}")
    noted = ("preset", "size", "colour", "fit", "task", "most_frames", "constant", "layer", "calibration")
    if options.combine is not None and options.combine not in COMBINATIONS:
        raise ConfigError(
            f"no combination {options.combine!r}", where="--combine", fix=f"there are {', '.join(COMBINATIONS)}"
        )
    given = {name: getattr(options, name) for name in noted}
    return ExportSettings(
        name=match["name"],
        version=int(match["version"]),
        description=options.description,
        labels=_labels(options.labels),
        task=_choice(Task, options.task, "--task"),
        layers=tuple(options.layer or ()),
        method=options.method,
        combination=options.combine,
        seed=options.seed,
        most_frames=options.most_frames,
        # Paths say more about the machine than about the bundle.
        arguments={
            name: "given" if isinstance(value, Path) else str(value)
            for name, value in given.items()
            if value not in (None, [])
        },
    )


def _labels(path: Path | None) -> tuple[str, ...]:
    if path is None:
        return ()
    try:
        labels = tuple(line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip())
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot be read ({error})", where=str(path)) from None
    if len(labels) < 2:
        raise ConfigError("expected one class name a line, two or more", where=str(path))
    return labels


def _first(inliers: FrameSet, path: Path) -> Frame:
    try:
        return first_frame(inliers, str(path))
    except FrameError as error:
        raise DataError(f"its frames cannot be read ({error})", where=str(path)) from None


def _image_choices(options: Options, inliers: FrameSet, first: Frame) -> ImageChoices:
    fields: dict[str, Any] = {
        "colour": options.colour,
        "fit": options.fit,
        "resize_shorter": options.resize_shorter,
        "filter": options.resize_filter,
        "scale": options.scale,
        "mean": _numbers(options.mean, "--mean"),
        "std": _numbers(options.std, "--std"),
    }
    size = _size(options.size)
    if size is None and not isinstance(inliers[0].source, Path) and first.ndim >= 2:
        size = (first.shape[0], first.shape[1])  # arrays have one size, most likely the model's
    return ImageChoices(
        preset=None if options.preset is None else _choice(Preset, options.preset, "--preset"),
        size=size,
        size_stated=options.size is not None,
        fields={name: value for name, value in fields.items() if value is not None},
    )


def _load(options: Options, first: Frame, choices: ImageChoices) -> tuple[SourceModel, ModelInput]:
    if (options.onnx is None) == (options.torch is None):
        raise ConfigError("give the model, either with --onnx FILE or with --torch module:function", where="export")
    if options.onnx is not None:
        if options.checkpoint is not None:
            raise ConfigError("goes with --torch; an ONNX file has its weights in it", where="--checkpoint")
        source = load_onnx(options.onnx, _constants(options.constant or []))
        return source, make_input(source.input, first, choices)
    assert options.torch is not None
    from driftprint_export.torch_source import load_torch

    model_input = make_input(_torch_input(first, choices), first, choices)
    example = make_preprocessor(model_input)(first)
    return load_torch(options.torch, options.checkpoint, example), model_input


def _torch_input(first: Frame, choices: ImageChoices) -> GraphInput:
    """What a module takes, as far as the frames and the options tell."""
    shape: tuple[int | None, ...] = first.shape
    dtype = first.dtype if first.dtype.kind != "f" else np.dtype(np.float32)
    if first.dtype == np.uint8 and (first.ndim == 2 or (first.ndim == 3 and first.shape[2] == 3)):
        grey = choices.fields.get("colour", "grey" if first.ndim == 2 else "rgb") == "grey"
        shape, dtype = (1 if grey else 3, None, None), np.dtype(np.float32)
    return GraphInput("input", dtype, shape, batched=True)


def _constants(pairs: list[str]) -> dict[str, str]:
    constants = dict(pair.partition("=")[::2] for pair in pairs)
    if not all(name and value for name, value in constants.items()):
        raise ConfigError("expected NAME=VALUE", where="--constant")
    return constants


def _size(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    match = re.fullmatch(r"(\d+)[x,](\d+)", text)
    if match is None:
        raise ConfigError(f"{text!r} is no size, expected HEIGHTxWIDTH such as 224x224", where="--size")
    return int(match[1]), int(match[2])


def _numbers(text: str | None, where: str) -> tuple[float, ...] | None:
    if text is None:
        return None
    try:
        return tuple(float(number) for number in text.split(","))
    except ValueError:
        raise ConfigError(f"{text!r}: expected numbers with commas between", where=where) from None


def _choice(kind: type[C], text: str, where: str) -> C:
    try:
        return kind(text)
    except ValueError:
        names = ", ".join(str(member.value) for member in kind)
        raise ConfigError(f"no such choice {text!r}", where=where, fix=f"there are {names}") from None
