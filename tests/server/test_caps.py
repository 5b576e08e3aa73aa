from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from driftprint.errors import MessageError
from driftprint.messages import CAMERA_FAULTS, ClassStats, DeviceMessage, WindowKind, WindowStats
from driftprint_server.caps import DEVICE_RESERVE, STRANGERS_BURST_SECONDS, CapSettings, RateLimiter, SeriesCaps
from driftprint_server.counts import Reason
from driftprint_server.fleet import Fleet
from driftprint_server.metrics import DeviceMetrics
from tests.server.clocks import FakeClock
from tests.server.messages import alert, health, state, topic_of, window

WINDOW = topic_of(window())
HEALTH = topic_of(health())
OTHER = topic_of(window(device="pi-2"))
SETTINGS = CapSettings(messages_per_second=8, message_burst=100, strangers_per_second=4)
"""Their inverses are exact in binary."""


def limiter(settings: CapSettings = SETTINGS, *, strangers: Sequence[str] = ()) -> RateLimiter:
    return RateLimiter(settings, known=lambda site, _device: site not in strangers)


def admitted(limiter: RateLimiter, topic: str, count: int, now: float) -> int:
    return sum(limiter.admits(topic, now) for _ in range(count))


def test_a_burst_is_let_in_and_then_a_steady_rate() -> None:
    rates = limiter()
    assert admitted(rates, WINDOW, 200, 0.0) == 100
    assert admitted(rates, WINDOW, 200, 1.0) == 8
    assert admitted(rates, WINDOW, 200, 1.5) == 4


def test_a_pause_earns_a_burst_and_no_more() -> None:
    rates = limiter()
    admitted(rates, WINDOW, 200, 0.0)
    assert admitted(rates, WINDOW, 200, 1000.0) == 100


def test_a_flood_takes_nothing_from_another_device() -> None:
    rates = limiter()
    admitted(rates, WINDOW, 10_000, 0.0)
    assert admitted(rates, OTHER, 100, 0.0) == 100


def test_refused_messages_cost_their_device_nothing() -> None:
    rates = limiter()
    for tick in range(100):
        admitted(rates, WINDOW, 1000, tick / 100)
    assert admitted(rates, WINDOW, 1000, 2.0) >= 8


def test_what_a_device_says_of_itself_is_heard_beside_a_flood_of_its_streams() -> None:
    rates = limiter()
    admitted(rates, WINDOW, 1000, 0.0)
    assert admitted(rates, HEALTH, 1000, 0.0) == DEVICE_RESERVE
    assert admitted(rates, WINDOW, 1000, 1.0) == 0


def test_devices_that_are_not_known_share_one_rate() -> None:
    rates = limiter(strangers=["evil"])
    strangers = [topic_of(window(site="evil", device=f"x{number}")) for number in range(1000)]
    assert sum(rates.admits(topic, 0.0) for topic in strangers) == 4 * STRANGERS_BURST_SECONDS + 1
    assert sum(rates.admits(topic, 1.0) for topic in strangers) == 4
    assert admitted(rates, WINDOW, 200, 1.0) == 100


def test_a_million_made_up_devices_leave_nothing_behind() -> None:
    rates = limiter(strangers=["evil"])
    for number in range(1_000_000):
        rates.admits(f"driftprint/v1/evil/{number}/belt/window", number * 1e-5)
    assert len(rates) == 0


def test_only_devices_that_spoke_lately_are_remembered() -> None:
    rates = limiter()
    for number in range(100_000):
        assert rates.admits(f"driftprint/v1/north/{number}/belt/window", number * 0.001)
    assert len(rates) < 3000


@given(gaps=st.lists(st.floats(0, 30), min_size=1, max_size=300))
def test_no_device_gets_in_more_than_its_burst_and_its_rate(gaps: list[float]) -> None:
    rates, now, admitted_count = limiter(CapSettings(messages_per_second=0.5, message_burst=5)), 0.0, 0
    for gap in gaps:
        now += gap
        admitted_count += rates.admits(WINDOW, now)
        assert admitted_count <= 5 + 0.5 * now + 1e-6


def series(fleet: Fleet, *, max_classes: int = 20) -> int:
    """As many as are exposed."""
    metrics = DeviceMetrics(fleet, clock=FakeClock(1000), stale_after_seconds=60, max_classes=max_classes)
    lines = "".join(metrics.text()).splitlines()
    return sum(not line.startswith("#") for line in lines)


def grown(count: int, **fields: Any) -> DeviceMessage:
    """A window with so many classes."""
    classes = {f"class-{number}": ClassStats(frames=1, outlier_ratio=0.0) for number in range(count)}
    stats = WindowStats(kind=WindowKind.COUNT, limit=9, frames=9, outlier_ratio=0, classes=classes)
    return window(windows=(stats,), **fields)


@pytest.mark.parametrize("max_classes", [0, 1, 20])
def test_the_series_of_a_device_are_those_that_are_exposed(max_classes: int) -> None:
    fleet = Fleet(max_devices=10, forget_after_seconds=1000)
    everything = (health(bundle_errors={"belt": "x", "chute": "x"}), state(streams=("belt", "chute")))
    for message in (*everything, window(1), window(1, stream="chute"), alert(2)):
        fleet.apply(message, 1000.0)
    (device,) = fleet.devices()
    caps = SeriesCaps(CapSettings(), max_classes=max_classes, devices=fleet.devices())
    assert caps.total == caps.series(device) == series(fleet, max_classes=max_classes)


def test_fewer_series_than_expected_are_no_matter() -> None:
    fleet = Fleet(max_devices=10, forget_after_seconds=1000)
    fleet.apply(window(1, windows=(), faults_total={}), 1000.0)
    caps = SeriesCaps(CapSettings(), max_classes=20, devices=fleet.devices())
    assert caps.total >= series(fleet)


class Capped:
    """A fleet of which every change is held against the caps."""

    def __init__(self, per_device: int, overall: int = 1_000_000) -> None:
        self.fleet = Fleet(max_devices=1000, forget_after_seconds=1000)
        settings = CapSettings(series_per_device=per_device, series=overall)
        self.caps = SeriesCaps(settings, max_classes=20)

    def takes(self, message: DeviceMessage) -> bool:
        """Whether it was not refused."""
        before = {(known.site, known.name): known for known in self.fleet.devices()}
        trial = Fleet(before.values(), max_devices=1000, forget_after_seconds=1000)
        trial.apply(message, 1000.0)
        key = (message.site, message.device)
        after = next(known for known in trial.devices() if (known.site, known.name) == key)
        try:
            self.caps.add(self.caps.check(before.get(key), after))
        except MessageError as error:
            return Reason(error.reason) is not Reason.TOO_MANY_SERIES
        self.fleet = trial
        return True


def test_a_device_that_would_have_too_many_series_is_refused_and_no_other_is() -> None:
    capped = Capped(per_device=50)
    assert capped.takes(grown(1, seq=1))
    assert not capped.takes(grown(1, seq=2, stream="chute"))
    assert capped.takes(grown(1, seq=1, device="pi-2"))
    assert capped.takes(grown(1, seq=3))


def test_all_devices_together_have_a_limited_number_of_series() -> None:
    capped = Capped(per_device=1000, overall=200)
    taken = [capped.takes(grown(5, device=f"pi-{number}")) for number in range(20)]
    assert 0 < sum(taken) < 20
    assert taken == sorted(taken, reverse=True)
    assert capped.caps.total <= 200
    assert capped.takes(grown(5, seq=2, device="pi-0"))  # those that are there go on
    assert not capped.takes(
        grown(20, seq=3, device="pi-0", faults_total={f"fault-{number}": 1 for number in range(32)})
    )


def test_a_device_may_always_have_fewer_series() -> None:
    capped = Capped(per_device=1000)
    assert capped.takes(grown(20, seq=1, faults_total={f"fault-{number}": 1 for number in range(32)}))
    capped.caps = SeriesCaps(CapSettings(series_per_device=50), max_classes=20, devices=capped.fleet.devices())
    reasons = {f"fault-{number}": 1 for number in range(20)}
    assert capped.takes(grown(10, seq=2, faults_total=reasons))
    assert not capped.takes(grown(11, seq=3, faults_total=reasons))


def test_a_device_that_is_forgotten_makes_room() -> None:
    capped = Capped(per_device=1000)
    capped.takes(window(1))
    (device,) = capped.fleet.devices()
    capped.caps.add(capped.caps.more(device, None))
    assert capped.caps.total == 0


def test_there_are_caps_for_the_largest_honest_device() -> None:
    capped = Capped(per_device=CapSettings().series_per_device)
    for number in range(32):
        reasons = {f"reason-{fault}": 1 for fault in range(11)}
        assert capped.takes(grown(20, stream=f"camera-{number}", faults_total=reasons)), number
    assert len(CAMERA_FAULTS) < 10
