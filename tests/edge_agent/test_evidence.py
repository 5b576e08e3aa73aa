"""Which frames are kept as evidence, and that they never fill the disk or stop the watch."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from driftprint.messages import MOST_THUMBNAIL_BYTES, BundleRef
from driftprint.scorer import Scored
from driftprint_edge.evidence import Evidence, EvidenceFolder, FrameRecord, encode, shrink

ALERT = "0" * 32
FRAME = np.full((12, 16, 3), (250, 20, 30), np.uint8)


def scored(score: float) -> Scored:
    return Scored(score=score, p_value=0.01, layers=np.array([0.0, 3.0], np.float32), predicted="7", outputs={})


def evidence(path: Path, *, frames: int = 3, max_bytes: int = 10**9) -> Evidence:
    bundle = BundleRef(name="toy", version=1)
    return Evidence("belt", bundle=bundle, layers=("a", "b"), folder=EvidenceFolder(path, max_bytes), frames=frames)


def add(kept: Evidence, *scores: float, start: int = 1) -> None:
    for i, score in enumerate(scores, start):
        kept.add(i, f"frame {i}", FRAME, scored(score), wall=1000.0 + i)


def numbers(path: Path, suffix: str) -> list[int]:
    return sorted(int(file.stem) for file in path.rglob(f"*{suffix}"))


def test_nothing_is_written_before_an_alert(tmp_path: Path) -> None:
    kept = evidence(tmp_path)
    add(kept, 5, 6, 7, 8)
    assert list(tmp_path.iterdir()) == []
    kept.raised(ALERT)
    assert numbers(tmp_path, ".jpg") == numbers(tmp_path, ".json") == [2, 3, 4]


def test_more_outlying_frames_take_the_place_of_less_outlying_ones(tmp_path: Path) -> None:
    kept = evidence(tmp_path)
    add(kept, 5, 6)
    kept.raised(ALERT)
    add(kept, 1, 9, 2, 8, start=3)
    assert numbers(tmp_path, ".jpg") == numbers(tmp_path, ".json") == [2, 4, 6]


def test_a_record_says_what_was_known_of_the_frame(tmp_path: Path) -> None:
    kept = evidence(tmp_path)
    add(kept, 5)
    kept.raised(ALERT)
    [file] = tmp_path.rglob("*.json")
    assert file.relative_to(tmp_path) == Path("belt") / ALERT / "000000001.json"
    record = FrameRecord.model_validate_json(file.read_text())
    assert (record.frame, record.recorded_at, record.score, record.p_value) == ("frame 1", 1001.0, 5, 0.01)
    assert record.layers == pytest.approx({"a": 1.0, "b": np.exp(-3)})
    assert (record.predicted, record.bundle.name, record.alert_id) == ("7", "toy", ALERT)
    assert np.abs(np.asarray(Image.open(file.with_suffix(".jpg")), int) - FRAME).max() < 12


def test_the_next_alert_begins_with_nothing(tmp_path: Path) -> None:
    kept = evidence(tmp_path)
    add(kept, 5)
    kept.raised(ALERT)
    kept.forget()
    add(kept, 1, start=2)
    assert numbers(tmp_path, ".jpg") == [1]
    kept.raised("1" * 32)
    assert numbers(tmp_path / "belt" / ("1" * 32), ".jpg") == [2]


def test_the_oldest_go_first_when_the_folder_is_full(tmp_path: Path) -> None:
    kept = evidence(tmp_path, frames=1, max_bytes=5000)
    for i in range(20):
        add(kept, 5, start=i)
        kept.raised(f"{i:032d}")
        kept.forget()
        assert sum(file.stat().st_size for file in tmp_path.rglob("*") if file.is_file()) <= 5000
    left = numbers(tmp_path, ".jpg")
    assert left == list(range(left[0], 20))
    assert len(list((tmp_path / "belt").iterdir())) <= len(left) + 1


def test_none_are_kept_where_none_are_wanted(tmp_path: Path) -> None:
    kept = evidence(tmp_path, frames=0)
    add(kept, 5)
    kept.raised(ALERT)
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_refuses_is_counted(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    kept = evidence(tmp_path / "file")
    add(kept, 5)
    kept.raised(ALERT)
    add(kept, 6, start=2)
    assert kept.errors_total == 2


def test_a_tensor_that_is_no_picture_is_kept_as_it_is(tmp_path: Path) -> None:
    suffix, content = encode(np.arange(6, dtype=np.float32))
    (tmp_path / f"x{suffix}").write_bytes(content)
    assert np.array_equal(np.load(tmp_path / "x.npy"), np.arange(6))


@pytest.mark.parametrize("pixels", [32, 320])
def test_a_thumbnail_is_as_large_as_asked_and_fits_into_a_message(pixels: int) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (480, 640, 3), dtype=np.uint8)
    small = shrink(encode(noise)[1], pixels)
    assert small is not None
    assert len(small) <= MOST_THUMBNAIL_BYTES
    with Image.open(io.BytesIO(small)) as picture:
        assert max(picture.size) == pixels
