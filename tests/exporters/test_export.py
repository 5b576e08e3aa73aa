"""The whole export, for every kind of model: from frames to a bundle that a device can load."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray

from driftprint.bundle import read_bundle, write_bundle
from driftprint.errors import BundleError, ConfigError, DataError, ModelError
from driftprint.frames import ArrayFrames
from driftprint.manifest import LAYERS_OUTPUT, SCORE_OUTPUT
from driftprint.preprocess import make_preprocessor
from driftprint.scorer import Scorer
from driftprint_export.classes import Task
from driftprint_export.combinations import COMBINATIONS
from driftprint_export.inputs import ImageChoices, make_input
from driftprint_export.methods import METHODS
from driftprint_export.pipeline import Exported, ExportSettings, export, no_track
from driftprint_export.source import SourceModel, load_onnx, prepare
from tests.exporters import models

FRAMES, KINDS = models.stripes(600)
FRESH, _ = models.stripes(200, seed=1)
CALIBRATION, _ = models.stripes(300, seed=2)


@functools.cache
def classifier() -> SourceModel:
    return models.traced(models.trained_net(FRAMES, KINDS))


@functools.cache
def tokens() -> SourceModel:
    return models.traced(models.seeded(models.TokenNet))


def run(source: SourceModel, frames: NDArray[Any] = FRAMES, **settings: Any) -> Exported:
    return export(
        source,
        make_input(source.input, frames[0], ImageChoices(size=frames.shape[1:3] if frames.ndim > 2 else None)),
        ArrayFrames(frames),
        settings.pop("calibration", None),
        ExportSettings(**{"name": "toy", **settings}),
        first=frames[0],
        track=no_track,
    )


def kind(name: str) -> SourceModel:
    forms: dict[str, Callable[[], SourceModel]] = {
        "convolutional": classifier,
        "tokens": tokens,
        "U-net": lambda: models.traced(models.seeded(models.UNet)),
        "detector": lambda: models.traced(models.seeded(models.TwoHeads)),
        "float16": lambda: models.in_float16(classifier()),
        "int8": lambda: models.in_int8(classifier(), FRAMES[:100]),
        "operator set 11": lambda: models.at_opset(models.trained_net(FRAMES, KINDS), 11),
        "fixed batch": lambda: models.with_fixed_batch(classifier()),
        "constant nodes": lambda: models.with_constant_nodes(classifier()),
    }
    return forms[name]()


KIND_NAMES = (
    "convolutional",
    "tokens",
    "U-net",
    "detector",
    "float16",
    "int8",
    "operator set 11",
    "fixed batch",
    "constant nodes",
)


@pytest.mark.parametrize("name", KIND_NAMES)
def test_any_model_becomes_a_bundle_that_tells_outliers_from_inliers(name: str, tmp_path: Path) -> None:
    source = kind(name)
    exported = run(source)
    path = tmp_path / "toy-1.driftprint"
    bundle = exported.bundle
    write_bundle(path, bundle.manifest, bundle.model, bundle.golden)
    scorer = Scorer(read_bundle(path))
    inliers = np.mean([scorer.score(frame).p_value <= 0.05 for frame in FRESH])
    outliers = np.mean([scorer.score(frame).p_value <= 0.05 for frame in models.noise(100)])
    assert inliers < 0.15
    assert outliers > 0.9


@pytest.mark.parametrize("name", KIND_NAMES)
def test_the_models_own_outputs_stay_what_they_were(name: str) -> None:
    source = kind(name)
    bundle = run(source).bundle
    before = onnxruntime.InferenceSession(source.proto.SerializeToString(), providers=["CPUExecutionProvider"])
    after = onnxruntime.InferenceSession(bundle.model, providers=["CPUExecutionProvider"])
    assert [output.name for output in after.get_outputs()] == [*source.outputs, SCORE_OUTPUT, LAYERS_OUTPUT]
    batch = make_preprocessor(bundle.manifest.input)(FRESH[0])
    for old, new in zip(before.run(None, {"input": batch}), after.run(None, {"input": batch}), strict=False):
        assert np.allclose(old, new, atol=1e-2 if name == "float16" else 1e-5)


@pytest.mark.parametrize("method", METHODS)
def test_every_method_makes_a_bundle(method: str) -> None:
    """An export compares the graph's scores with the method's own, and is refused where they differ."""
    bundle = run(classifier(), method=method).bundle
    scorer = Scorer(bundle)
    assert bundle.manifest.fingerprint.method == method
    assert len(scorer.score(FRESH[0]).layers) == len(bundle.manifest.fingerprint.layers)
    assert np.mean([scorer.score(frame).p_value <= 0.05 for frame in FRESH]) < 0.15


@pytest.mark.parametrize("combination", COMBINATIONS)
def test_every_combination_makes_a_bundle(combination: str) -> None:
    bundle = run(classifier(), combination=combination).bundle
    assert bundle.manifest.fingerprint.combination == combination
    scorer = Scorer(bundle)
    assert np.mean([scorer.score(frame).p_value <= 0.05 for frame in models.noise(50)]) > 0.9


def test_a_method_that_says_one_thing_has_nothing_to_join() -> None:
    assert run(classifier(), method="energy").bundle.manifest.fingerprint.combination == "fisher"
    with pytest.raises(ConfigError, match="nothing to join"):
        run(classifier(), method="energy", combination="joint")


def test_methods_for_classifiers_refuse_other_models() -> None:
    with pytest.raises(ConfigError, match="class"):
        run(models.traced(models.seeded(models.TwoHeads)), method="energy")


def test_a_classifier_is_compared_with_its_predicted_class() -> None:
    manifest = run(classifier(), labels=("lying", "standing", "slanting")).bundle.manifest
    assert manifest.logits_output == classifier().outputs[0]
    assert manifest.fingerprint.class_conditional
    assert manifest.labels == ("lying", "standing", "slanting")


def test_without_classes_it_is_compared_with_all_inliers() -> None:
    manifest = run(classifier(), task=Task.NONE).bundle.manifest
    assert manifest.logits_output is None
    assert not manifest.fingerprint.class_conditional


def test_raw_tensors_are_taken_as_they_are() -> None:
    random = np.random.default_rng(0)
    mixing = random.normal(size=(5, 20))
    frames = (random.normal(size=(400, 5)) @ mixing).astype(np.float32)
    source = models.traced(models.seeded(models.VectorNet), (20,))
    scorer = Scorer(run(source, frames).bundle)
    fresh = (random.normal(size=(100, 5)) @ mixing).astype(np.float32)
    outliers = random.normal(0, 3, (100, 20)).astype(np.float32)
    assert np.mean([scorer.score(frame).p_value <= 0.05 for frame in fresh]) < 0.2
    assert np.mean([scorer.score(frame).p_value <= 0.05 for frame in outliers]) > 0.8


def test_two_exports_score_alike() -> None:
    one, other = (Scorer(run(classifier()).bundle) for _ in range(2))
    assert [one.score(frame).score for frame in FRESH[:20]] == [other.score(frame).score for frame in FRESH[:20]]


def test_calibration_frames_of_their_own_leave_all_inliers_to_fit_on() -> None:
    apart = run(classifier(), calibration=ArrayFrames(CALIBRATION)).bundle.manifest
    aside = run(classifier()).bundle.manifest
    assert len(apart.calibration.scores) == len(CALIBRATION)
    assert apart.calibration.held_out_from_training is True
    assert aside.calibration.held_out_from_training is None
    assert apart.fingerprint.fitted_on > aside.fingerprint.fitted_on


def test_videos_are_counted_and_kept_together() -> None:
    groups = [f"video {i % 60}" for i in range(len(FRAMES))]
    manifest = export_grouped(groups)
    assert 10 < (manifest.calibration.groups or 0) < 30
    assert len(manifest.calibration.scores) == 10 * (manifest.calibration.groups or 0)


def export_grouped(groups: list[str]) -> Any:
    source = classifier()
    model_input = make_input(source.input, FRAMES[0], ImageChoices(size=(16, 16)))
    frames = ArrayFrames(FRAMES, groups=groups)
    exported = export(source, model_input, frames, None, ExportSettings(name="toy"), first=FRAMES[0], track=no_track)
    return exported.bundle.manifest


def test_a_bundle_whose_golden_frames_score_otherwise_is_refused(tmp_path: Path) -> None:
    bundle = run(classifier()).bundle
    shifted = dataclasses.replace(bundle.golden, scores=bundle.golden.scores + 1)
    write_bundle(tmp_path / "toy-1.driftprint", bundle.manifest, bundle.model, shifted)
    with pytest.raises(BundleError, match="golden"):
        Scorer(read_bundle(tmp_path / "toy-1.driftprint"))


def test_too_few_inliers_are_refused() -> None:
    with pytest.raises(DataError, match="too few to fit on"):
        run(classifier(), FRAMES[:30])


def test_too_few_calibration_frames_are_refused() -> None:
    with pytest.raises(DataError, match="20 calibration frames are too few"):
        run(classifier(), calibration=ArrayFrames(CALIBRATION[:20]))


def test_a_bundle_cannot_be_exported_again() -> None:
    fused = run(classifier()).bundle.model
    with pytest.raises(ModelError, match="already has a fingerprint"):
        prepare(onnx.load_from_string(fused), "toy", {})


def test_labels_of_another_number_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"\[N, 2\]"):
        run(classifier(), labels=("a", "b"))


@pytest.mark.parametrize("name", ["light_squeezenet", "light_shufflenet"])
def test_models_that_come_with_the_onnx_package_are_taken(name: str, tmp_path: Path) -> None:
    """Graphs that nobody here wrote: old operator sets, a fixed batch, weights made by nodes."""
    source = load_onnx(Path(onnx.__file__).parent / f"backend/test/data/light/{name}.onnx")
    frames = np.repeat(FRAMES[:200, :, :, None], 3, axis=3)
    bundle = run(source, frames).bundle
    write_bundle(tmp_path / "toy-1.driftprint", bundle.manifest, bundle.model, bundle.golden)
    scorer = Scorer(read_bundle(tmp_path / "toy-1.driftprint"))
    assert np.isfinite(scorer.score(frames[0]).score)
