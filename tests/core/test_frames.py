import io
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image, ImageOps

from driftprint.errors import DataError, FrameError
from driftprint.frames import ArrayFrames, decode_image, read_frames

COLOUR = np.random.default_rng(0).integers(0, 256, (6, 9, 3), dtype=np.uint8)
GREY = COLOUR[..., 0]


def encoded(pixels: NDArray[Any], kind: str = "png", **choices: Any) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind, **choices)
    return buffer.getvalue()


def fault(source: Path | bytes) -> FrameError:
    with pytest.raises(FrameError) as error:
        decode_image(source)
    return error.value


def refusal(path: Path) -> str:
    with pytest.raises(DataError) as error:
        read_frames(path)
    line = str(error.value)
    assert line.startswith(f"{path}: ")
    assert "\n" not in line
    return line


# Folders


def test_a_folder_is_read_in_the_order_of_paths(tmp_path: Path) -> None:
    for name in ("b/2.png", "a.PNG", "b/10.png", "c.jpeg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(encoded(GREY))
    (tmp_path / "notes.txt").write_text("no image")
    (tmp_path / "folder.png").mkdir()

    frames = read_frames(tmp_path)

    assert [frame.name for frame in frames] == ["a.PNG", "b/10.png", "b/2.png", "c.jpeg"]
    assert len(frames) == 4
    assert frames[1].name == "b/10.png"
    assert frames.groups is None


def test_images_are_decoded_when_asked_for(tmp_path: Path) -> None:
    (tmp_path / "1.png").write_bytes(encoded(COLOUR))
    (tmp_path / "2.png").write_bytes(b"broken")
    (tmp_path / "3.png").write_bytes(encoded(GREY))

    first, broken, last = read_frames(tmp_path)

    np.testing.assert_array_equal(first.load(), COLOUR)
    np.testing.assert_array_equal(last.load(), GREY)
    with pytest.raises(FrameError, match=r"2\.png: not an image"):
        broken.load()


def test_a_folder_without_images_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no image")

    assert "no images in this folder" in refusal(tmp_path)


# Images


def test_grey_and_colour_are_told_apart() -> None:
    np.testing.assert_array_equal(decode_image(encoded(GREY)), GREY)
    np.testing.assert_array_equal(decode_image(encoded(COLOUR)), COLOUR)


def test_alpha_is_dropped() -> None:
    with_alpha = np.concatenate([COLOUR, np.full((6, 9, 1), 7, np.uint8)], axis=2)

    np.testing.assert_array_equal(decode_image(encoded(with_alpha)), COLOUR)


def test_sixteen_bits_become_eight() -> None:
    deep = (GREY.astype(np.uint16) * 257).astype(np.uint16)

    np.testing.assert_array_equal(decode_image(encoded(deep)), GREY)
    np.testing.assert_array_equal(decode_image(encoded(deep, "tiff")), GREY)
    np.testing.assert_array_equal(decode_image(b"P5 9 6 65535\n" + deep.byteswap().tobytes()), GREY)


def test_a_dark_picture_of_sixteen_bits_is_dark() -> None:
    """Its numbers are those of a bright picture of eight."""
    np.testing.assert_array_equal(decode_image(b"P5 9 6 65535\n" + GREY.astype(">u2").tobytes()), GREY > 128)


@pytest.mark.parametrize("numbers", [np.float32, np.int32])
def test_images_of_numbers_without_a_white_are_faults(numbers: type[np.number[Any]]) -> None:
    assert fault(encoded(GREY.astype(numbers), "tiff")).reason == "dtype"


@pytest.mark.parametrize("kind", ["pcx", "tga", "ico"])
def test_formats_that_are_not_among_the_suffixes_are_not_decoded(kind: str) -> None:
    """Pillow would decode these, and starts other programs for some formats."""
    assert fault(encoded(COLOUR, kind)).reason == "undecodable"


def test_palettes_and_bilevel_images_are_unfolded() -> None:
    palette = io.BytesIO()
    Image.fromarray(COLOUR // 128 * 255).convert("P").save(palette, "gif")
    bilevel = encoded(GREY > 100)

    assert decode_image(palette.getvalue()).shape == (6, 9, 3)
    np.testing.assert_array_equal(decode_image(bilevel), np.where(GREY > 100, 255, 0))


@pytest.mark.parametrize("kind", ["png", "tiff"])
@pytest.mark.parametrize("orientation", range(10))
def test_photographs_are_turned_upright(orientation: int, kind: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(COLOUR, kind, exif=exif)

    expected = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
    np.testing.assert_array_equal(decode_image(data), np.asarray(expected))


def test_a_photograph_with_senseless_exif_is_still_one() -> None:
    exif = Image.Exif()
    exif[0x010E], exif[0x0112] = "a description", 6
    photograph = encoded(COLOUR, "jpeg", exif=exif)
    damaged = photograph.replace(b"\x01\x0e\x00\x02", b"\x01\x00\x00\x02")  # says that the width is a text
    assert damaged != photograph

    assert decode_image(damaged).shape == (9, 6, 3)


@pytest.mark.parametrize("kind", ["png", "jpeg", "gif", "bmp", "tiff", "webp", "ppm"])
def test_images_cut_short_are_faults(kind: str) -> None:
    data = encoded(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8), kind)

    for kept in (0, 1, 10, len(data) // 2):
        assert fault(data[:kept]).reason == "undecodable"


@pytest.mark.parametrize("side", [10_001, 50_000])
def test_a_huge_image_is_refused_before_it_is_decoded(side: int) -> None:
    assert fault(f"P5\n{side} {side}\n255\n".encode()).reason == "too_large"


def test_a_missing_file_is_unreadable(tmp_path: Path) -> None:
    error = fault(tmp_path / "gone.png")

    assert error.reason == "unreadable"
    assert error.where == str(tmp_path / "gone.png")


@settings(deadline=None, max_examples=300)
@given(
    kind=st.sampled_from(["png", "jpeg", "gif", "bmp", "tiff", "webp", "ppm"]),
    place=st.floats(0, 1, exclude_max=True),
    put=st.binary(max_size=8),
    cut=st.integers(0, 8),
)
def test_no_damage_breaks_the_decoder(kind: str, place: float, put: bytes, cut: int) -> None:
    data = encoded(COLOUR, kind)
    at = int(place * len(data))

    pixels, reason = np.zeros((1, 1), np.uint8), "undecodable"
    try:
        pixels = decode_image(data[:at] + put + data[at + cut :])
    except FrameError as error:
        reason = error.reason

    assert pixels.dtype == np.uint8
    assert pixels.ndim in (2, 3)
    assert reason in ("undecodable", "too_large", "dtype")


# Arrays


def test_arrays_are_read_in_order(tmp_path: Path) -> None:
    path = tmp_path / "frames.npz"
    np.savez(path, x=np.stack([COLOUR, COLOUR[::-1]]), y=[1, 2], group=["a", "b"])

    frames = read_frames(path)

    assert [frame.name for frame in frames] == ["0", "1"]
    np.testing.assert_array_equal(frames[1].load(), COLOUR[::-1])
    assert frames.groups == ["a", "b"]


def test_arrays_of_objects_beside_the_frames_do_not_matter(tmp_path: Path) -> None:
    path = tmp_path / "frames.npz"
    np.savez_compressed(path, x=np.zeros((2, 4), np.float32), notes=np.array([None, "note"], dtype=object))

    assert len(read_frames(path)) == 2


@pytest.mark.parametrize(
    ("arrays", "complaint"),
    [
        ({"y": np.zeros((2, 3))}, "has no array 'x' (it has: y)"),
        ({}, "has no array 'x' (it has: none)"),
        ({"x": np.zeros(3)}, "array 'x' is float64 [3], expected numbers of shape [N, ...]"),
        ({"x": np.zeros((0, 3))}, "array 'x' is float64 [0, 3]"),
        ({"x": np.array([["a"]])}, "array 'x' is <U1 [1, 1]"),
        ({"x": np.zeros((2, 2), np.complex64)}, "array 'x' is complex64"),
        ({"x": np.zeros((2, 3)), "group": ["a"]}, "array 'group' has shape [1], expected [2]"),
        ({"x": np.array([["text", None]], dtype=object)}, "holds objects, which are not unpickled"),
    ],
)
def test_wrong_arrays_are_refused_with_what_was_expected(tmp_path: Path, arrays: Any, complaint: str) -> None:
    path = tmp_path / "frames.npz"
    np.savez(path, **arrays)

    assert complaint in refusal(path)


def array_bytes(array: NDArray[Any]) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def announced(shape: tuple[int, ...]) -> bytes:
    """An .npz whose array announces `shape` and holds nothing."""
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f4", "fortran_order": False, "shape": shape})
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("x.npy", header.getvalue())
    return buffer.getvalue()


@pytest.mark.parametrize(
    "data",
    [b"", b"junk", array_bytes(np.zeros((2, 3))), pickle.dumps([1]), announced((10**7, 10**7)), announced((3, 3))],
    ids=["empty", "junk", "a bare array", "a pickle", "a huge array", "an empty array"],
)
def test_what_is_no_npz_is_refused(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "frames.npz"
    path.write_bytes(data)

    assert "not a readable .npz file" in refusal(path)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.floats(0, 1, exclude_max=True), put=st.binary(max_size=8), cut=st.integers(0, 8))
def test_no_damage_breaks_the_reader(tmp_path: Path, place: float, put: bytes, cut: int) -> None:
    path = tmp_path / "frames.npz"
    np.savez_compressed(path, x=np.stack([GREY, GREY]), group=["a", "b"])
    data = path.read_bytes()
    at = int(place * len(data))
    path.write_bytes(data[:at] + put + data[at + cut :])

    where, frames = str(path), 1
    try:
        frames = len(read_frames(path))
    except DataError as error:
        where = error.where or ""

    assert where == str(path)
    assert frames > 0


def test_other_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "frames.csv").write_text("1,2")

    assert "expected a folder of images or an .npz file" in refusal(tmp_path / "frames.csv")
    assert "no such file or folder" in refusal(tmp_path / "nowhere")


def test_frames_in_memory_can_be_sliced() -> None:
    frames = ArrayFrames(np.arange(5)[:, None])

    assert [frame.name for frame in frames[1:4:2]] == ["1", "3"]
    assert len(frames) == 5
