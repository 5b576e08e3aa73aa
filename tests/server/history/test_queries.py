from typing import Any

import pytest

from driftprint.messages import Cause, ClassStats, WindowKind, WindowStats
from driftprint_server.history.history import History
from driftprint_server.history.queries import Queries
from driftprint_server.history.views import Point, Series
from driftprint_server.records import WindowRecord
from driftprint_server.sinks import Accepted
from tests.server.history.messages import of_classes, window
from tests.server.messages import NEW

NOW = 1_000_000.0


def series(queries: Queries, *, start: float = NOW, end: float, points: int, stream: str = "belt") -> Series:
    return queries.series(site="north", device="pi-1", stream=stream, start=start, end=end, points=points)


def write(history: History, *windows: tuple[float, WindowRecord]) -> None:
    history.write([Accepted(message, NOW + moment) for moment, message in windows])


def test_few_windows_come_as_they_are(history: History, queries: Queries) -> None:
    message = window(7, ratio=0.25, evidence=0.5, frames_per_second=8.0)
    write(history, (5.0, message))
    (point,) = series(queries, end=NOW + 60, points=60).points
    assert point == Point(
        at=NOW + 5,
        outlier_ratio=0.25,
        evidence=0.5,
        alarm=False,
        class_mix_alarm=False,
        camera_faults=(),
        frames_per_second=8.0,
        frames_total=700,
        outliers_total=28,
        classes={"cat": 0.25, "dog": 0.0},
    )


def test_many_windows_become_few_points_that_hide_no_alarm(history: History, queries: Queries) -> None:
    one_alarm: dict[int, dict[str, Any]] = {500: {"alarm": True, "evidence": 3.0}, 700: {"class_mix_alarm": True}}
    faults = {501: (Cause.FROZEN,), 502: (Cause.BLURRED, Cause.BLACK)}
    for i in range(1000):
        message = window(i, ratio=(i % 2) / 10, **{"camera_faults": faults.get(i, ()), **one_alarm.get(i, {})})
        write(history, (float(i), message))
    found = series(queries, end=NOW + 1000, points=11)
    assert found.bucket_seconds == 100
    assert len(found.points) == 10
    assert [point.outlier_ratio for point in found.points] == pytest.approx([0.05] * 10)
    assert [point.at for point in found.points] == [NOW + 99 + 100 * i for i in range(10)]
    assert [point.frames_total for point in found.points] == [100 * (99 + 100 * i) for i in range(10)]
    assert [i for i, point in enumerate(found.points) if point.alarm] == [5]
    assert [i for i, point in enumerate(found.points) if point.class_mix_alarm] == [7]
    assert found.points[5].evidence == 3.0
    assert found.points[5].camera_faults == (Cause.FROZEN, Cause.BLACK, Cause.BLURRED)


@pytest.mark.parametrize("points", [2, 3, 7, 100, 1000])
@pytest.mark.parametrize("shift", [0.0, 0.3, 3.7])
def test_there_are_never_more_points_than_were_asked_for(
    history: History, queries: Queries, points: int, shift: float
) -> None:
    write(history, *((i / 2, window(i)) for i in range(200)))
    found = series(queries, start=NOW + shift, end=NOW + shift + 90, points=points).points
    assert points / 2 <= len(found) <= points or len(found) == 180
    assert sorted(point.at for point in found) == [point.at for point in found]


def test_a_gap_stays_a_gap(history: History, queries: Queries) -> None:
    write(history, *((float(i), window(i)) for i in (*range(20), *range(80, 100))))
    times = [point.at - NOW for point in series(queries, end=NOW + 100, points=51).points]
    assert [time for time in times if 20 < time < 80] == []
    assert len(times) == 20


def test_points_stay_where_they_are_when_the_chart_moves_on(history: History, queries: Queries) -> None:
    write(history, *((float(i), window(i, ratio=i / 1000)) for i in range(300)))
    before = series(queries, start=NOW, end=NOW + 200, points=21).points
    after = series(queries, start=NOW + 10, end=NOW + 210, points=21).points
    assert before[1:] == after[:-1]


def test_start_is_within_and_end_is_not(history: History, queries: Queries) -> None:
    write(history, *((float(i), window(i)) for i in range(5)))
    times = [point.at - NOW for point in series(queries, start=NOW + 1, end=NOW + 3, points=1000).points]
    assert times == [1.0, 2.0]


def test_a_window_without_frames_has_no_ratio(history: History, queries: Queries) -> None:
    empty = WindowStats(kind=WindowKind.COUNT, limit=100, frames=0, outlier_ratio=0.0)
    write(history, (1.0, window(1, windows=(empty,))), (2.0, window(2, windows=())))
    assert [point.outlier_ratio for point in series(queries, end=NOW + 10, points=100).points] == [None, None]
    write(history, (3.0, window(3, ratio=0.5)))
    assert [point.outlier_ratio for point in series(queries, end=NOW + 10, points=2).points] == [0.5]


def test_of_two_windows_of_one_moment_the_later_one_holds(history: History, queries: Queries) -> None:
    write(history, (1.0, window(2)), (1.0, window(1)))
    assert [point.frames_total for point in series(queries, end=NOW + 10, points=2).points] == [200]


def test_a_new_instance_goes_on_in_the_same_chart(history: History, queries: Queries) -> None:
    write(history, (1.0, window(50)), (2.0, window(1, instance=NEW)))
    assert [point.frames_total for point in series(queries, end=NOW + 3, points=1000).points] == [5000, 100]


def test_other_streams_have_charts_of_their_own(history: History, queries: Queries) -> None:
    write(history, (1.0, window(1)), (1.0, window(2, stream="chute")), (1.0, window(1, device="pi-2")))
    assert len(series(queries, end=NOW + 10, points=100).points) == 1
    assert series(queries, end=NOW + 10, points=100, stream="unknown").points == ()


def test_labels_are_kept_as_they_were_sent(history: History, queries: Queries) -> None:
    odd = {
        'a "quoted" label': ClassStats(frames=2, outlier_ratio=0.5),
        "\u732b\0": ClassStats(frames=1, outlier_ratio=0),
    }
    write(history, (1.0, window(1, windows=of_classes(odd))))
    (point,) = series(queries, end=NOW + 10, points=2).points
    assert point.classes == {'a "quoted" label': 0.5, "\u732b\0": 0.0}
