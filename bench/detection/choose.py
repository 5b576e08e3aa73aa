"""``python -m bench.detection.choose``: judges methods, combinations and forms of the default by inliers alone.

A combination learns from all kinds of changed inliers but one, and is judged by how well it tells that one from fresh
inliers. One more kind, which none learns from, lies between two inliers, where the model is undecided. No outlier set
is opened.

The rule: the default is the form with the highest mean over all reference models. One that costs a device more must
be better by 0.01 of AUROC.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from bench.detection import contest
from bench.detection.forms import forms
from bench.detection.measure import auroc
from bench.detection.results import unique
from bench.detection.subjects import data_of, names, open_subject
from bench.quoting import quote
from driftprint_export.reference.datasets import load

FIT = 10_000


def main(
    model: Annotated[list[str] | None, typer.Option(help="Only these models; repeatable.")] = None,
    data: Annotated[Path | None, typer.Option(help="The folder of the data sets.")] = None,
    quoted: Annotated[bool, typer.Option(help="Put the table into docs/detection.md.")] = False,
) -> None:
    """Print how each contender does on changes it has not seen."""
    models = model or names()
    columns = {name: judge(name, data) for name in models}
    lines = [f"| AUROC on changes not seen | {' | '.join(models)} | mean |", f"|---|{'---|' * len(models)}---|"]
    for contender in _all():
        found = [columns[name][contender.name] for name in models]
        lines.append(f"| {contender.name} | {' | '.join(f'{value:.3f}' for value in found)} | {np.mean(found):.4f} |")
    table = "\n".join(lines) + "\n"
    if quoted:
        quote(table, Path("docs/detection.md"), "choose")
    print(table)


def judge(name: str, folder: Path | None) -> dict[str, float]:
    """For each contender its mean AUROC over the kinds of changes that it has not seen."""
    subject = open_subject(name)
    images = load(data_of(name), folder=folder)
    model = contest.Model(subject, images.x_train[0])
    inliers = contest.read_inliers(model, images, most=FIT, seed=0)
    between = model.between(images.calibration[: contest.CHANGED], seed=0)
    kinds = unique([kind for kind, _ in inliers.changed])
    means = {}
    for contender in _all():
        if contender.combination().uses_changes:
            learners = {kind: contest.learn_one(contender, inliers, without=kind) for kind in kinds}
        else:
            learners = {}
        whole = contest.learn_one(contender, inliers)
        unseen = [(learners.get(kind, whole), responses) for kind, responses in inliers.changed]
        found = [auroc(one.calibration, one.score(frames)) for one, frames in [*unseen, (whole, between)]]
        means[contender.name] = float(np.mean(found))
    return means


def _all() -> list[contest.Contender]:
    """The default is one of the forms."""
    return [*forms(), *contest.contenders()[1:]]


if __name__ == "__main__":
    typer.run(main)
