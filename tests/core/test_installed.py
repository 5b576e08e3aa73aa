from pathlib import Path

import pytest

from driftprint.bundle import read_bundle
from driftprint.errors import BundleError
from driftprint.installed import REFERENCE, find_bundle, reference_bundles
from driftprint.scorer import Scorer
from tests.bundles import make_bundle


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Reference bundles ``toy`` in versions 2 and 10, and ``belt`` in version 1."""
    folder = tmp_path / "reference"
    folder.mkdir()
    for name, version in (("toy", 10), ("toy", 2), ("belt", 1)):
        make_bundle(folder / f"{name}-{version}.driftprint", name=name, version=version)
    (folder / "notes.txt").write_text("no bundle")
    return folder


def test_bundles_are_listed_by_name_and_version(folder: Path) -> None:
    assert [manifest.id for manifest, _ in reference_bundles(folder)] == ["belt-1", "toy-2", "toy-10"]
    assert all(path.is_absolute() and path.exists() for _, path in reference_bundles(folder))


def test_a_name_finds_the_latest_version(folder: Path) -> None:
    assert find_bundle("toy", folder).name == "toy-10.driftprint"


def test_a_name_with_version_finds_that_one(folder: Path) -> None:
    assert find_bundle("toy-2", folder).name == "toy-2.driftprint"


def test_a_path_goes_before_a_name(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here = make_bundle(folder / "toy", version=7)
    monkeypatch.chdir(folder)

    assert find_bundle("toy", folder) == Path("toy")
    assert find_bundle(here, folder) == here


def test_an_unknown_name_is_refused_with_those_known(folder: Path) -> None:
    with pytest.raises(BundleError, match=r"^toi: no such bundle; .*\(belt-1, toy-2, toy-10\)$"):
        find_bundle("toi", folder)


def test_without_reference_bundles_the_refusal_says_so(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"\(none\)"):
        find_bundle("toy", tmp_path)


def test_the_installed_reference_bundles_work() -> None:
    bundles = reference_bundles()

    assert "digits" in [manifest.name for manifest, _ in bundles]
    for manifest, path in bundles:
        assert path.name == f"{manifest.id}.driftprint"
        assert path.is_relative_to(REFERENCE.resolve())
        Scorer(read_bundle(path))
