"""What a person reads when an export is done."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.table import Table

from driftprint.manifest import ImageInput, Manifest
from driftprint.stats.conformal import outlier_bound
from driftprint_export.pipeline import Exported

ALPHA = 0.05


def print_summary(
    console: Console, exported: Exported, manifest: Manifest, path: Path, report: Path, *, stated: bool
) -> None:
    """Print what was made, what it promises, and what to look at.

    Args:
        console: where to.
        exported: the export.
        manifest: as it was written.
        path: of the bundle.
        report: of the report.
        stated: whether the user said how a frame is prepared.
    """
    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    table.add_column(style="bold")
    for name, value in facts(exported, manifest):
        table.add_row(name, value)
    console.print()
    console.print(table)
    for warning in warnings(exported, manifest, stated=stated):
        console.print(f"note: {warning}", style="yellow", markup=False, highlight=False)
    console.print(f"\nbundle  {path}\nreport  {report}", markup=False, highlight=False)


def facts(exported: Exported, manifest: Manifest) -> list[tuple[str, str]]:
    """Name and value of each thing worth knowing."""
    n, fingerprint = len(manifest.calibration.scores), manifest.fingerprint
    size = sum(entry.size for entry in manifest.files.values()) / 2**20
    return [
        ("bundle", f"{manifest.id}, {size:.1f} MiB"),
        ("input", describe_input(manifest)),
        ("classes", _classes(manifest)),
        ("layers", "\n".join(f"{layer.tensor}  {'x'.join(map(str, layer.shape[1:]))}" for layer in exported.layers)),
        (
            "fitted on",
            f"{fingerprint.fitted_on} inliers, method {fingerprint.method}, combination {fingerprint.combination}",
        ),
        (
            "calibrated on",
            f"{n} inliers: their outlier ratio stays under {outlier_bound(n, ALPHA):.3f} at alpha {ALPHA}",
        ),
    ]


def describe_input(manifest: Manifest) -> str:
    """The input and its preprocessing in a line."""
    spec = manifest.input
    if not isinstance(spec, ImageInput):
        return f"{spec.name}: tensor {list(spec.shape)} {spec.dtype}"
    mean, std = (", ".join(f"{value:g}" for value in values) for values in (spec.mean, spec.std))
    return (
        f"{spec.name}: {spec.colour.value} {spec.height}x{spec.width} {spec.layout.value} {spec.dtype}, "
        f"{spec.fit.value} ({spec.filter.value}), (pixel * {spec.scale:.6g} - [{mean}]) / [{std}]"
    )


def warnings(exported: Exported, manifest: Manifest, *, stated: bool) -> list[str]:
    """What the user should know before trusting the bundle."""
    notes = []
    if not stated and isinstance(manifest.input, ImageInput):
        notes.append(
            "the preprocessing is a guess; if your training code prepares images otherwise, say so with --preset, "
            "--mean, --std, --colour, --fit"
        )
    if not manifest.calibration.held_out_from_training:
        notes.append(
            "calibrated on frames the model may have been trained on, which then look more familiar than new ones; "
            "give frames it has not seen with --calibration"
        )
    if len(manifest.calibration.scores) < 1000:
        notes.append("fewer than 1,000 calibration frames: small drifts will take longer to tell")
    if exported.faults:
        listed = ", ".join(f"{count} {reason}" for reason, count in sorted(exported.faults.items()))
        notes.append(f"frames left out: {listed}")
    return notes


def _classes(manifest: Manifest) -> str:
    if manifest.logits_output is None:
        return "none: the fingerprint knows no classes (--task classifier if the model predicts any)"
    named = f"{len(manifest.labels)} named" if manifest.labels else "unnamed (--labels)"
    return f"{named}, from output {manifest.logits_output}; --task none if these are no classes"
