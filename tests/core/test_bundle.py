import hashlib
import io
import json
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from driftprint.bundle import GOLDEN, MANIFEST, MODEL, Bundle, Limits, read_bundle, read_manifest, sample, write_bundle
from driftprint.errors import BundleError
from tests.bundles import make_bundle, make_model

FILES = (MANIFEST, MODEL, GOLDEN)


def reseal(bundle: Path, name: str, data: bytes) -> None:
    """Replace one file of a bundle in a folder and make the manifest agree, as somebody with ill intent would."""
    (bundle / name).write_bytes(data)
    manifest = json.loads((bundle / MANIFEST).read_bytes())
    manifest["files"][name] = {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data)}
    (bundle / MANIFEST).write_text(json.dumps(manifest))


def edit_manifest(bundle: Path, edit: Callable[[dict[str, Any]], object]) -> None:
    manifest = json.loads((bundle / MANIFEST).read_bytes())
    edit(manifest)
    (bundle / MANIFEST).write_text(json.dumps(manifest))


def zip_of(members: dict[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def members_of(data: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def npy(array: NDArray[Any], **choices: bool) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, **choices)
    return buffer.getvalue()


def npy_header(shape: tuple[int, ...], dtype: str = "<f4") -> bytes:
    """An array that announces `shape` and holds nothing."""
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(buffer, {"descr": dtype, "fortran_order": False, "shape": shape})
    return buffer.getvalue()


def refusal(bundle: Path, limits: Limits | None = None) -> str:
    """The one line with which a bundle is refused."""
    with pytest.raises(BundleError) as error:
        read_bundle(bundle, limits)
    line = str(error.value)
    assert "\n" not in line
    return line


def assert_same(one: Bundle, other: Bundle) -> None:
    assert one.manifest == other.manifest
    assert one.model == other.model
    for a, b in zip(one.golden.frames, other.golden.frames, strict=True):
        np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(one.golden.scores, other.golden.scores)
    np.testing.assert_array_equal(one.golden.layers, other.golden.layers)
    assert one.golden.outputs.keys() == other.golden.outputs.keys()
    for name, values in one.golden.outputs.items():
        np.testing.assert_array_equal(values, other.golden.outputs[name])


@pytest.mark.parametrize("zipped", [False, True], ids=["folder", "zip"])
def test_what_is_written_is_read_back(intact_toy: Path, tmp_path: Path, zipped: bool) -> None:
    bundle = read_bundle(intact_toy)
    copy = tmp_path / "copy-1.driftprint"

    written = write_bundle(copy, bundle.manifest, bundle.model, bundle.golden, zipped=zipped)

    assert copy.is_file() == zipped
    assert written == bundle.manifest
    assert read_manifest(copy) == bundle.manifest
    assert_same(read_bundle(copy), bundle)


def test_the_same_contents_give_the_same_bytes(tmp_path: Path) -> None:
    first, second = make_bundle(tmp_path / "a", zipped=True), make_bundle(tmp_path / "b", zipped=True)
    folder = make_bundle(tmp_path / "c")

    assert first.read_bytes() == second.read_bytes()
    assert members_of(first.read_bytes()) == {name: (folder / name).read_bytes() for name in FILES}


@pytest.mark.parametrize("name", [MODEL, GOLDEN])
@pytest.mark.parametrize("place", [0, 0.5, 1])
def test_one_wrong_byte_is_noticed(toy: Path, name: str, place: float) -> None:
    data = bytearray((toy / name).read_bytes())
    data[int(place * (len(data) - 1))] ^= 1
    (toy / name).write_bytes(data)

    line = refusal(toy)

    assert line.startswith(f"{toy}/{name}: does not match the checksum")


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("kept", [0, 0.5, 0.99])
def test_a_file_cut_short_is_noticed(toy: Path, name: str, kept: float) -> None:
    data = (toy / name).read_bytes()
    (toy / name).write_bytes(data[: int(kept * len(data))])

    assert refusal(toy).startswith(f"{toy}/{name}: ")


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_named(toy: Path, name: str) -> None:
    (toy / name).unlink()

    assert f"{toy}: has no {name}" in refusal(toy)


@pytest.mark.parametrize("name", FILES)
def test_a_file_missing_in_a_zip_is_named(toy: Path, tmp_path: Path, name: str) -> None:
    zipped = tmp_path / "zipped"
    zipped.write_bytes(zip_of({other: (toy / other).read_bytes() for other in FILES if other != name}))

    assert f"{zipped}: has no {name}" in refusal(zipped)


def test_a_missing_bundle_is_named(tmp_path: Path) -> None:
    assert f"{tmp_path / 'nowhere'}: no such bundle" in refusal(tmp_path / "nowhere")


@pytest.mark.parametrize("data", [b"", b"no zip", b"PK\x05\x06" + bytes(18)])
def test_a_file_that_is_no_zip_is_refused(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "file"
    path.write_bytes(data)

    assert refusal(path).startswith(f"{path}: ")


def test_a_folder_in_place_of_a_file_is_refused(toy: Path) -> None:
    (toy / MODEL).unlink()
    (toy / MODEL).mkdir()

    assert refusal(toy).startswith(f"{toy}/{MODEL}: cannot be read")


def test_an_encrypted_zip_is_refused(toy: Path, tmp_path: Path) -> None:
    data = bytearray(zip_of({name: (toy / name).read_bytes() for name in FILES}, zipfile.ZIP_STORED))
    for mark, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        place = data.find(mark)
        while place >= 0:
            data[place + flags] |= 1
            place = data.find(mark, place + 4)
    path = tmp_path / "encrypted"
    path.write_bytes(data)

    assert "cannot be read" in refusal(path)


@pytest.mark.parametrize("compression", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_an_unusual_compression_is_refused(toy: Path, tmp_path: Path, compression: int) -> None:
    path = tmp_path / "unusual"
    path.write_bytes(zip_of({name: (toy / name).read_bytes() for name in FILES}, compression))

    assert "another way than deflate" in refusal(path)


# Sizes


@pytest.mark.parametrize("name", FILES)
def test_a_file_over_the_limit_is_refused(toy: Path, name: str) -> None:
    size = (toy / name).stat().st_size
    limits = {"manifest.json": "manifest", "model.onnx": "model", "golden.npz": "golden"}

    line = refusal(toy, Limits(**{limits[name]: size - 1}))

    assert line == f"{toy}/{name}: larger than {size - 1} bytes"


def test_a_zip_that_unpacks_to_more_than_the_limit_is_refused(toy: Path, tmp_path: Path) -> None:
    bomb = tmp_path / "bomb"
    members = {name: (toy / name).read_bytes() for name in FILES}
    bomb.write_bytes(zip_of(members | {MODEL: bytes(50_000_000)}))
    assert bomb.stat().st_size < 100_000

    assert refusal(bomb, Limits(model=1_000_000)) == f"{bomb}/{MODEL}: larger than 1000000 bytes"


def test_a_zip_that_hides_its_size_is_refused(toy: Path, tmp_path: Path) -> None:
    bomb = tmp_path / "bomb"
    members = {name: (toy / name).read_bytes() for name in FILES}
    honest = zip_of(members | {MODEL: bytes(50_000_000)})
    bomb.write_bytes(honest.replace((50_000_000).to_bytes(4, "little"), (1000).to_bytes(4, "little")))
    assert zipfile.ZipFile(bomb).getinfo(MODEL).file_size == 1000

    refusal(bomb, Limits(model=1_000_000))


def test_golden_frames_that_unpack_to_more_than_the_limit_are_refused(toy: Path) -> None:
    members = members_of((toy / GOLDEN).read_bytes())
    reseal(toy, GOLDEN, zip_of(members | {"frame_99.npy": npy(np.zeros(20_000_000, np.uint8))}))

    assert "golden.npz: unpacks to more than 1000000 bytes" in refusal(toy, Limits(golden=1_000_000))


@pytest.mark.parametrize("shape", [(10**15,), (10**9, 10**9, 10**9), (2**62, 4), (-1,), (17,)])
def test_an_array_that_announces_more_than_it_holds_is_refused(toy: Path, shape: tuple[int, ...]) -> None:
    members = members_of((toy / GOLDEN).read_bytes())
    reseal(toy, GOLDEN, zip_of(members | {"scores.npy": npy_header(shape)}))

    line = refusal(toy)

    assert line.startswith(f"{toy}/{GOLDEN}: not valid golden frames (array 'scores' announces")


# Contents


def test_pickled_golden_frames_are_refused_and_not_unpickled(toy: Path, tmp_path: Path) -> None:
    class Touch:
        def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
            return Path.touch, (tmp_path / "unpickled",)

    members = members_of((toy / GOLDEN).read_bytes())
    pickled = npy(np.array([Touch()], dtype=object), allow_pickle=True)
    reseal(toy, GOLDEN, zip_of(members | {"frame_00.npy": pickled}))

    assert "holds objects, which are not unpickled" in refusal(toy)
    assert not (tmp_path / "unpickled").exists()


@pytest.mark.parametrize(
    "scores",
    [npy(np.zeros(15, np.float32)), npy(np.zeros((16, 2), np.float32)), npy(np.array(["0.2"] * 16))],
    ids=["too few", "two axes", "text"],
)
def test_golden_scores_that_do_not_fit_their_frames_are_refused(toy: Path, scores: bytes) -> None:
    members = members_of((toy / GOLDEN).read_bytes())
    reseal(toy, GOLDEN, zip_of(members | {"scores.npy": scores}))

    assert refusal(toy).startswith(f"{toy}/{GOLDEN}: ")


@pytest.mark.parametrize("missing", ["scores.npy", "layers.npy"])
def test_incomplete_golden_frames_are_refused(toy: Path, missing: str) -> None:
    members = members_of((toy / GOLDEN).read_bytes())
    del members[missing]
    reseal(toy, GOLDEN, zip_of(members))

    assert missing.removesuffix(".npy") in refusal(toy)


def test_golden_frames_without_frames_are_refused(toy: Path) -> None:
    reseal(toy, GOLDEN, zip_of({"scores.npy": npy(np.zeros(0)), "layers.npy": npy(np.zeros((0, 2)))}))

    assert "differ in number" in refusal(toy)


@pytest.mark.parametrize("data", [b"", b"junk", npy(np.zeros(3))], ids=["empty", "junk", "a bare array"])
def test_golden_frames_that_are_no_npz_are_refused(toy: Path, data: bytes) -> None:
    reseal(toy, GOLDEN, data)

    assert "not valid golden frames" in refusal(toy)


def test_a_model_whose_tensors_lie_in_other_files_is_refused(toy: Path) -> None:
    reseal(toy, MODEL, make_model(external=True))

    assert refusal(toy).startswith(f"{toy}/{MODEL}: has tensors that lie in other files")


def test_a_model_that_is_no_protobuf_is_refused(toy: Path) -> None:
    reseal(toy, MODEL, b"\xff" * 100)

    assert refusal(toy).startswith(f"{toy}/{MODEL}: not a valid ONNX model")


@pytest.mark.parametrize(
    ("edit", "field"),
    [
        (lambda m: m.pop("name"), "name: missing"),
        (lambda m: m.update(name="../etc"), "name: "),
        (lambda m: m.update(version=-1), "version: "),
        (lambda m: m.update(version="one"), "version: "),
        (lambda m: m.update(schema_version=2), "schema_version: "),
        (lambda m: m.update(labels=3), "labels: "),
        (lambda m: m["input"].update(kind="sound"), "input: "),
        (lambda m: m["input"].update(height=0), "input.image.height: "),
        (lambda m: m["input"].update(std=[0.0]), "input.image.std.0: "),
        (lambda m: m["input"].update(mean=[1, 2]), "mean must have 1 or 1 numbers"),
        (lambda m: m["calibration"].update(scores=[]), "calibration.scores: "),
        (lambda m: m["calibration"].update(scores=[2.0, 1.0]), "scores must ascend"),
        (lambda m: m["calibration"].update(scores=["NaN"]), "calibration.scores.0: "),
        (lambda m: m["tolerance"].update(score=0), "tolerance.score: "),
        (lambda m: m["files"][MODEL].update(sha256="0"), f"files.{MODEL}.sha256: "),
        (lambda m: m["files"].pop(MODEL), f"{MODEL} is not listed under files"),
        (lambda m: m["fingerprint"].update(layers=[]), "fingerprint.layers: "),
        (lambda m: m.clear(), "name: missing (and "),
    ],
)
def test_a_wrong_manifest_names_the_field(toy: Path, edit: Callable[[dict[str, Any]], object], field: str) -> None:
    edit_manifest(toy, edit)

    line = refusal(toy)

    assert line.startswith(f"{toy}/{MANIFEST}: ")
    assert field in line


@pytest.mark.parametrize(
    "text", ["", "[]", "null", "{", '{"name": NaN}', "[" * 100_000, "\udcff"], ids=lambda text: text[:14]
)
def test_a_manifest_that_is_no_json_object_is_refused(toy: Path, text: str) -> None:
    (toy / MANIFEST).write_bytes(text.encode(errors="surrogateescape"))

    assert refusal(toy).startswith(f"{toy}/{MANIFEST}: ")


def test_fields_of_a_newer_minor_version_are_ignored(toy: Path) -> None:
    edit_manifest(toy, lambda manifest: manifest.update(colour_of_the_box="red"))

    assert read_bundle(toy).manifest.name == "toy"


# Fuzzing

flips = st.lists(
    st.tuples(st.floats(0, 1, exclude_max=True), st.binary(max_size=6), st.integers(0, 6)), min_size=1, max_size=5
)
fuzz = settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])


def mutated(data: bytes, mutations: list[tuple[float, bytes, int]]) -> bytes:
    """Some bytes put in place of some others, at some places."""
    for place, put, cut in mutations:
        at = int(place * len(data))
        data = data[:at] + put + data[at + cut :]
    return data


def read_or_refuse(bundle: Path) -> None:
    try:
        read_bundle(bundle)
        refusal = None
    except BundleError as error:
        refusal = error
    assert refusal is None or (refusal.where or "").startswith(str(bundle))


@fuzz
@given(mutations=flips)
def test_no_damage_to_a_zip_breaks_the_reader(tmp_path: Path, intact_toy: Path, mutations: Any) -> None:
    path = tmp_path / "damaged"
    path.write_bytes(mutated(zip_of({name: (intact_toy / name).read_bytes() for name in FILES}), mutations))

    read_or_refuse(path)


@fuzz
@given(mutations=flips)
def test_no_damage_to_a_manifest_breaks_the_reader(tmp_path: Path, intact_toy: Path, mutations: Any) -> None:
    bundle = shutil.copytree(intact_toy, tmp_path / "damaged", dirs_exist_ok=True)
    (bundle / MANIFEST).write_bytes(mutated((intact_toy / MANIFEST).read_bytes(), mutations))

    read_or_refuse(bundle)


@fuzz
@given(mutations=flips, name=st.sampled_from([MODEL, GOLDEN]))
def test_no_forged_file_breaks_the_reader(tmp_path: Path, intact_toy: Path, name: str, mutations: Any) -> None:
    bundle = shutil.copytree(intact_toy, tmp_path / "forged", dirs_exist_ok=True)
    reseal(bundle, name, mutated((intact_toy / name).read_bytes(), mutations))

    read_or_refuse(bundle)


@fuzz
@given(mutations=flips, member=st.sampled_from(["scores.npy", "layers.npy", "frame_00.npy", "output_logits.npy"]))
def test_no_forged_array_breaks_the_reader(tmp_path: Path, intact_toy: Path, member: str, mutations: Any) -> None:
    bundle = shutil.copytree(intact_toy, tmp_path / "forged", dirs_exist_ok=True)
    members = members_of((intact_toy / GOLDEN).read_bytes())
    reseal(bundle, GOLDEN, zip_of(members | {member: mutated(members[member], mutations)}))

    read_or_refuse(bundle)


# Samples of outputs


@given(size=st.integers(1, 300), most=st.integers(1, 100))
def test_a_sample_spreads_evenly_over_an_output(size: int, most: int) -> None:
    taken = sample(np.arange(size, dtype=np.float32).reshape(1, size), most)

    assert len(taken) == min(size, most)
    assert taken.dtype == np.float64
    assert taken[0] == 0
    if len(taken) > 1:
        assert taken[-1] == size - 1
        assert np.ptp(np.diff(taken)) <= 1
