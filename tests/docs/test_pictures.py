"""The pictures of the page in the documentation show what the page shows."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from docs.images.make import HERE, take_views


def test_the_pictures_of_the_page_can_be_taken_and_are_of_the_same_size(tmp_path: Path) -> None:
    take_views(tmp_path, into=tmp_path)
    for name in ("device.png", "phone.png"):
        with Image.open(tmp_path / name) as taken, Image.open(HERE / name) as shown:
            assert taken.width == shown.width
            # Times are words of other lengths on other days, which may break lines elsewhere.
            assert abs(taken.height - shown.height) <= 100, "python -m docs.images.make takes them anew"
