"""The subcommand ``driftprint export``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

_MODEL, _IMAGES, _CHOICES = "The model", "How a frame becomes the model's input", "The fingerprint"


def export(
    out: Annotated[
        Path,
        typer.Argument(
            help="The bundle to write, named `NAME-VERSION.driftprint`. The version is a number that rises."
        ),
    ],
    inliers: Annotated[
        Path,
        typer.Option(
            "--inliers",
            "-i",
            help="What the model was trained for: a folder of images, or an .npz "
            "whose array `x` holds frames (uint8 [N,H,W] or [N,H,W,3], or raw tensors [N,...]) and whose "
            "array `group`, if any, names the video or house of each.",
        ),
    ],
    calibration: Annotated[
        Path | None,
        typer.Option(
            "--calibration",
            "-c",
            help="The same, but frames the model was *not* trained on. "
            "Strongly advised: without it some of the inliers are set aside.",
        ),
    ] = None,
    onnx: Annotated[Path | None, typer.Option(help="The model as an ONNX file.", rich_help_panel=_MODEL)] = None,
    torch: Annotated[
        str | None,
        typer.Option(
            help="The model as `package.module:function`, called without arguments for a torch.nn.Module.",
            rich_help_panel=_MODEL,
        ),
    ] = None,
    checkpoint: Annotated[
        Path | None,
        typer.Option(
            help="Its weights, as `torch.save(model.state_dict(), path)` writes them.", rich_help_panel=_MODEL
        ),
    ] = None,
    constant: Annotated[
        list[str] | None,
        typer.Option(
            "--constant",
            metavar="NAME=VALUE",
            rich_help_panel=_MODEL,
            help="A fixed value for an input that is no frame, such as `sr=16000`; repeatable.",
        ),
    ] = None,
    task: Annotated[
        str,
        typer.Option(
            help="`classifier`, `none` (detector, embedder, ...), or `auto` to find out.", rich_help_panel=_MODEL
        ),
    ] = "auto",
    labels: Annotated[
        Path | None,
        typer.Option(
            help="A text file with one class name a line, in the order of the model's output.", rich_help_panel=_MODEL
        ),
    ] = None,
    preset: Annotated[
        str | None,
        typer.Option(
            help="`unit` (0 to 1, the default), `raw` (0 to 255), `signed` (-1 to 1), `imagenet` "
            "(torchvision's), `yolo` (letterbox).",
            rich_help_panel=_IMAGES,
        ),
    ] = None,
    size: Annotated[
        str | None, typer.Option(metavar="HxW", help="For a model that leaves it free.", rich_help_panel=_IMAGES)
    ] = None,
    colour: Annotated[
        str | None, typer.Option("--colour", "--color", help="`rgb`, `bgr` or `grey`.", rich_help_panel=_IMAGES)
    ] = None,
    fit: Annotated[str | None, typer.Option(help="`stretch`, `crop` or `letterbox`.", rich_help_panel=_IMAGES)] = None,
    resize_shorter: Annotated[
        int | None, typer.Option(help="With `crop`: the shorter side before the cut.", rich_help_panel=_IMAGES)
    ] = None,
    resize_filter: Annotated[
        str | None,
        typer.Option(
            "--filter", help="`nearest`, `box`, `bilinear`, `hamming`, `bicubic` or `lanczos`.", rich_help_panel=_IMAGES
        ),
    ] = None,
    scale: Annotated[
        float | None, typer.Option(help="Pixels are multiplied by this first.", rich_help_panel=_IMAGES)
    ] = None,
    mean: Annotated[
        str | None,
        typer.Option(
            help="Then this is subtracted: one number, or one a channel, with commas.", rich_help_panel=_IMAGES
        ),
    ] = None,
    std: Annotated[str | None, typer.Option(help="Then they are divided by this.", rich_help_panel=_IMAGES)] = None,
    layer: Annotated[
        list[str] | None,
        typer.Option(
            "--layer",
            help="A tensor of the graph to fingerprint; repeatable. By default the last of each stage.",
            rich_help_panel=_CHOICES,
        ),
    ] = None,
    method: Annotated[
        str,
        typer.Option(
            help="How a layer's inliers are described: `gaussian`, `gram`, `knn`, `nac`, `neuralfp`; for classifiers "
            "also `relative`, `vim`, `fdbd`, `energy`, `msp`, `maxlogit`. See docs/detection.md.",
            rich_help_panel=_CHOICES,
        ),
    ] = "gaussian",
    combine: Annotated[
        str | None,
        typer.Option(
            help="How one score is made of all layers: `joint` (learnt from inliers and changed inliers, the default), "
            "`fisher`, `harmonic` or `min` (of their p-values).",
            rich_help_panel=_CHOICES,
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the division of the inliers.", rich_help_panel=_CHOICES)] = 0,
    most_frames: Annotated[
        int, typer.Option(help="Use at most so many inliers, evenly spread.", min=100, rich_help_panel=_CHOICES)
    ] = 50_000,
    description: Annotated[str, typer.Option(help="One line for people.")] = "",
    report: Annotated[
        Path | None, typer.Option(help="Where to write the report. By default beside the bundle.")
    ] = None,
    zip: Annotated[bool, typer.Option("--zip", help="Write one zip file instead of a folder.")] = False,
) -> None:
    """Take a model's fingerprint and write it, with the model, into a bundle.

    Needs the model and frames it was trained for; never an outlier. For an ONNX classifier with torchvision's
    preprocessing:

    `driftprint export parts-1.driftprint --onnx parts.onnx --preset imagenet --inliers train/ --calibration val/`

    For a PyTorch model:

    `driftprint export parts-1.driftprint --torch parts.net:build --checkpoint parts.pt --size 64x64 -i train/ -c val/`

    Then look at the report, and run the bundle with `driftprint agent` or `driftprint.Monitor`.
    """
    options = dict(locals())
    from driftprint.errors import MissingExtraError

    try:
        from driftprint_export.command import Options, run
    except ModuleNotFoundError as error:
        extra = "export" if torch else "onnx"
        raise MissingExtraError(f"driftprint export needs the package {error.name}", extra=extra) from None

    run(Options(**options))
