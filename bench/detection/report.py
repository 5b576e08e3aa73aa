"""The results as Markdown tables."""

from __future__ import annotations

from bench.detection.results import ModelResults, Results, Row, unique


def tables(results: Results) -> str:
    """Everything, model by model."""
    parts = [_foreword(results)]
    for model in results.models:
        parts += [
            f"### {model.name}: {model.description}",
            f"{model.accuracy:.2%} of {model.inliers:,} fresh inliers named rightly. {_calibrated(model)}",
            _headline(model),
            _detectors(model),
            _corruptions(model),
        ]
    return "\n\n".join(part for part in parts if part) + "\n"


def summary(results: Results) -> str:
    """The few lines that the README quotes: the committed bundles' AUROC on everything but corruptions.

    In parentheses that of the best of pytorch-ood's detectors.
    """
    rows = {model.name: [r for r in model.rows if r.family == "bundle"] for model in results.models}
    others = unique([row.outliers for found in rows.values() for row in found if row.kind in ("attack", "generated")])
    lines = [f"| model | other data | {' | '.join(others)} |", f"|---|---|{'---|' * len(others)}"]
    for model in results.models:
        by_name = {row.outliers: row for row in rows[model.name]}
        data = [f"{row.outliers} {_beside_peers(model, row)}" for row in rows[model.name] if row.kind == "data set"]
        cells = [_beside_peers(model, by_name[name]) if name in by_name else "-" for name in others]
        lines.append(f"| {model.name} | {'<br>'.join(data)} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _beside_peers(model: ModelResults, row: Row) -> str:
    best = _best_peer(model, row.outliers)
    return f"**{row.mean('auroc'):.3f}**" + (f" ({best.mean('auroc'):.3f})" if best else "")


def _foreword(results: Results) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in results.versions.items())
    effort = "quick run: few pictures, no generated ones" if results.quick else "full run"
    return f"{effort.capitalize()}; seeds {', '.join(map(str, results.seeds))}; {versions}."


def _calibrated(model: ModelResults) -> str:
    calibrated = model.calibrated
    over = ", ".join(calibrated.over_twice) or "none"
    return (
        f"At alpha {calibrated.alpha} the bundle flags {calibrated.flagged:.2%} of them. The bound is "
        f"{calibrated.bound:.2%}, and {calibrated.counted_bound:.2%} where the ratio is counted on so few; "
        f"{calibrated.within_bound:.0%} of 200 resampled calibration sets stay under that. Of the "
        f"{calibrated.worst_class_frames} called {calibrated.worst_class} it flags "
        f"{calibrated.worst_class_flagged:.2%}, the most of any class; classes above twice alpha by more than chance: "
        f"{over}."
    )


def _headline(model: ModelResults) -> str:
    lines = [
        "| outliers | how many | AUROC | FPR95 | inliers kept | outliers caught | note |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in model.rows:
        if row.family == "bundle" and row.kind != "corruption":
            figures = " | ".join(
                f"{row.mean(name):.3f}" for name in ("auroc", "fpr95", "inliers_kept", "outliers_caught")
            )
            lines.append(f"| {row.outliers} | {row.count:,} | {figures} | {row.note} |")
    return "The committed bundle:\n\n" + "\n".join(lines)


def _detectors(model: ModelResults) -> str:
    rows = [row for row in model.rows if row.kind != "corruption"]
    outliers = unique([row.outliers for row in rows])
    detectors = unique([f"{row.family}: {row.detector}" for row in rows if row.family != "bundle"])
    by_place = {(f"{row.family}: {row.detector}", row.outliers): row for row in rows}
    lines = [f"| AUROC | {' | '.join(outliers)} |", f"|---|{'---|' * len(outliers)}"]
    for detector in detectors:
        cells = [by_place.get((detector, name)) for name in outliers]
        lines.append(f"| {detector} | {' | '.join(_cell(cell) for cell in cells)} |")
    return "Fitted anew for every seed (mean and deviation), and pytorch-ood's (one fit):\n\n" + "\n".join(lines)


def _corruptions(model: ModelResults) -> str:
    rows = model.rows_of("corruption", "bundle")
    if not rows:
        return ""
    names = unique([row.outliers.rpartition(" ")[0] for row in rows])
    severities = unique([row.outliers.rpartition(" ")[2] for row in rows])
    by_place = {row.outliers: row.mean("auroc") for row in rows}
    lines = [f"| AUROC, severity | {' | '.join(severities)} |", f"|---|{'---|' * len(severities)}"]
    for name in names:
        cells = [f"{by_place[f'{name} {severity}']:.3f}" for severity in severities]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    means = [sum(by_place[f"{name} {severity}"] for name in names) / len(names) for severity in severities]
    lines.append(f"| **mean** | {' | '.join(f'**{mean:.3f}**' for mean in means)} |")
    return "The committed bundle on corrupted inliers:\n\n" + "\n".join(lines)


def _cell(row: Row | None) -> str:
    if row is None:
        return "-"
    spread = f" ± {row.spread('auroc'):.3f}" if len(row.runs) > 1 else ""
    return f"{row.mean('auroc'):.3f}{spread}"


def _best_peer(model: ModelResults, outliers: str) -> Row | None:
    peers = [row for row in model.rows if row.family == "peer" and row.outliers == outliers]
    return max(peers, key=lambda row: row.mean("auroc"), default=None)
