"""From model and inliers to a bundle: the whole of an export, step by step."""

from __future__ import annotations

import importlib.metadata
from collections import Counter
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
from driftprint.preprocess import Frame, Preprocessor, make_preprocessor
from driftprint.scorer import Scored, Scorer
from driftprint.version import VERSION
from driftprint_export.changes import CHANGES
from driftprint_export.classes import Task, class_output
from driftprint_export.combinations import combination_for
from driftprint_export.features import Collected, Runner, Track, collect, frame_digest
from driftprint_export.fuse import fuse
from driftprint_export.golden import golden_frame, pick_golden
from driftprint_export.layers import Layer, find_layers
from driftprint_export.learn import learn, responses_to_changed
from driftprint_export.methods import DEFAULT_METHOD, METHODS, Responses
from driftprint_export.parts import divide
from driftprint_export.source import SourceModel, make_session
from driftprint_export.traces import without_traces

FEWEST_CALIBRATION = 50

MOST_CHANGED = 250
"""Inliers that are changed, in every way."""
_TRACED_PACKAGES = ("numpy", "onnx", "onnxruntime", "pillow", "torch")

# How far a replayed golden frame may be off: of the spread of the calibration scores, and of an output's
# largest magnitude. Integer kernels round differently from processor to processor.
_TOLERANCES = {"float32": (0.01, 1e-3), "float16": (0.05, 1e-2), "int8": (0.15, 1e-1)}

# The share of frames that a rounding may bring to another class, with which they are then compared.
_ROUNDED_OTHERWISE = {"float32": 0.0, "float16": 0.1, "int8": 0.25}


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
        combination: the name of how the layers are joined; None for what suits the method.
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
    combination: str | None = None
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
    method = METHODS[settings.method]()
    combination = combination_for(method, settings.combination)
    layers = find_layers(source, preprocess(first), settings.layers)
    if method.last_layer_only:
        layers = layers[-1:]
    runner = Runner(source, layers, moments=method.needs_moments)
    seen = collect(runner, preprocess, inliers, where="inliers", track=track, most=settings.most_frames)
    logits = class_output(source, settings.task, seen.kept.vectors, settings.labels)

    def read_more(frames: FrameSet) -> Collected:
        return collect(runner, preprocess, frames, where="calibration", track=track, most=len(frames))

    parts = divide(seen, calibration, read_more, seed=settings.seed, most=min(settings.most_frames, MAX_CALIBRATION))
    held_out = parts.held_out.kept.responses(logits)
    altered = (
        _altered(runner, parts.held_out, preprocess, model_input, logits, settings, track)
        if combination.uses_changes
        else []
    )
    learnt = learn(method, combination, parts.fit.kept.responses(logits), held_out, altered)
    reference = learnt.score(held_out)
    fused = without_traces(fuse(source, layers, learnt, logits, moments=method.needs_moments))
    _check_outputs(source, fused, preprocess(first))

    draft = Manifest(
        name=settings.name,
        version=settings.version,
        description=settings.description,
        labels=settings.labels,
        logits_output=logits,
        input=model_input,
        fingerprint=Fingerprint(
            method=settings.method,
            combination=combination.name,
            layers=tuple(layer.tensor for layer in layers),
            class_conditional=learnt.method.class_conditional,
            fitted_on=len(parts.fit.refs),
        ),
        calibration=CalibrationSet(scores=(0.0,)),
        tolerance=Tolerance(score=1.0, output=1.0),
        training_data_sha256=parts.fit.digest,
        files={},
        provenance=_provenance(source, settings),
    )
    model = fused.SerializeToString(deterministic=True)
    scorer = Scorer(Bundle(draft, model, _NO_GOLDEN), threads=0, verify=False)
    _check_scores(source, scorer, parts.held_out.refs, reference)

    calibrated = _calibrate(scorer, parts.calibration, {*parts.fit.digests, *parts.held_out.digests}, track)
    if len(calibrated.scored) < FEWEST_CALIBRATION:
        raise DataError(
            f"{len(calibrated.scored)} calibration frames are too few, expected at least {FEWEST_CALIBRATION}",
            where="calibration" if calibration is not None else "inliers",
            fix="with 1,000 an outlier ratio of 6.7 % is still an inlier's, with 10,000 one of 5.5 %",
        )
    scores = np.sort([result.score for result in calibrated.scored])
    manifest = draft.model_copy(
        update={
            "calibration": CalibrationSet(
                scores=tuple(float(score) for score in scores),
                groups=calibrated.groups,
                held_out_from_training=True if calibration is not None else None,
            ),
            "tolerance": _tolerance(source, scores),
        }
    )
    chosen = pick_golden([result.score for result in calibrated.scored])
    return Exported(
        bundle=Bundle(manifest, model, _golden(scorer, [calibrated.refs[i] for i in chosen])),
        layers=tuple(layers),
        held_out_scores=reference,
        held_out_layers=learnt.layers(held_out),
        calibration_refs=calibrated.refs,
        calibration_scored=calibrated.scored,
        faults=dict(Counter(seen.faults) + Counter(calibrated.faults)),
    )


def no_track(items: Iterable[Any], _description: str, _total: int) -> Iterable[Any]:
    """Progress for nobody."""
    return items


_NO_GOLDEN = Golden((), np.empty(0, np.float32), np.empty((0, 0), np.float32), {})


def _altered(
    runner: Runner,
    held_out: Collected,
    preprocess: Preprocessor,
    model_input: ModelInput,
    logits: str | None,
    settings: ExportSettings,
    track: Track[Any],
) -> list[Responses]:
    """How the model responds to some held-out inliers, changed."""
    rows = np.linspace(0, len(held_out.refs) - 1, min(MOST_CHANGED, len(held_out.refs))).astype(int)
    inputs = [preprocess(held_out.refs[row].load()) for row in rows]
    kinds = responses_to_changed(runner, inputs, model_input, logits, seed=settings.seed)
    return [responses for _, responses in track(kinds, "changing inliers", len(CHANGES))]


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


def _check_scores(source: SourceModel, scorer: Scorer, refs: Sequence[FrameRef], totals: NDArray[np.float64]) -> None:
    """The graph must compute what the method computes outside it."""
    tolerance, _ = _TOLERANCES[source.precision]
    allowed = tolerance * max(1e-3, float(np.ptp(np.quantile(totals, (0.1, 0.9)))))
    rows = range(0, len(refs), max(1, len(refs) // 32))
    found = np.array([scorer.score(refs[row].load()).score for row in rows])
    wrong = np.flatnonzero(np.abs(found - totals[rows]) > np.maximum(allowed, tolerance * totals[rows]))
    if len(wrong) > _ROUNDED_OTHERWISE[source.precision] * len(rows):
        row = rows[wrong[0]]
        raise ModelError(
            f"the graph scores frame {refs[row].name} {found[wrong[0]]:.6g}, the method itself {totals[row]:.6g}",
            where=source.name,
            fix="the model is not deterministic, or its results depend on the other frames of a batch",
        )


@dataclass(frozen=True)
class _Calibrated:
    """The calibration set.

    Attributes:
        refs: the frames that could be scored.
        scored: what the bundle says of each.
        groups: how many videos, houses or sessions they come from, where that is known.
        faults: frames that could not be scored, by reason.
    """

    refs: list[FrameRef]
    scored: list[Scored]
    groups: int | None
    faults: dict[str, int]


def _calibrate(scorer: Scorer, frames: FrameSet, known: set[str], track: Track[FrameRef]) -> _Calibrated:
    """Score frames the way a device will; copies of frames that the fingerprint knows count as faults."""
    refs: list[FrameRef] = []
    scored: list[Scored] = []
    groups: set[str] = set()
    faults: Counter[str] = Counter()
    for index, ref in enumerate(track(frames, "calibrating", len(frames))):
        try:
            frame = ref.load()
            if frame_digest(frame) in known:
                faults["a copy of an inlier"] += 1
                continue
            result = scorer.score(frame)
        except FrameError as error:
            faults[error.reason] += 1
            continue
        refs.append(ref)
        scored.append(Scored(result.score, result.p_value, result.layers, result.predicted, {}))
        if frames.groups is not None:
            groups.add(frames.groups[index])
    return _Calibrated(refs, scored, len(groups) if frames.groups is not None else None, dict(faults))


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
