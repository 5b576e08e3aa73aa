"""``driftprint score``: a bundle's scores for a set of frames, as a table."""

from __future__ import annotations

import csv
import sys
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TextIO

import typer

if TYPE_CHECKING:
    from driftprint.scorer import Scored

COLUMNS = ("frame", "score", "p_value", "outlier", "predicted")


def score(
    bundle: Annotated[str, typer.Argument(help="A bundle's path, or the name of a reference bundle.")],
    path: Annotated[
        Path, typer.Argument(help="A folder of images, or an .npz file whose array `x` is uint8 [N,H,W] or [N,H,W,3].")
    ],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Write one CSV line a frame here; `-` is standard output.")
    ] = None,
    plot: Annotated[
        Path | None,
        typer.Option("--plot", help="Draw the scores' histogram against the calibration set (PNG, SVG or PDF)."),
    ] = None,
    alpha: Annotated[
        float, typer.Option(help="A frame is an outlier when its p-value is at most this.", min=0.0001, max=0.5)
    ] = 0.05,
    threads: Annotated[int, typer.Option(help="Threads one inference may use.", min=1)] = 1,
) -> None:
    """Score a set of frames and print the share of outliers.

    The CSV has the columns `frame,score,p_value,outlier,predicted`. Frames that cannot be decoded are counted
    on standard error, they are no outliers.

    Example: `driftprint score digits photos/ --out scores.csv --plot scores.png`
    """
    from rich.console import Console
    from rich.progress import track

    from driftprint.bundle import read_bundle
    from driftprint.errors import DataError, FrameError
    from driftprint.frames import read_frames
    from driftprint.installed import find_bundle
    from driftprint.scorer import Scorer

    console = Console(stderr=True)
    scorer = Scorer(read_bundle(find_bundle(bundle)), threads=threads)
    bound = _bound(len(scorer.calibration), alpha)
    frames = read_frames(path)
    scored: list[Scored] = []
    faults = 0
    with _open(out) as file:
        writer = csv.writer(file) if file else None
        if writer:
            writer.writerow(COLUMNS)
        for ref in track(frames, description="scoring", total=len(frames), console=console, transient=True):
            try:
                result = scorer.score(ref.load())
            except FrameError as error:
                faults += 1
                console.print(f"{ref.name}: {error.what}", style="yellow", markup=False, highlight=False)
                continue
            scored.append(result)
            if writer:
                writer.writerow(_row(ref.name, result, alpha))
    if not scored:
        raise DataError("none of the frames can be scored", where=str(path))
    if plot:
        from driftprint.plot import plot_scores

        plot_scores(plot, [result.score for result in scored], scorer.manifest, alpha)
    ratio = sum(result.p_value <= alpha for result in scored) / len(scored)
    console.print(
        f"{scorer.manifest.id}: outlier ratio {ratio:.3f} of {len(scored)} frames at alpha {alpha:g} "
        f"(inliers stay under {bound:.3f})" + (f"; {faults} could not be scored" if faults else ""),
        highlight=False,
    )


def _bound(calibration_size: int, alpha: float) -> float:
    from driftprint.errors import ConfigError
    from driftprint.stats.conformal import outlier_bound

    try:
        return outlier_bound(calibration_size, alpha)
    except ValueError as error:
        raise ConfigError(str(error), where="--alpha") from None


def _row(name: str, scored: Scored, alpha: float) -> tuple[str, str, str, int, str]:
    return (
        name,
        f"{scored.score:.6g}",
        f"{scored.p_value:.6g}",
        int(scored.p_value <= alpha),
        scored.predicted or "",
    )


def _open(out: Path | None) -> AbstractContextManager[TextIO | None]:
    if out is None:
        return nullcontext(None)
    if str(out) == "-":
        return nullcontext(sys.stdout)
    from driftprint.errors import ConfigError

    try:
        return out.open("w", newline="", encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"cannot be written ({error.strerror})", where=str(out)) from None
