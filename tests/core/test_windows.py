from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from driftprint.messages import WindowKind, WindowStats
from driftprint.stats.windows import QUANTILES, SlidingWindow


@dataclass(frozen=True)
class Seen:
    at: float
    score: float
    outlier: bool
    predicted: str | None


@st.composite
def streams(draw: st.DrawFn) -> list[Seen]:
    """Frames in the order of time, several at one moment among them."""
    gaps = draw(st.lists(st.sampled_from([0.0, 0.25, 1.0, 7.0]), max_size=60))
    return [
        Seen(
            at=float(sum(gaps[: i + 1])),
            score=draw(st.floats(-1e3, 1e3)),
            outlier=draw(st.booleans()),
            predicted=draw(st.sampled_from([None, "cat", "dog"])),
        )
        for i in range(len(gaps))
    ]


def fill(window: SlidingWindow, stream: list[Seen]) -> SlidingWindow:
    for seen in stream:
        window.add(at=seen.at, score=seen.score, outlier=seen.outlier, predicted=seen.predicted)
    return window


def assert_holds(stats: WindowStats, expected: list[Seen]) -> None:
    """The statistics are those of `expected`, computed the plain way."""
    assert stats.frames == len(expected)
    assert stats.outlier_ratio == (sum(seen.outlier for seen in expected) / len(expected) if expected else 0.0)
    scores = [seen.score for seen in expected]
    assert stats.score_quantiles == ({str(q): pytest.approx(np.quantile(scores, q)) for q in QUANTILES if scores})
    classes = {seen.predicted for seen in expected} - {None}
    assert set(stats.classes) == classes
    for name in classes:
        of_class = [seen.outlier for seen in expected if seen.predicted == name]
        assert stats.classes[str(name)].frames == len(of_class)
        assert stats.classes[str(name)].outlier_ratio == sum(of_class) / len(of_class)


@given(stream=streams(), limit=st.integers(1, 20))
def test_by_count_holds_the_latest_frames(stream: list[Seen], limit: int) -> None:
    window = fill(SlidingWindow(WindowKind.COUNT, limit), stream)

    assert_holds(window.stats(), stream[-limit:])
    assert len(window) == len(stream[-limit:])


@given(stream=streams().filter(bool), seconds=st.sampled_from([0.25, 1.0, 5.0, 30.0]))
def test_by_time_holds_the_frames_of_the_last_seconds(stream: list[Seen], seconds: float) -> None:
    window = fill(SlidingWindow(WindowKind.TIME, seconds), stream)

    now = stream[-1].at
    assert_holds(window.stats(), [seen for seen in stream if seen.at > now - seconds])


@given(stream=streams().filter(bool), seconds=st.sampled_from([1.0, 5.0]), later=st.floats(0.0, 10.0))
def test_frames_expire_without_new_ones(stream: list[Seen], seconds: float, later: float) -> None:
    window = fill(SlidingWindow(WindowKind.TIME, seconds), stream)
    now = stream[-1].at + later

    window.expire(now)

    assert_holds(window.stats(), [seen for seen in stream if seen.at > now - seconds])


@given(stream=streams())
def test_by_count_nothing_expires(stream: list[Seen]) -> None:
    window = fill(SlidingWindow(WindowKind.COUNT, 100), stream)

    window.expire(1e9)

    assert_holds(window.stats(), stream)


def test_an_empty_window_has_no_quantiles() -> None:
    stats = SlidingWindow(WindowKind.TIME, 10.0).stats()

    assert (stats.frames, stats.outlier_ratio, stats.score_quantiles, stats.classes) == (0, 0.0, {}, {})
    assert (stats.kind, stats.limit) == (WindowKind.TIME, 10.0)


def test_by_time_a_fast_stream_takes_bounded_memory() -> None:
    window = SlidingWindow(WindowKind.TIME, 60.0)
    for i in range(100_500):
        window.add(at=i * 1e-6, score=0.0, outlier=i < 500, predicted=None)

    assert len(window) == 100_000
    assert window.outlier_ratio == 0.0  # the oldest are the ones let go
