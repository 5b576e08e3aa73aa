"""The benchmark itself: honest about what it learns from, and its quick run works from a clean checkout."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from bench.detection import contest
from bench.detection.results import Results
from bench.detection.subjects import QUICK, names, open_subject
from driftprint.scorer import Scorer
from driftprint_export.features import frame_digest
from driftprint_export.reference.datasets import load

ROOT = Path(__file__).parents[2]


def test_training_calibration_and_test_images_are_disjoint() -> None:
    data = load(QUICK)
    parts = [{frame_digest(image) for image in images} for images in (data.x_train, data.calibration, data.fresh)]
    assert all(len(part) > 500 for part in parts)
    assert len(set.union(*parts)) == sum(map(len, parts))


def test_images_that_were_seen_before_are_not_tested_with() -> None:
    data = load(QUICK)
    tested = np.concatenate([data.calibration, data.x_train[:3], data.fresh, data.calibration[:2]])
    doubled = dataclasses.replace(data, x_test=tested)
    assert np.array_equal(doubled.unseen(), np.arange(3, 3 + len(data.fresh)))


def test_the_bare_model_is_the_bundles_without_its_fingerprint() -> None:
    subject = open_subject(QUICK)
    inputs = subject.inputs(load(QUICK).fresh[:20])
    bare = onnxruntime.InferenceSession(subject.source.proto.SerializeToString(), providers=["CPUExecutionProvider"])
    whole = onnxruntime.InferenceSession(subject.bundle.model, providers=["CPUExecutionProvider"])
    assert len(bare.get_outputs()) == len(whole.get_outputs()) - 2
    name = subject.bundle.manifest.logits_output
    feed = {subject.spec.name: inputs}
    assert np.allclose(bare.run([name], feed)[0], whole.run([name], feed)[0], atol=1e-4)


def test_the_inputs_are_those_that_a_device_computes() -> None:
    """The bundle's scores of many frames at once are the scores of each."""
    subject = open_subject(QUICK)
    frames = load(QUICK).fresh[:20]
    scorer = Scorer(subject.bundle)
    one_by_one = [scorer.score(frame).score for frame in frames]
    assert np.allclose(contest.Model(subject, frames[0]).bundle_scores(frames), one_by_one, rtol=1e-3, atol=1e-3)


def test_every_reference_bundle_was_measured_and_flags_inliers_as_promised() -> None:
    """By the committed results, whose images are not in this repository."""
    results = Results.model_validate_json((ROOT / "bench/results/detection.json").read_text())
    assert {model.name for model in results.models} == set(names())
    for model in results.models:
        calibrated = model.calibrated
        assert calibrated.flagged <= calibrated.counted_bound, model.name
        assert calibrated.within_bound >= 0.97, model.name
        assert calibrated.over_twice == [], model.name


@pytest.mark.slow
def test_the_quick_run_measures_everything(tmp_path: Path) -> None:
    subprocess.run(
        [sys.executable, "-m", "bench.detection", "--quick", "--out", str(tmp_path), "--work", str(tmp_path)],
        cwd=ROOT,
        check=True,
        timeout=280,
        stdout=subprocess.DEVNULL,
    )
    results = Results.model_validate_json((tmp_path / "detection-quick.json").read_text())
    (model,) = results.models
    found = {row.outliers: row.runs[0] for row in model.rows if row.family == "bundle"}
    assert found["photographs"].auroc > 0.99
    assert found["fgsm"].auroc > 0.9
    assert {"blur 1", "noise 5", "occlusion 3", "pgd", "deepfool", "cw"} <= found.keys()
    families = {row.family for row in model.rows}
    assert families == {"bundle", "fingerprint", "peer"}
    assert 0 < model.calibrated.flagged < 0.12
    assert (tmp_path / "detection-quick.md").read_text().startswith("Quick run")
    assert (tmp_path / f"detection-{QUICK}.png").stat().st_size > 10_000
