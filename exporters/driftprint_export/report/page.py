"""Puts the report's page together."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from driftprint.errors import ConfigError
from driftprint.manifest import Manifest
from driftprint_export.pipeline import Exported

MOST_OUTLYING = 16


def write_report(path: Path, exported: Exported, manifest: Manifest) -> None:
    """Write one HTML file that needs no other.

    Args:
        path: where to.
        exported: the export.
        manifest: as it was written.

    Raises:
        ConfigError: where the file cannot be written.
    """
    from jinja2 import Environment, PackageLoader, select_autoescape

    from driftprint_export.report import figures
    from driftprint_export.summary import facts

    scores = np.asarray([result.score for result in exported.calibration_scored])
    order = np.argsort(scores)[::-1][:MOST_OUTLYING]
    outlying = [
        {
            "name": exported.calibration_refs[i].name,
            "image": figures.thumbnail(exported.calibration_refs[i].load()),
            "score": scores[i],
            "p_value": (1 + int((scores >= scores[i]).sum())) / (len(scores) + 1),
            "predicted": exported.calibration_scored[i].predicted,
        }
        for i in order
    ]
    layers = [
        {"name": layer.tensor, "figure": figures.histogram(exported.held_out_layers[:, i], "surprise, -log p")}
        for i, layer in enumerate(exported.layers)
    ]
    environment = Environment(
        loader=PackageLoader("driftprint_export.report", "."), autoescape=select_autoescape(default=True)
    )
    page = environment.get_template("report.html.j2").render(
        manifest=manifest,
        facts=facts(exported, manifest),
        calibration=figures.histogram(np.asarray(manifest.calibration.scores), "score"),
        curve=figures.false_alarm_curve(manifest.calibration.scores, exported.held_out_scores),
        layers=layers,
        outlying=outlying,
    )
    try:
        path.write_text(page, encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"cannot be written ({error.strerror or error})", where=str(path)) from None
