"""Natural corruptions, and JPEG coding."""

from __future__ import annotations

import io

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, JpegImagePlugin
from skimage import data

from bench.outliers.corruptions import CORRUPTIONS, SEVERITIES, crystals, plasma
from driftprint_export.reference.coding import as_jpeg, encode

Images = NDArray[np.uint8]


@pytest.fixture(scope="module")
def scenes() -> Images:
    """Crops of a photograph: uint8 [49, 32, 32, 3]."""
    photograph = Image.fromarray(data.astronaut()).resize((224, 224))  # type: ignore[no-untyped-call]
    crops: Images = np.asarray(photograph).reshape(7, 32, 7, 32, 3).swapaxes(1, 2).reshape(49, 32, 32, 3)
    return crops


@pytest.fixture(params=["colour", "grey"])
def pictures(request: pytest.FixtureRequest, scenes: Images) -> Images:
    """In colour, and grey ones of MNIST's size."""
    return scenes if request.param == "colour" else np.ascontiguousarray(scenes[:, 2:30, 2:30, 1])


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_a_corruption_grows_with_its_severity(name: str, pictures: Images) -> None:
    before = pictures.copy()
    results = [CORRUPTIONS[name](pictures, severity, np.random.default_rng(0)) for severity in SEVERITIES]
    assert all(result.shape == pictures.shape and result.dtype == np.uint8 for result in results)
    distances = [np.abs(result.astype(int) - pictures).mean() for result in results]
    assert distances[0] > 0.5
    assert np.all(np.diff(distances) > 0), distances
    np.testing.assert_array_equal(pictures, before)


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_a_corruption_depends_on_its_random_generator_alone(name: str, pictures: Images) -> None:
    first, second = (CORRUPTIONS[name](pictures, 3, np.random.default_rng(7)) for _ in range(2))
    np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize("name", ["noise", "fog", "frost", "occlusion"])
def test_every_picture_is_corrupted_in_its_own_way(name: str, pictures: Images) -> None:
    same = np.repeat(pictures[:1], 2, axis=0)
    first, second = CORRUPTIONS[name](same, 3, np.random.default_rng(0))
    assert np.any(first != second)


@pytest.mark.parametrize("name", CORRUPTIONS)
@pytest.mark.parametrize("severity", [0, 6])
def test_there_are_five_severities(name: str, severity: int, pictures: Images) -> None:
    with pytest.raises(ValueError, match="severity must be 1 to 5"):
        CORRUPTIONS[name](pictures, severity, np.random.default_rng(0))


@pytest.mark.parametrize("name", ["blur", "defocus"])
def test_smoothing_keeps_an_even_picture(name: str) -> None:
    even = np.full((2, 28, 28), 77, np.uint8)
    np.testing.assert_array_equal(CORRUPTIONS[name](even, 5, np.random.default_rng(0)), even)


def test_brightness_keeps_the_hue() -> None:
    image = np.full((1, 8, 8, 3), (100, 50, 0), np.uint8)
    brighter = CORRUPTIONS["brightness"](image, 2, np.random.default_rng(0))[0, 0, 0]
    np.testing.assert_allclose(brighter, (125.5, 62.75, 0), atol=1)


def test_fog_takes_contrast_away(pictures: Images) -> None:
    foggy = CORRUPTIONS["fog"](pictures, 3, np.random.default_rng(0))
    assert foggy.std() < pictures.std()


def test_clouds_are_smoother_the_faster_they_decay() -> None:
    rough, smooth = (plasma(20, (28, 28), decay, np.random.default_rng(0)) for decay in (1.5, 3.0))
    assert rough.shape == (20, 28, 28)
    assert rough.min() == smooth.min() == 0
    assert rough.max() == smooth.max() == 1
    assert np.abs(np.diff(rough, axis=1)).mean() > 1.5 * np.abs(np.diff(smooth, axis=1)).mean()


def test_frost_is_sparse_and_bright() -> None:
    ice = crystals(50, (32, 32), np.random.default_rng(0))
    assert ice.min() >= 0
    assert 0.9 < ice.max() <= 1
    assert 0.03 < (ice > 0.5).mean() < 0.3


def test_coding_writes_the_tables_of_the_stored_data_sets(scenes: Images) -> None:
    """Which are those of the JPEG library's quality 75, with chroma halved both ways (sampling 2)."""
    with Image.open(io.BytesIO(encode(scenes[0]))) as coded:
        assert isinstance(coded, JpegImagePlugin.JpegImageFile)
        assert JpegImagePlugin.get_sampling(coded) == 2
        luma, chroma = (coded.quantization[table] for table in (0, 1))
    assert list(luma[:8]) == [8, 6, 5, 8, 12, 20, 26, 31]
    assert list(chroma[:8]) == [9, 9, 12, 24, 50, 50, 50, 50]


def test_coding_twice_is_nearly_coding_once(scenes: Images) -> None:
    once = as_jpeg(scenes)
    assert once.shape == scenes.shape
    assert once.dtype == np.uint8
    first = np.abs(once.astype(int) - scenes).mean()
    again = np.abs(as_jpeg(once).astype(int) - once).mean()
    assert first > 1
    assert again < first / 4


def test_grey_pictures_are_not_coded(scenes: Images) -> None:
    grey = scenes[..., 0]
    np.testing.assert_array_equal(as_jpeg(grey), grey)
