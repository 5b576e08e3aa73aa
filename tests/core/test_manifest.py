import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from driftprint.bundle import MANIFEST
from driftprint.manifest import Colour, Fit, ImageInput, Layout, Manifest, TensorInput


def image(**choices: Any) -> ImageInput:
    return ImageInput.model_validate({"name": "input", "height": 8, "width": 8, **choices})


@pytest.fixture
def raw(intact_toy: Path) -> dict[str, Any]:
    manifest: dict[str, Any] = json.loads((intact_toy / MANIFEST).read_bytes())
    return manifest


def test_survives_its_own_json(raw: dict[str, Any]) -> None:
    manifest = Manifest.model_validate(raw)

    assert Manifest.model_validate_json(manifest.model_dump_json()) == manifest


def test_kinds_of_input_are_told_apart(raw: dict[str, Any]) -> None:
    assert isinstance(Manifest.model_validate(raw).input, ImageInput)
    raw["input"] = {"kind": "tensor", "name": "input", "shape": [4, 3]}
    assert isinstance(Manifest.model_validate(raw).input, TensorInput)


def test_id_is_name_and_version(raw: dict[str, Any]) -> None:
    assert Manifest.model_validate(raw | {"name": "belt-2", "version": 7}).id == "belt-2-7"


@pytest.mark.parametrize("name", ["a", "digits", "Belt_2.v3", "a" * 64, "a-b"])
def test_names_that_are_file_names_everywhere(raw: dict[str, Any], name: str) -> None:
    assert Manifest.model_validate(raw | {"name": name}).name == name


@pytest.mark.parametrize("name", ["", "-a", "a-", "a b", "a/b", "é", "a\n", "a" * 65])
def test_other_names_are_refused(raw: dict[str, Any], name: str) -> None:
    with pytest.raises(ValidationError, match="name"):
        Manifest.model_validate(raw | {"name": name})


def test_a_class_without_label_is_called_by_its_number(raw: dict[str, Any]) -> None:
    manifest = Manifest.model_validate(raw | {"labels": ["cat", "dog"]})

    assert [manifest.label(i) for i in range(3)] == ["cat", "dog", "2"]


@pytest.mark.parametrize(("colour", "channels"), [(Colour.GREY, 1), (Colour.RGB, 3), (Colour.BGR, 3)])
def test_mean_and_std_have_one_number_or_one_a_channel(colour: Colour, channels: int) -> None:
    assert image(colour=colour).channels == channels
    for field in ("mean", "std"):
        assert image(colour=colour, **{field: [0.5]})
        assert image(colour=colour, **{field: [0.5] * channels})
        with pytest.raises(ValidationError, match=f"{field} must have 1 or {channels} numbers"):
            image(colour=colour, **{field: [0.5, 0.5]})


def test_a_tensor_without_channel_axis_is_grey() -> None:
    assert image(colour="grey", layout="NHW").layout is Layout.NHW
    with pytest.raises(ValidationError, match="grey images"):
        image(colour="rgb", layout="NHW")


def test_a_crop_is_no_larger_than_what_it_is_cut_from() -> None:
    assert image(fit="crop", resize_shorter=8).fit is Fit.CROP
    with pytest.raises(ValidationError, match="resize_shorter"):
        image(fit="crop", resize_shorter=7)


@pytest.mark.parametrize("std", [[0.0], [-1.0], [float("nan")], [float("inf")]])
def test_a_std_that_cannot_be_divided_by_is_refused(std: list[float]) -> None:
    with pytest.raises(ValidationError, match="std"):
        image(std=std)
