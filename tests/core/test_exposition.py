import subprocess
import sys

import pytest

from driftprint.exposition import DEVICE_CATALOGUE, FRAMES, Families, add_health, add_window
from driftprint.messages import ClassStats, WindowKind, WindowStats
from tests.server.messages import health, window

BELT = ("north", "pi-1", "belt")

Sample = tuple[str, tuple[str, ...]]


def samples(families: Families) -> dict[Sample, float]:
    """By name, and the values of the labels but the first three."""
    return {
        (sample.name, tuple(sample.labels.values())[3:]): sample.value
        for family in families.metrics()
        for sample in family.samples
    }


def samples_of(*windows: WindowStats, max_classes: int = 20) -> dict[Sample, float]:
    families = Families(DEVICE_CATALOGUE)
    add_window(families, BELT, window(windows=windows), at=5.0, present=True, max_classes=max_classes)
    return samples(families)


def test_of_a_window_that_no_longer_holds_the_totals_and_its_time_are_left() -> None:
    families = Families(DEVICE_CATALOGUE)
    add_window(families, BELT, window(3), at=5.0, present=False, max_classes=20)
    assert samples(families) == {
        ("driftprint_frames_total", ()): 300,
        ("driftprint_outlier_frames_total", ()): 12,
        ("driftprint_faulty_frames_total", ("undecodable",)): 3,
        ("driftprint_alerts_total", ()): 0,
        ("driftprint_window_timestamp_seconds", ()): 5,
    }


def test_of_a_health_message_that_no_longer_holds_the_totals_are_left() -> None:
    families = Families(DEVICE_CATALOGUE)
    add_health(families, BELT[:2], health(), present=False)
    assert samples(families) == {
        ("driftprint_outbox_dropped_total", ()): 1,
        ("driftprint_store_errors_total", ()): 0,
        ("driftprint_store_mended_total", ()): 0,
    }


def test_an_empty_window_shows_no_ratio() -> None:
    empty = WindowStats(kind=WindowKind.TIME, limit=60, frames=0, outlier_ratio=0.0)
    assert ("driftprint_outlier_ratio", ("time",)) not in samples_of(empty)


def test_of_two_windows_of_one_kind_the_first_is_shown() -> None:
    first, second = (
        WindowStats(kind=WindowKind.COUNT, limit=10, frames=10, outlier_ratio=ratio) for ratio in (0.25, 0.75)
    )
    assert samples_of(first, second)["driftprint_outlier_ratio", ("count",)] == 0.25


def test_of_the_classes_those_with_the_most_frames_are_shown_and_of_equals_the_first_by_name() -> None:
    classes = {
        name: ClassStats(frames=frames, outlier_ratio=0.5) for name, frames in (("c", 1), ("b", 1), ("a", 0), ("d", 7))
    }
    stats = WindowStats(kind=WindowKind.COUNT, limit=10, frames=9, outlier_ratio=0.5, classes=classes)
    shown = {labels for name, labels in samples_of(stats, max_classes=2) if name == "driftprint_class_outlier_ratio"}
    assert shown == {("d",), ("b",)}


def test_what_is_no_quantile_is_left_out() -> None:
    quantiles = {"0.5": 1.0, "0.50": 2.0, "nan": 3.0, "1e-1": 4.0, "1.5": 5.0, "1": 6.0}
    stats = WindowStats(kind=WindowKind.COUNT, limit=10, frames=9, outlier_ratio=0.5, score_quantiles=quantiles)
    shown = {labels: value for (name, labels), value in samples_of(stats).items() if name == "driftprint_score"}
    assert shown == {("0.5",): 2.0, ("1.0",): 6.0}


def test_a_sample_has_as_many_labels_as_its_family() -> None:
    with pytest.raises(ValueError, match="shorter"):
        Families(DEVICE_CATALOGUE).add(FRAMES, ("north", "pi-1"), 1)


WITHOUT_THE_PACKAGE = """
import importlib, pkgutil, sys
sys.modules["prometheus_client"] = None  # as Python marks a module that cannot be imported
import driftprint
for module in pkgutil.walk_packages(driftprint.__path__, "driftprint."):
    if not module.name.endswith("__main__"):
        try:
            importlib.import_module(module.name)
        except ModuleNotFoundError:
            print(module.name)
"""


def test_no_other_module_of_the_shared_library_needs_the_metrics_package() -> None:
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_THE_PACKAGE], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout == "driftprint.exposition\n"
