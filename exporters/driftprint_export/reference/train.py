"""``python -m driftprint_export.reference.train NAME``: trains a reference model and exports its bundle."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pooch
import torch
import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn, track

from driftprint.bundle import SUFFIX, write_bundle
from driftprint.frames import ArrayFrames
from driftprint.manifest import ImageInput
from driftprint_export.classes import Task
from driftprint_export.pipeline import Exported, ExportSettings, export
from driftprint_export.reference.datasets import DataSet, load
from driftprint_export.reference.models import MODELS, ReferenceModel
from driftprint_export.reference.quantised import in_int8
from driftprint_export.reference.training import Trained, predict, train
from driftprint_export.report import write_report
from driftprint_export.torch_source import trace_module

QUANTISED_ON = 500
"""Training images whose responses set the ranges of the integers."""


def train_model(name: str, data: DataSet, *, seed: int, work: Path, console: Console) -> Trained:
    """Train a reference model, from its last checkpoint on, and show how it goes.

    Args:
        name: of the model.
        data: its data set.
        seed: of its training.
        work: the folder of the checkpoints.
        console: where the progress is shown.
    """
    model = MODELS[name]
    weights = model.trained_as or name
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[loss]}"), TimeRemainingColumn())
    with Progress(*columns, console=console) as progress:
        bar = progress.add_task(f"training {weights}", total=None, loss="")

        def show(done: int, total: int, loss: float) -> None:
            progress.update(bar, completed=done, total=total, loss=f"step {done} of {total}, loss {loss:.3f}")

        return train(
            model.recipe,
            data.x_train,
            data.y_train,
            model.normalisation,
            seed=seed,
            checkpoint=work / f"{weights}-{seed}.pt",
            show=show,
        )


def export_model(
    name: str, model: ReferenceModel, trained: Trained, data: DataSet, *, seed: int, version: int, console: Console
) -> Exported:
    """Fingerprint a trained reference model: fitted on its training images, calibrated on half of the test images.

    The other half, `DataSet.fresh`, stays unseen for benchmarks and tests.
    """
    shape = data.x_train.shape[1:3]
    model_input = ImageInput(
        name="input",
        height=shape[0],
        width=shape[1],
        colour=model.colour,
        mean=model.normalisation.mean,
        std=model.normalisation.std,
    )

    def show(items: Any, description: str, total: int) -> Any:
        return track(items, description=description, total=total, console=console)

    channels = len(model.normalisation.mean)
    source = trace_module(trained.model, np.zeros((1, channels, *shape), np.float32), name)
    if model.int8:
        rows = data.some(QUANTISED_ON, np.random.default_rng(seed))
        source = in_int8(source, model.normalisation(data.x_train[rows]).contiguous().numpy())
    return export(
        source,
        model_input,
        ArrayFrames(data.x_train),
        ArrayFrames(data.calibration),
        ExportSettings(
            name=name,
            version=version,
            description=model.description,
            labels=model.labels,
            task=Task.CLASSIFIER,
            arguments={"recipe": f"driftprint_export.reference.train {name}", "training_seed": str(seed)},
        ),
        first=data.x_train[0],
        track=show,
    )


def main(
    name: Annotated[str, typer.Argument(help=f"One of {', '.join(MODELS)}.")],
    out: Annotated[Path, typer.Option(help="The folder to write the bundle and its report into.")] = Path(),
    seed: Annotated[int, typer.Option(help="Of the training.")] = 0,
    version: Annotated[int, typer.Option(help="The bundle's version.")] = 1,
    work: Annotated[Path | None, typer.Option(help="The folder of the checkpoints.")] = None,
    data: Annotated[
        Path | None, typer.Option(help="The folder of the data sets; else DRIFTPRINT_DATA, else they are downloaded.")
    ] = None,
    threads: Annotated[int | None, typer.Option(help="Threads to train with.")] = None,
) -> None:
    """Train a reference model on a CPU and export it.

    It can be interrupted at any time, and goes on from its last whole epoch.
    """
    console = Console(stderr=True)
    if name not in MODELS:
        raise typer.BadParameter(f"there are {', '.join(MODELS)}", param_hint="NAME")
    if threads is not None:
        torch.set_num_threads(threads)
    model = MODELS[name]
    images = load(model.data, folder=data)
    work = work or Path(pooch.os_cache("driftprint")) / "training"
    trained = train_model(name, images, seed=seed, work=work, console=console)
    right = float((predict(trained.model, images.x_test, model.normalisation) == images.y_test).mean())
    trained_as, minutes = model.trained_as or name, trained.seconds / 60
    console.print(f"{trained_as}: {right:.2%} of the test images named rightly, after {minutes:.0f} minutes")
    exported = export_model(name, model, trained, images, seed=seed, version=version, console=console)
    bundle = exported.bundle
    path = out / f"{bundle.manifest.id}{SUFFIX}"
    manifest = write_bundle(path, bundle.manifest, bundle.model, bundle.golden)
    write_report(out / f"{manifest.id}.report.html", exported, manifest)
    print(path)


if __name__ == "__main__":
    typer.run(main)
