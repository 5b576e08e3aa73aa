"""From model and inliers to a bundle: the whole of an export, step by step."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from driftprint.bundle import Bundle, Golden, sample
from driftprint.errors import DataError, FrameError, ModelError
from driftprint.frames import FrameRef, FrameSet
from driftprint.manifest import (
    MAX_CALIBRATION,
    CalibrationSet,
    Fingerprint,
    Manifest,
    ModelInput,
    Provenance,
    Tolerance,
)
from driftprint.preprocess import Frame, make_preprocessor
from driftprint.scorer import Scored, Scorer
from driftprint.version import VERSION
from driftprint_export.classes import Task, class_output
from driftprint_export.combine import fit_surprise
from driftprint_export.features import Collected, Track, collect
from driftprint_export.fuse import fuse
from driftprint_export.golden import golden_frame, pick_golden
from driftprint_export.layers import Layer, find_layers
from driftprint_export.methods import DEFAULT_METHOD, METHODS, Classes, FittedMethod
from driftprint_export.source import SourceModel, make_session
from driftprint_export.split import split

FEWEST_CALIBRATION = 50
FEWEST_FIT = 20
_TRACED_PACKAGES = ("numpy", "onnx", "onnxruntime", "pillow", "torch")

# How far a replayed golden frame may be off: of the spread of the calibration scores, and of an output's
# largest magnitude. Integer kernels round differently from processor to processor.
_TOLERANCES = {"float32": (0.01, 1e-3), "float16": (0.05, 1e-2), "int8": (0.15, 1e-1)}


@dataclass(frozen=True)
class ExportSettings:
    """What the user decides.

    Attributes:
        name: the bundle's name.
        version: the bundle's version.
        description: one line for people.
        labels: class names in the order of the logits.
        task: whether the model predicts classes.
        layers: tensors to fingerprint; empty to find them.
        method: the fingerprint method's name.
        seed: of the division into parts.
        most_frames: how many inliers are used at most.
        arguments: what to note in the manifest of how it was made.
    """

    name: str
    version: int = 1
    description: str = ""
    labels: tuple[str, ...] = ()
    task: Task = Task.AUTO
    layers: tuple[str, ...] = ()
    method: str = DEFAULT_METHOD
    seed: int = 0
    most_frames: int = 50_000
    arguments: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Exported:
    """A finished export, with what its report shows.

    Attributes:
        bundle: ready to be written.
        layers: the fingerprinted layers.
        held_out_scores: of inliers that the method was not fitted on, [N].
        held_out_layers: their surprises a layer, [N, L].
        calibration_refs: the calibration frames.
        calibration_scored: what the bundle says of each.
        faults: inlier frames that could not be read, by reason.
    """

    bundle: Bundle
    layers: tuple[Layer, ...]
    held_out_scores: NDArray[np.float64]
    held_out_layers: NDArray[np.float64]
    calibration_refs: list[FrameRef]
    calibration_scored: list[Scored]
    faults: dict[str, int]


def export(
    source: SourceModel,
    model_input: ModelInput,
    inliers: FrameSet,
    calibration: FrameSet | None,
    settings: ExportSettings,
    *,
    first: Frame,
    track: Track[Any],
) -> Exported:
    """Fingerprint a model.

    Args:
        source: the model.
        model_input: how a frame becomes its input.
        inliers: frames it was trained for.
        calibration: more of them, that it was not trained on; None to set some of `inliers` aside.
        settings: what the user decides.
        first: one of the inliers, to look into the model with.
        track: shows the progress.

    Raises:
        ModelError: where the model cannot be fingerprinted.
        DataError: where the inliers are too few or cannot be read.
        ConfigError: where the settings do not fit the model.
    """
    preprocess = make_preprocessor(model_input)
    layers = find_layers(source, preprocess(first), settings.layers)
    seen = collect(source, layers, preprocess, inliers, where="inliers", track=track, most=settings.most_frames)
    parts = split(seen.keys, seed=settings.seed, with_calibration=calibration is None)
    if len(parts.fit) < FEWEST_FIT or len(parts.held_out) < FEWEST_FIT:
        raise DataError(
            f"{len(seen.refs)} inliers in {len(set(seen.keys))} groups are too few to fit on",
            where="inliers",
            fix="a few hundred frames work, a few thousand are better",
        )
    logits = class_output(source, settings.task, seen.vectors, settings.labels)
    classes = None if logits is None else _classes(seen.vectors[logits])

    method = METHODS[settings.method]().fit(_rows(seen, parts.fit), classes and classes[parts.fit])
    held_out = method.score(_rows(seen, parts.held_out), classes and classes[parts.held_out])
    surprise = fit_surprise(held_out)
    fused = fuse(source, layers, method, surprise, logits)
    reference = surprise(held_out)
    _check_outputs(source, fused, preprocess(first))

    draft = Manifest(
        name=settings.name,
        version=settings.version,
        description=settings.description,
        labels=settings.labels,
        logits_output=logits,
        input=model_input,
        fingerprint=_fingerprint(settings, layers, method, len(parts.fit)),
        calibration=CalibrationSet(scores=(0.0,)),
        tolerance=Tolerance(score=1.0, output=1.0),
        training_data_sha256=_digest(seen, parts.fit),
        files={},
        provenance=_provenance(source, settings),
    )
    model = fused.SerializeToString(deterministic=True)
    scorer = Scorer(Bundle(draft, model, _NO_GOLDEN), threads=0, verify=False)
    _check_scores(source, scorer, [seen.refs[i] for i in parts.held_out], reference)

    refs, keys = _calibration_frames(seen, parts.calibration, calibration, settings.most_frames)
    refs, scored, faults = _score(scorer, refs, track)
    if len(scored) < FEWEST_CALIBRATION:
        raise DataError(
            f"{len(scored)} calibration frames are too few, expected at least {FEWEST_CALIBRATION}",
            where="calibration" if calibration is not None else "inliers",
            fix="with 1,000 an outlier ratio of 6.7 % is still an inlier's, with 10,000 one of 5.5 %",
        )
    scores = np.sort([result.score for result in scored])
    manifest = draft.model_copy(
        update={
            "calibration": CalibrationSet(
                scores=tuple(float(score) for score in scores),
                groups=len(set(keys)) if keys is not None else None,
                held_out_from_training=True if calibration is not None else None,
            ),
            "tolerance": _tolerance(source, scores),
        }
    )
    golden = _golden(scorer, [refs[i] for i in pick_golden([result.score for result in scored])])
    return Exported(
        bundle=Bundle(manifest, model, golden),
        layers=tuple(layers),
        held_out_scores=reference.sum(axis=1),
        held_out_layers=reference,
        calibration_refs=refs,
        calibration_scored=scored,
        faults={reason: seen.faults.get(reason, 0) + faults.get(reason, 0) for reason in {*seen.faults, *faults}},
    )


def no_track(items: Iterable[Any], _description: str, _total: int) -> Iterable[Any]:
    """Progress for nobody."""
    return items


_NO_GOLDEN = Golden((), np.empty(0, np.float32), np.empty((0, 0), np.float32), {})


def _classes(logits: NDArray[Any]) -> Classes:
    return Classes(logits.argmax(axis=1).astype(np.int64), logits.shape[1])


def _rows(seen: Collected, rows: NDArray[np.intp]) -> list[NDArray[np.float32]]:
    return [layer[rows] for layer in seen.features]


def _digest(seen: Collected, rows: NDArray[np.intp]) -> str:
    """Of the frames that the method was fitted on."""
    return Collected([], [seen.digests[i] for i in rows], [], [], {}, {}).digest


def _fingerprint(
    settings: ExportSettings, layers: Sequence[Layer], method: FittedMethod, fitted_on: int
) -> Fingerprint:
    return Fingerprint(
        method=settings.method,
        layers=tuple(layer.tensor for layer in layers),
        class_conditional=method.class_conditional,
        fitted_on=fitted_on,
    )


def _provenance(source: SourceModel, settings: ExportSettings) -> Provenance:
    packages = {}
    for package in _TRACED_PACKAGES:
        try:
            packages[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return Provenance(
        driftprint=VERSION,
        packages=packages,
        source=source.name,
        arguments={**settings.arguments, "seed": str(settings.seed)},
    )


def _check_outputs(source: SourceModel, fused: onnx.ModelProto, batch: NDArray[Any]) -> None:
    """The model's own outputs must be what they were."""
    feed = {source.input.name: batch}
    before = make_session(source.proto, where=source.name).run(list(source.outputs), feed)
    after = make_session(fused, where=source.name).run(list(source.outputs), feed)
    _, tolerance = _TOLERANCES[source.precision]
    for name, old, new in zip(source.outputs, before, after, strict=True):
        if not isinstance(old, np.ndarray) or old.dtype.kind != "f":
            continue
        scale = max(1e-6, float(np.abs(old).max(initial=0.0)))
        if old.shape != new.shape or not np.allclose(old, new, rtol=0, atol=tolerance * scale, equal_nan=True):
            raise ModelError(f"output {name!r} changes when the fingerprint is added", where=source.name)


def _check_scores(
    source: SourceModel, scorer: Scorer, refs: Sequence[FrameRef], reference: NDArray[np.float64]
) -> None:
    """The graph must compute what the method computes outside it."""
    tolerance, _ = _TOLERANCES[source.precision]
    totals = reference.sum(axis=1)
    allowed = tolerance * max(1e-3, float(np.ptp(np.quantile(totals, (0.1, 0.9)))))
    for row in range(0, len(refs), max(1, len(refs) // 32)):
        score = scorer.score(refs[row].load()).score
        if abs(score - totals[row]) > max(allowed, tolerance * totals[row]):
            raise ModelError(
                f"the graph scores frame {refs[row].name} {score:.6g}, the method itself {totals[row]:.6g}",
                where=source.name,
                fix="the model is not deterministic, or its results depend on the other frames of a batch",
            )


def _calibration_frames(
    seen: Collected, rows: NDArray[np.intp], calibration: FrameSet | None, most: int
) -> tuple[list[FrameRef], list[str] | None]:
    """The calibration frames, and the group of each where groups are known."""
    most = min(most, MAX_CALIBRATION)
    if calibration is not None:
        chosen = [int(i) for i in np.linspace(0, len(calibration) - 1, min(most, len(calibration)))]
        groups = calibration.groups
        return [calibration[i] for i in chosen], None if groups is None else [groups[i] for i in chosen]
    kept = [int(rows[int(i)]) for i in np.linspace(0, len(rows) - 1, min(most, len(rows)))]
    grouped = any(key != digest for key, digest in zip(seen.keys, seen.digests, strict=True))
    return [seen.refs[i] for i in kept], [seen.keys[i] for i in kept] if grouped else None


def _score(
    scorer: Scorer, refs: list[FrameRef], track: Track[FrameRef]
) -> tuple[list[FrameRef], list[Scored], dict[str, int]]:
    """Score frames the way a device will."""
    kept: list[FrameRef] = []
    scored: list[Scored] = []
    faults: dict[str, int] = {}
    for ref in track(refs, "calibrating", len(refs)):
        try:
            result = scorer.score(ref.load())
        except FrameError as error:
            faults[error.reason] = faults.get(error.reason, 0) + 1
            continue
        kept.append(ref)
        scored.append(Scored(result.score, result.p_value, result.layers, result.predicted, {}))
    return kept, scored, faults


def _tolerance(source: SourceModel, scores: NDArray[np.float64]) -> Tolerance:
    share, output = _TOLERANCES[source.precision]
    spread = float(np.ptp(np.quantile(scores, (0.1, 0.9))))
    return Tolerance(score=max(share * spread, 1e-6 * float(np.abs(scores).max()), 1e-6), output=output)


def _golden(scorer: Scorer, refs: Sequence[FrameRef]) -> Golden:
    frames = tuple(golden_frame(ref.load()) for ref in refs)
    results = [scorer.score(frame) for frame in frames]
    outputs: dict[str, NDArray[np.float64]] = {}
    for name, value in results[0].outputs.items():
        if not isinstance(value, np.ndarray) or value.dtype.kind not in "fiub":
            continue
        samples = [sample(result.outputs[name]) for result in results]
        # An output whose size depends on the frame (boxes found) has no fixed place to compare.
        if len({result.outputs[name].shape for result in results}) == 1:
            outputs[name] = np.stack(samples)
    return Golden(
        frames=frames,
        scores=np.asarray([result.score for result in results], np.float32),
        layers=np.stack([result.layers for result in results]),
        outputs=outputs,
    )
