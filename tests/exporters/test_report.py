"""The report: one file with everything in it."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from driftprint.bundle import write_bundle
from driftprint_export.pipeline import Exported
from driftprint_export.report import write_report
from tests.exporters import models
from tests.exporters.test_export import classifier, run


def report(exported: Exported, folder: Path) -> str:
    bundle = exported.bundle
    manifest = write_bundle(folder / "toy-1.driftprint", bundle.manifest, bundle.model, bundle.golden)
    write_report(folder / "report.html", exported, manifest)
    return (folder / "report.html").read_text(encoding="utf-8")


def test_it_needs_no_other_file(tmp_path: Path) -> None:
    page = report(run(classifier()), tmp_path)
    fetched = re.findall(r"""(?:src|href)\s*=\s*["']([^"'#]+)""", page)
    assert all(address.startswith("data:") for address in fetched)
    assert not re.search(r"<script[^>]+src|@import|<link", page)


def test_it_shows_each_layer_the_false_alarm_curve_and_the_most_outlying_inliers(tmp_path: Path) -> None:
    exported = run(classifier())
    page = report(exported, tmp_path)
    assert page.count("<svg") == len(exported.layers) + 2
    assert page.count("data:image/png") == 16
    assert all(layer.tensor in page for layer in exported.layers)
    scores = [result.score for result in exported.calibration_scored]
    assert exported.calibration_refs[int(np.argmax(scores))].name in page


def test_tensors_are_drawn_too(tmp_path: Path) -> None:
    frames = np.random.default_rng(0).normal(size=(300, 20)).astype(np.float32)
    exported = run(models.traced(models.seeded(models.VectorNet), (20,)), frames)
    assert report(exported, tmp_path).count("data:image/png") == 16


def test_what_users_wrote_is_shown_as_they_wrote_it(tmp_path: Path) -> None:
    page = report(run(classifier(), description="<b>bold</b>"), tmp_path)
    assert "<b>bold" not in page
    assert "&lt;b&gt;bold" in page
