import pytest

from driftprint.messages import DeviceMessage
from driftprint_server.records import kept
from driftprint_server.sinks import Accepted
from driftprint_server.sparklines import POINTS, Sparklines
from tests.server.messages import NEW, alert, window


def accepted(*messages: DeviceMessage) -> list[Accepted]:
    return [Accepted(kept(message), at=0.0) for message in messages]


def test_the_latest_ratios_are_kept_in_order() -> None:
    lines = Sparklines(most_streams=10)
    lines.write(accepted(*(window(seq, ratio=seq / 100) for seq in range(1, POINTS + 11))))
    latest = lines.latest("north", "pi-1", "belt")
    assert latest == pytest.approx([seq / 100 for seq in range(11, POINTS + 11)], abs=1e-3)


def test_a_window_that_comes_again_or_late_changes_nothing() -> None:
    lines = Sparklines(most_streams=10)
    batch = accepted(window(1, ratio=0.1), window(2, ratio=0.2))
    for _ in range(3):
        lines.write(batch)
    lines.write(accepted(window(1, ratio=0.9), alert(3)))
    assert lines.latest("north", "pi-1", "belt") == pytest.approx([0.1, 0.2], abs=1e-3)


def test_a_device_that_was_reset_goes_on_with_its_line() -> None:
    lines = Sparklines(most_streams=10)
    lines.write(accepted(window(7, ratio=0.1), window(1, ratio=0.2, instance=NEW)))
    assert lines.latest("north", "pi-1", "belt") == pytest.approx([0.1, 0.2], abs=1e-3)


def test_windows_without_frames_draw_nothing_and_strangers_have_no_line() -> None:
    lines = Sparklines(most_streams=10)
    lines.write(accepted(window(1, windows=())))
    assert lines.latest("north", "pi-1", "belt") == ()
    assert lines.latest("north", "nobody", "belt") == ()


def test_where_there_are_too_many_streams_the_one_heard_of_first_gives_its_place() -> None:
    lines = Sparklines(most_streams=3)
    for seq, device in enumerate(("a", "b", "c", "b", "d"), start=1):
        lines.write(accepted(window(seq, device=device, ratio=seq / 10)))
    drawn = {device: lines.latest("north", device, "belt") for device in "abcd"}
    assert drawn["a"] == ()
    assert drawn["b"] == pytest.approx([0.2, 0.4], abs=1e-3)
    assert drawn["d"] == pytest.approx([0.5], abs=1e-3)


def test_many_streams_have_a_line_each() -> None:
    lines = Sparklines(most_streams=2000)
    lines.write(accepted(*(window(1, device=f"pi-{number}", ratio=number / 1000) for number in range(1000))))
    assert lines.latest("north", "pi-999", "belt") == pytest.approx([0.999], abs=1e-3)
    assert lines.latest("north", "pi-1", "belt") == pytest.approx([0.001], abs=1e-3)
