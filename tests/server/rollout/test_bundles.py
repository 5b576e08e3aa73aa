"""The folder of bundles: what is listed, what is refused and why, and what devices are given."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from driftprint.bundle import read_bundle
from driftprint.errors import BundleError
from driftprint.keys import TrustedKeys, make_key, public_file
from driftprint.signing import sign
from driftprint_server.rollout.bundles import BundleExistsError, Catalogue, Listed
from driftprint_server.rollout.links import BundleLinks
from driftprint_server.rollout.model import BundleId
from tests.bundles import make_bundle

TOY1, TOY2 = BundleId("toy", 1), BundleId("toy", 2)


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("signer") / "parts.key"
    make_key(path)
    return path


@pytest.fixture
def trusted(tmp_path: Path, key: Path) -> TrustedKeys:
    folder = tmp_path / "trusted"
    folder.mkdir()
    shutil.copy(public_file(key), folder)
    return TrustedKeys(folder)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "bundles"
    path.mkdir()
    return path


@pytest.fixture
def catalogue(tmp_path: Path, folder: Path, trusted: TrustedKeys) -> Catalogue:
    return Catalogue(folder, cache=tmp_path / "zips", trusted=trusted)


def upload(catalogue: Catalogue, bundle: Path) -> tuple[Listed, bool]:
    path = catalogue.room_for_upload()
    shutil.copy(bundle, path)
    return catalogue.adopt(path)


def signed(path: Path, key: Path, **fields: object) -> Path:
    make_bundle(path, **fields)  # type: ignore[arg-type]
    sign(path, key)
    return path


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "folder"])
def test_a_bundle_that_is_copied_there_is_listed_and_given_to_devices_as_a_zip_file(
    catalogue: Catalogue, folder: Path, key: Path, trusted: TrustedKeys, zipped: bool
) -> None:
    signed(folder / "toy-1.driftprint", key, zipped=zipped)
    (listed,) = catalogue.listed()
    assert (listed.bundle, listed.problem) == (TOY1, "")
    assert listed.signed_by is not None
    path = catalogue.zip_file(TOY1)
    assert path is not None
    assert path.is_file()
    assert read_bundle(path, trusted=trusted).manifest.id == "toy-1"


def test_each_that_cannot_be_rolled_out_says_why_and_is_given_to_nobody(
    catalogue: Catalogue, folder: Path, key: Path, tmp_path: Path
) -> None:
    make_bundle(folder / "toy-1.driftprint", zipped=True)
    make_key(tmp_path / "stranger.key")
    signed(folder / "toy-2.driftprint", tmp_path / "stranger.key", version=2, zipped=True)
    signed(folder / "toy-3.driftprint", key, version=4, zipped=True)
    (folder / "toy-5.driftprint").write_bytes(b"no zip file")
    (folder / "toy-6.driftprint").mkdir()
    (folder / "notes.txt").write_text("not a bundle")
    (folder / "toy.driftprint").write_text("no version")
    problems = {listed.bundle.version: listed.problem for listed in catalogue.listed()}
    assert {version: problem.split("; ")[0].split(" in /")[0] for version, problem in problems.items()} == {
        1: "is not signed, and must be",
        2: "is signed by nobody whose key is",
        3: "is toy-4, not toy-3",
        5: "neither a folder nor a whole zip file",
        6: "has no manifest.json",
    }
    assert [catalogue.zip_file(BundleId("toy", version)) for version in problems] == [None] * 5


def test_a_bundle_that_is_exchanged_is_looked_at_anew(catalogue: Catalogue, folder: Path, key: Path) -> None:
    signed(folder / "toy-1.driftprint", key)
    assert catalogue.zip_file(TOY1) is not None
    (folder / "toy-1.driftprint" / "signature").unlink()
    assert catalogue.zip_file(TOY1) is None


def test_without_trusted_keys_unsigned_ones_are_as_good(tmp_path: Path, folder: Path) -> None:
    make_bundle(folder / "toy-1.driftprint", zipped=True)
    catalogue = Catalogue(folder, cache=tmp_path / "zips", trusted=None)
    assert [listed.problem for listed in catalogue.listed()] == [""]


def test_an_upload_is_there_as_a_whole_under_its_own_name(catalogue: Catalogue, tmp_path: Path, key: Path) -> None:
    listed, is_new = upload(catalogue, signed(tmp_path / "whatever.zip", key, zipped=True))
    assert (listed.bundle, is_new) == (TOY1, True)
    assert [each.bundle for each in catalogue.listed()] == [TOY1]
    assert upload(catalogue, tmp_path / "whatever.zip") == (listed, False)


def test_an_upload_with_other_contents_takes_no_bundles_place(
    catalogue: Catalogue, folder: Path, tmp_path: Path, key: Path
) -> None:
    upload(catalogue, signed(tmp_path / "one.zip", key, zipped=True))
    before = (folder / "toy-1.driftprint").read_bytes()
    other = signed(tmp_path / "other.zip", key, zipped=True, calibration=[0.1, 0.2])
    with pytest.raises(BundleExistsError, match="toy-1 is here already, with other contents"):
        upload(catalogue, other)
    assert (folder / "toy-1.driftprint").read_bytes() == before
    assert [path.name for path in folder.iterdir()] == ["toy-1.driftprint"]


def test_an_upload_that_nobody_trusts_leaves_nothing_behind(catalogue: Catalogue, folder: Path, tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="is not signed"):
        upload(catalogue, make_bundle(tmp_path / "toy-1.zip", zipped=True))
    assert list(folder.iterdir()) == []


def test_what_a_kill_has_left_of_an_upload_is_removed_and_nothing_else(
    catalogue: Catalogue, folder: Path, key: Path
) -> None:
    catalogue.forget_uploads()
    signed(folder / "toy-1.driftprint", key, zipped=True)
    (folder / ".hidden").touch()
    catalogue.room_for_upload().write_bytes(b"PK and the first half")
    catalogue.forget_uploads()
    assert sorted(path.name for path in folder.iterdir()) == [".hidden", "toy-1.driftprint"]


def test_an_address_is_good_for_its_bundle_and_its_secret_alone() -> None:
    links = BundleLinks(b"secret", "https://server.example/fleet/")
    url = links.url(TOY1)
    token = url.split("/")[-2]
    assert url.startswith("https://server.example/fleet/bundles/")
    assert url.endswith("/toy-1.driftprint")
    assert links.allows(token, TOY1)
    assert not links.allows(token, TOY2)
    assert not links.allows("ü" + token[1:], TOY1)
    assert not BundleLinks(b"other", "https://server.example").allows(token, TOY1)
