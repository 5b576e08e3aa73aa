"""``python -m bench.detection``: train what is missing, measure, write JSON, tables and plots."""

from __future__ import annotations

import importlib.metadata
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import numpy as np
import pooch
import torch
import typer
from numpy.typing import NDArray
from rich.console import Console
from rich.status import Status

from bench.detection import contest, peers, plots
from bench.detection.measure import Scores, beyond_chance, measure, most_flagged, resampled
from bench.detection.pairs import FULL, SMALL, Effort, outliers_of
from bench.detection.report import summary, tables
from bench.detection.results import Calibrated, ModelResults, Results, Row
from bench.detection.subjects import QUICK, Subject, data_of, names, open_subject
from bench.detection.torch_graph import GraphModule, in_stages
from bench.quoting import quote
from driftprint.stats.conformal import Calibration, outlier_bound
from driftprint_export.reference.datasets import DataSet, load

ALPHA = 0.05
ROUNDS = 200
FIT, FIT_QUICK, FIT_PEERS = 10_000, 1_500, 3_000
VERSIONS = ("driftprint", "onnxruntime", "torch", "pytorch-ood", "adversarial-robustness-toolbox")


def main(
    quick: Annotated[bool, typer.Option(help="A few minutes: few pictures, one seed, no trainings.")] = False,
    model: Annotated[
        list[str] | None, typer.Option(help="Only these models; repeatable. Earlier results of others stay.")
    ] = None,
    trains: Annotated[bool, typer.Option(help="Train a DCGAN and an AdvGAN too.")] = True,
    data: Annotated[
        Path | None, typer.Option(help="The folder of the data sets; else DRIFTPRINT_DATA, else they are downloaded.")
    ] = None,
    work: Annotated[Path | None, typer.Option(help="The folder of the trainings' checkpoints.")] = None,
    out: Annotated[Path, typer.Option(help="The folder to write the results into.")] = Path("bench/results"),
    quoted: Annotated[bool, typer.Option(help="Put the tables into docs/detection.md and the README.")] = False,
) -> None:
    """Measure how well outliers are told from inliers."""
    console = Console(stderr=True)
    effort = SMALL if quick else FULL if trains else replace(FULL, trains=False)
    seeds = [0] if quick else [0, 1, 2]
    work = work or Path(pooch.os_cache("driftprint")) / "training"
    versions = {name: importlib.metadata.version(name) for name in VERSIONS}
    file = out / f"{'detection-quick' if quick else 'detection'}.json"
    results = Results(quick=quick, seeds=seeds, versions=versions, models=[])
    if file.exists():
        results = results.model_copy(update={"models": Results.model_validate_json(file.read_text()).models})
    for name in model or ([QUICK] if quick else names()):
        with console.status("") as status:
            found = examine(name, effort, seeds, folder=data, work=work, out=out, status=status)
        results = results.with_model(found)
        out.mkdir(parents=True, exist_ok=True)
        file.write_text(results.model_dump_json(indent=1) + "\n")
    file.with_suffix(".md").write_text(tables(results))
    if quoted:
        quote(tables(results), Path("docs/detection.md"), "detection")
        quote(summary(results), Path("README.md"), "detection")
    print(tables(results))


def examine(
    name: str, effort: Effort, seeds: list[int], *, folder: Path | None, work: Path, out: Path, status: Status
) -> ModelResults:
    """One model against all its outliers."""
    subject = open_subject(name)
    manifest = subject.bundle.manifest
    images = load(data_of(name), folder=folder)
    tested = images.unseen()[: effort.test]
    inliers = images.fresh[tested]
    model = contest.Model(subject, inliers[0])
    status.update(f"{name}: inliers")
    fresh = model.responses(inliers)
    fit = FIT_QUICK if effort is SMALL else FIT
    learners = {}
    for seed in seeds:
        known_inliers = contest.read_inliers(model, images, most=fit, seed=seed)
        fitted = [contest.learn_one(contender, known_inliers) for contender in contest.contenders()]
        learners[seed] = [(learnt, learnt.score(fresh)) for learnt in fitted]
    status.update(f"{name}: peers")
    rivals = _peers(model, subject, images, most=min(fit, FIT_PEERS))
    calibration = np.asarray(manifest.calibration.scores)
    of_bundle = model.bundle_scores(inliers)
    known = peers.Frames(subject.inputs(inliers), fresh)
    of_peers = {rival: score(known).numpy() for rival, score in rivals.items()}
    on_calibration = peers.Frames(
        subject.inputs(images.calibration[: effort.test]), model.responses(images.calibration[: effort.test])
    )
    thresholds = {rival: score(on_calibration).numpy() for rival, score in rivals.items()}
    rows: list[Row] = []
    drawn: dict[str, Scores] = {}

    def show(training: str, done: int, steps: int) -> None:
        status.update(f"{name}: {training}, step {done} of {steps}")

    status.update(f"{name}: outliers")
    for outliers in outliers_of(
        name,
        images,
        inliers,
        GraphModule(subject.source.proto),
        subject.normalisation,
        effort=effort,
        folder=folder,
        work=work,
        show=show,
    ):
        if not len(outliers.pixels):
            continue
        status.update(f"{name}: {outliers.name}")
        head = {"kind": outliers.kind, "outliers": outliers.name, "count": len(outliers.pixels), "note": outliers.note}
        scores = model.bundle_scores(outliers.pixels)
        rows.append(Row(**head, detector="driftprint", family="bundle", runs=[measure(calibration, of_bundle, scores)]))
        if outliers.kind == "corruption":
            continue
        drawn[outliers.name] = scores
        responses = model.responses(outliers.pixels)
        for place, contender in enumerate(contest.contenders()):
            runs = [
                measure(learnt.calibration, of_inliers, learnt.score(responses))
                for learnt, of_inliers in (learners[seed][place] for seed in seeds)
            ]
            rows.append(Row(**head, detector=contender.name, family="fingerprint", runs=runs))
        seen = peers.Frames(subject.inputs(outliers.pixels), responses)
        for rival, score in rivals.items():
            figures = measure(thresholds[rival], of_peers[rival], score(seen).numpy())
            rows.append(Row(**head, detector=rival, family="peer", runs=[figures]))
    plots.draw(out / f"detection-{name}.png", f"{name}: the committed bundle's scores", of_bundle, drawn)
    predicted = np.asarray(fresh.logits).argmax(axis=1)
    truth = images.y_test[images.calibrating :][tested]
    return ModelResults(
        name=name,
        description=manifest.description,
        accuracy=float((predicted == truth).mean()),
        inliers=len(inliers),
        calibrated=_calibrated(calibration, of_bundle, predicted, manifest.labels),
        rows=rows,
    )


def _peers(model: contest.Model, subject: Subject, images: DataSet, *, most: int) -> dict[str, peers.Score]:
    rows = images.some(most, np.random.default_rng(0))
    pixels = images.x_train[rows]
    fit = peers.Frames(subject.inputs(pixels), model.responses(pixels))
    stages = in_stages(subject.source.proto, [layer.tensor for layer in model.layers])
    torch.manual_seed(0)
    return dict(peers.fit_peers(fit, images.y_train[rows].astype(np.int64), list(stages)))


def _calibrated(
    calibration: Scores, scores: Scores, predicted: NDArray[np.int64], labels: tuple[str, ...]
) -> Calibrated:
    against, random = Calibration(calibration.tolist()), np.random.default_rng(0)
    counted_bound = most_flagged(len(calibration), len(scores), ALPHA)
    flagged = np.array([against.p_value(float(score)) <= ALPHA for score in scores])
    frames = np.bincount(predicted, minlength=len(labels))
    by_class = np.bincount(predicted, flagged, minlength=len(labels))
    rates = by_class / np.maximum(frames, 1)
    worst = int(np.argmax(rates))
    return Calibrated(
        alpha=ALPHA,
        bound=outlier_bound(len(calibration), ALPHA),
        counted_bound=counted_bound,
        within_bound=float((resampled(calibration, scores, ALPHA, ROUNDS, random) <= counted_bound).mean()),
        flagged=float(flagged.mean()),
        worst_class=labels[worst],
        worst_class_frames=int(frames[worst]),
        worst_class_flagged=float(rates[worst]),
        over_twice=[labels[k] for k, n in enumerate(frames) if beyond_chance(int(by_class[k]), int(n), 2 * ALPHA)],
    )


if __name__ == "__main__":
    typer.run(main)
