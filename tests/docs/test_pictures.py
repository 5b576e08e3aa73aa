"""The documentation's pictures of the page can be taken, and the page does not complain meanwhile."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image, ImageChops

from docs.images.make import HERE, take_views


@pytest.fixture(scope="module")
def taken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pictures")
    take_views(folder, into=folder)
    return folder


@pytest.mark.parametrize("name", ["device.png", "phone.png"])
def test_a_picture_of_the_page_is_as_wide_as_the_one_that_is_shown_and_not_empty(taken: Path, name: str) -> None:
    with Image.open(taken / name) as picture, Image.open(HERE / name) as shown:
        assert picture.width == shown.width
        colours = picture.convert("RGB")
        assert ImageChops.difference(colours, Image.new("RGB", colours.size, colours.getpixel((0, 0)))).getbbox()
