from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image, ImageOps

from driftprint.errors import FrameError
from driftprint.manifest import Filter, ImageInput, TensorInput
from driftprint.preprocess import make_preprocessor

RNG = np.random.default_rng(0)
COLOUR = RNG.integers(0, 256, (37, 53, 3), dtype=np.uint8)
GREY = RNG.integers(0, 256, (37, 53), dtype=np.uint8)
FILTERS = {
    "nearest": Image.Resampling.NEAREST,
    "box": Image.Resampling.BOX,
    "bilinear": Image.Resampling.BILINEAR,
    "hamming": Image.Resampling.HAMMING,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}


def tensor(frame: NDArray[Any], **choices: Any) -> NDArray[Any]:
    """`frame` as a model's input; the channels come first and pixels stay as they are, unless chosen otherwise."""
    spec = {"name": "input", "height": 16, "width": 24, "scale": 1.0, **choices}
    return make_preprocessor(ImageInput.model_validate(spec))(frame)


def pixels(batch: NDArray[Any]) -> NDArray[Any]:
    """[1, C, H, W] back to [H, W, C]."""
    return np.asarray(batch[0].transpose(1, 2, 0))


@pytest.mark.parametrize("filter", list(Filter))
def test_stretch_resizes_as_pillow_does(filter: Filter) -> None:
    expected = np.asarray(Image.fromarray(COLOUR).resize((24, 16), FILTERS[filter.value]))

    np.testing.assert_array_equal(pixels(tensor(COLOUR, filter=filter)), expected)


def test_a_frame_of_the_right_size_stays_as_it_is() -> None:
    np.testing.assert_array_equal(pixels(tensor(COLOUR, height=37, width=53)), COLOUR)


@pytest.mark.parametrize("frame", [COLOUR, COLOUR.transpose(1, 0, 2)], ids=["wide", "tall"])
@pytest.mark.parametrize("shorter", [None, 24, 30])
def test_crop_cuts_the_middle_out_of_a_resized_frame(frame: NDArray[np.uint8], shorter: int | None) -> None:
    frame = np.ascontiguousarray(frame)
    height, width = frame.shape[:2]
    ratio = (shorter or 24) / min(height, width)
    resized = Image.fromarray(frame).resize((int(width * ratio), int(height * ratio)), Image.Resampling.BILINEAR)
    left, top = round((resized.width - 24) / 2), round((resized.height - 16) / 2)
    expected = np.asarray(resized.crop((left, top, left + 24, top + 16)))

    np.testing.assert_array_equal(pixels(tensor(frame, fit="crop", resize_shorter=shorter)), expected)


@pytest.mark.parametrize("size", [(32, 32), (20, 40), (40, 20)])
def test_letterbox_pads_evenly(size: tuple[int, int]) -> None:
    height, width = size
    expected = ImageOps.pad(
        Image.fromarray(COLOUR), (width, height), Image.Resampling.BILINEAR, color=(9, 9, 9), centering=(0.499, 0.499)
    )

    batch = tensor(COLOUR, fit="letterbox", height=height, width=width, pad_value=9)

    np.testing.assert_array_equal(pixels(batch), np.asarray(expected))


@given(
    shape=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    target=st.tuples(st.integers(1, 20), st.integers(1, 20)),
    fit=st.sampled_from(["stretch", "crop", "letterbox"]),
    colour=st.sampled_from(["rgb", "bgr", "grey"]),
    channels=st.booleans(),
)
def test_any_image_gives_a_tensor_of_the_right_shape(
    shape: tuple[int, int], target: tuple[int, int], fit: str, colour: str, channels: bool
) -> None:
    frame = np.full((*shape, 3) if channels else shape, 200, np.uint8)

    batch = tensor(frame, height=target[0], width=target[1], fit=fit, colour=colour, pad_value=200)

    assert batch.shape == (1, 1 if colour == "grey" else 3, *target)
    assert batch.flags.c_contiguous
    assert np.all(batch == 200)


def test_colours_come_in_the_models_order() -> None:
    rgb = tensor(COLOUR, height=37, width=53, colour="rgb")
    bgr = tensor(COLOUR, height=37, width=53, colour="bgr")

    np.testing.assert_array_equal(bgr, rgb[:, ::-1])
    np.testing.assert_array_equal(rgb[0, 0], COLOUR[..., 0])


def test_colour_frames_become_grey_by_luma() -> None:
    batch = tensor(COLOUR, height=37, width=53, colour="grey")

    np.testing.assert_array_equal(batch[0, 0], np.asarray(Image.fromarray(COLOUR).convert("L")))
    np.testing.assert_allclose(batch[0, 0], COLOUR @ [0.299, 0.587, 0.114], atol=0.6)


def test_grey_frames_fill_all_channels() -> None:
    batch = tensor(GREY, height=37, width=53)

    np.testing.assert_array_equal(batch[0], np.broadcast_to(GREY, (3, 37, 53)))


def test_scale_mean_and_std_per_channel_of_the_tensor() -> None:
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

    batch = tensor(COLOUR, height=37, width=53, colour="bgr", scale=1 / 255, mean=mean, std=std)

    expected = (COLOUR[..., ::-1].astype(np.float64) / 255 - mean) / std
    np.testing.assert_allclose(pixels(batch), expected, atol=1e-5)
    assert batch.dtype == np.float32


@pytest.mark.parametrize(
    ("layout", "colour", "shape"),
    [
        ("NCHW", "rgb", (1, 3, 16, 24)),
        ("NHWC", "rgb", (1, 16, 24, 3)),
        ("NCHW", "grey", (1, 1, 16, 24)),
        ("NHWC", "grey", (1, 16, 24, 1)),
        ("NHW", "grey", (1, 16, 24)),
    ],
)
def test_axes_are_in_the_models_order(layout: str, colour: str, shape: tuple[int, ...]) -> None:
    batch = tensor(COLOUR, layout=layout, colour=colour)

    assert batch.shape == shape
    expected = tensor(COLOUR, colour=colour)
    if layout == "NHWC":
        expected = expected.transpose(0, 2, 3, 1)
    np.testing.assert_array_equal(batch.reshape(expected.shape), expected)


@pytest.mark.parametrize("dtype", ["float32", "float16", "uint8"])
def test_the_tensor_has_the_models_type(dtype: str) -> None:
    batch = tensor(COLOUR, height=37, width=53, dtype=dtype)

    assert batch.dtype == np.dtype(dtype)
    np.testing.assert_array_equal(pixels(batch), COLOUR)


@pytest.mark.parametrize(
    ("frame", "reason"),
    [
        (COLOUR.astype(np.float32), "dtype"),
        (COLOUR.astype(np.int16), "dtype"),
        (GREY > 100, "dtype"),
        (GREY[0], "shape"),
        (COLOUR[None], "shape"),
        (COLOUR[..., :2], "shape"),
        (COLOUR[..., :0], "shape"),
        (np.zeros((5, 5, 4), np.uint8), "shape"),
        (GREY[:0], "shape"),
        (np.uint8(3), "shape"),
    ],
)
def test_what_is_no_image_is_a_fault(frame: Any, reason: str) -> None:
    with pytest.raises(FrameError) as error:
        tensor(np.asarray(frame))
    assert error.value.reason == reason


def raw(frame: NDArray[Any], dtype: str = "float32", shape: tuple[int, ...] = (2, 3)) -> NDArray[Any]:
    return make_preprocessor(TensorInput.model_validate({"name": "x", "dtype": dtype, "shape": shape}))(frame)


@pytest.mark.parametrize(
    ("frame_dtype", "dtype"),
    [("float32", "float32"), ("float64", "float32"), ("int16", "float32"), ("float32", "float16"), ("uint8", "int64")],
)
def test_a_raw_tensor_goes_through_as_it_is(frame_dtype: str, dtype: str) -> None:
    frame = np.arange(6).reshape(2, 3).astype(frame_dtype)

    batch = raw(frame, dtype)

    assert batch.dtype == np.dtype(dtype)
    np.testing.assert_array_equal(batch, frame[None])


@pytest.mark.parametrize(
    ("frame", "dtype", "reason"),
    [
        (np.zeros((3, 2), np.float32), "float32", "shape"),
        (np.zeros(6, np.float32), "float32", "shape"),
        (np.zeros((1, 2, 3), np.float32), "float32", "shape"),
        (np.zeros((2, 3), np.float32), "int64", "dtype"),
        (np.zeros((2, 3), np.complex64), "float32", "dtype"),
        (np.array([["a"] * 3] * 2), "float32", "dtype"),
        (np.full((2, 3), np.nan, np.float32), "float32", "not_finite"),
        (np.full((2, 3), -np.inf), "float32", "not_finite"),
        (np.full((2, 3), 1e300), "float32", "not_finite"),
        (np.full((2, 3), 1e6, np.float32), "float16", "not_finite"),
        (np.full((2, 3), 300, np.int64), "uint8", "dtype"),
        (np.full((2, 3), 2**40, np.int64), "int32", "dtype"),
    ],
)
def test_what_is_not_the_tensor_expected_is_a_fault(frame: NDArray[Any], dtype: str, reason: str) -> None:
    with pytest.raises(FrameError) as error:
        raw(frame, dtype)
    assert error.value.reason == reason


@pytest.mark.parametrize("shape", [(1, 1_000_000, 3), (1_000_000, 1)])
def test_a_line_too_long_to_be_cropped_is_refused_before_it_takes_memory(shape: tuple[int, ...]) -> None:
    with pytest.raises(FrameError, match="too long to be cropped") as refused:
        tensor(np.zeros(shape, np.uint8), fit="crop", resize_shorter=256)
    assert refused.value.reason == "too_large"
