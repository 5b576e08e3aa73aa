import pytest

from driftprint.clock import Instant
from driftprint_server.sinks import Accepted
from driftprint_server.times import (
    DOUBT_SECONDS,
    LONGEST_WAIT_SECONDS,
    SETTLE_SECONDS,
    STEP_SECONDS,
    WAIT_SECONDS,
    EventTimes,
    Settling,
)
from tests.server.messages import health, window
from tests.server.remote_write.writers import accept

NOW = 1_000_000.0


def milliseconds(times: EventTimes, accepted: Accepted, now: float) -> int:
    return round(1000 * times.at(accepted.message, accepted.at, now))


def test_a_message_that_comes_again_gets_the_same_time_from_every_replica_where_its_clock_is_right() -> None:
    message = window(recorded_at=NOW - 600.4)

    assert milliseconds(EventTimes(), accept(message, NOW - 600), NOW) == 999_399_600
    assert milliseconds(EventTimes(), accept(message, NOW - 599.2), NOW) == 999_399_600


def test_a_wrong_clock_is_not_believed_and_the_first_time_is_remembered() -> None:
    times = EventTimes()
    message = window(recorded_at=5.0)

    first = milliseconds(times, accept(message, NOW - 600), NOW)

    assert first == 999_400_000
    assert milliseconds(times, accept(message, NOW - 599.9), NOW + 60) == first
    assert milliseconds(times, accept(window(seq=2, recorded_at=5.0), NOW - 599), NOW) == 999_401_000


def test_what_has_waited_at_the_broker_while_we_were_away_is_believed() -> None:
    times = EventTimes()
    hour = [(seq, NOW - 3600 + 10 * seq) for seq in range(1, 360)]

    dated = [milliseconds(times, accept(window(seq, recorded_at=at), NOW), NOW) for seq, at in hour]
    assert dated == [int(at * 1000) for _, at in hour]

    seq, at = hour[0]  # which its device sent once more while it waited
    assert milliseconds(times, accept(window(seq, recorded_at=at, age_seconds=30.0), NOW - 30), NOW) == int(at * 1000)
    for seq, at in hour[:300]:  # and later its device sends it again
        again = window(seq, recorded_at=at, age_seconds=NOW + 5 - at)
        assert milliseconds(times, accept(again, at + 0.7), NOW + 5) == int(at * 1000)


def test_what_waited_for_less_than_a_minute_is_believed_however_long_its_device_had_kept_it() -> None:
    message = window(recorded_at=NOW - 600, age_seconds=550.0)

    assert milliseconds(EventTimes(), accept(message, NOW - 550), NOW) == 999_400_000
    assert milliseconds(EventTimes(), accept(message, NOW - 600 + WAIT_SECONDS + 1), NOW) > 999_400_000


def test_a_clock_that_stays_behind_is_soon_no_longer_believed() -> None:
    times, behind = EventTimes(), 7200.0
    for seq in range(100):
        now = NOW + 10 * seq
        dated = milliseconds(times, accept(window(seq, recorded_at=now - behind), now), now)
        assert dated == int((now - behind if now - NOW <= DOUBT_SECONDS else now) * 1000)

    now += 10
    assert milliseconds(times, accept(window(101, recorded_at=now), now), now) == int(now * 1000)  # it has been set
    waited = window(102, recorded_at=now + 10)
    assert milliseconds(times, accept(waited, now + 600), now + 600) == int((now + 10) * 1000)


def test_a_clock_that_was_wrong_while_its_device_was_offline_is_not_believed() -> None:
    message = window(recorded_at=NOW - 36_000, age_seconds=600.0)

    assert milliseconds(EventTimes(), accept(message, NOW - 600), NOW) == 999_400_000


def test_a_clock_that_is_a_day_behind_or_ahead_at_all_is_not_believed() -> None:
    for recorded_at in (NOW - 600 - LONGEST_WAIT_SECONDS - 1, NOW + 3, NOW - 600 + 3):
        message = window(recorded_at=recorded_at)
        assert milliseconds(EventTimes(), accept(message, NOW - 600), NOW) == 999_400_000


def test_the_first_time_stands_even_where_a_later_copy_is_better_dated() -> None:
    times = EventTimes()
    late = window(recorded_at=NOW - 600, age_seconds=300.0)
    first = milliseconds(times, accept(late, NOW - 300), NOW)

    assert first == 999_700_000
    assert milliseconds(times, accept(window(recorded_at=NOW - 600, age_seconds=630.0), NOW - 600), NOW + 30) == first


def test_what_is_remembered_is_bounded() -> None:
    times = EventTimes(most=10)
    first = milliseconds(times, accept(window(seq=0, recorded_at=0.0), NOW - 100), NOW)
    for seq in range(1, 11):
        milliseconds(times, accept(window(seq=seq, recorded_at=0.0), NOW), NOW)

    assert milliseconds(times, accept(window(seq=0, recorded_at=0.0), NOW - 99), NOW) == first + 1000


def test_a_device_that_many_others_have_crowded_out_is_doubted_anew() -> None:
    times = EventTimes(most=10)
    for number in range(20):
        milliseconds(times, accept(window(1, device=f"pi-{number}", recorded_at=NOW - 600), NOW), NOW)
    now = NOW + DOUBT_SECONDS + 1

    def believed(device: str) -> bool:
        return (
            milliseconds(times, accept(window(2, device=device, recorded_at=NOW), now + 100), now + 100) == NOW * 1000
        )

    assert not believed("pi-19")
    assert believed("pi-0")


def test_no_time_is_in_the_future_whatever_the_device_says() -> None:
    for message in (window(recorded_at=NOW + 1.5), window(seq=2, recorded_at=2_114_380_800.0), health()):
        assert milliseconds(EventTimes(), accept(message, NOW + 0.5), NOW) <= NOW * 1000


def test_what_would_have_been_in_the_future_keeps_its_time_when_it_comes_again() -> None:
    times, message = EventTimes(), window(recorded_at=NOW + 1.5)
    first = milliseconds(times, accept(message, NOW), NOW)

    assert milliseconds(times, accept(message, NOW + 0.3), NOW + 10) == first == NOW * 1000


def test_a_clock_of_ours_that_was_ahead_makes_no_device_believed_for_longer() -> None:
    times, ahead = EventTimes(), NOW + 20 * 365 * 86_400
    milliseconds(times, accept(window(1, recorded_at=ahead - 600), ahead), ahead)
    for seq, now in ((2, NOW), (3, NOW + DOUBT_SECONDS)):
        assert milliseconds(times, accept(window(seq, recorded_at=now - 600), now), now) == 1000 * (now - 600)
    now = NOW + DOUBT_SECONDS + 1
    assert milliseconds(times, accept(window(4, recorded_at=now - 600), now), now) == 1000 * now


def test_a_clock_is_settled_once_it_has_run_steadily_for_an_hour_from_the_start() -> None:
    settling = Settling(Instant(0.0, NOW))
    assert not settling.over(Instant(SETTLE_SECONDS - 1, NOW + SETTLE_SECONDS - 1))
    assert settling.over(Instant(SETTLE_SECONDS, NOW + SETTLE_SECONDS))


@pytest.mark.parametrize("step", [-2 * STEP_SECONDS, 2 * STEP_SECONDS, 20 * 365 * 86_400.0])
def test_a_step_of_the_clock_and_the_step_back_each_begin_the_hour_anew(step: float) -> None:
    settling = Settling(Instant(0.0, NOW))
    for at in range(0, 7200, 10):
        settling.over(Instant(at, NOW + at))
    steady = [settling.over(Instant(at, NOW + at + step)) for at in range(7200, 7200 + 7200, 10)]
    assert steady == [False] * 360 + [True] * 360
    assert not settling.over(Instant(14_400, NOW + 14_400))


def test_a_clock_that_is_slewed_is_settled() -> None:
    settling = Settling(Instant(0.0, NOW))
    found = [settling.over(Instant(at, NOW + 1.1 * at)) for at in range(0, 7200, 10)]
    assert found == [False] * 360 + [True] * 360


def test_no_time_is_before_1970() -> None:
    assert milliseconds(EventTimes(), accept(health(), -5.0), NOW) == 0
