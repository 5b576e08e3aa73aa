from collections.abc import Callable, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from driftprint.errors import MessageError
from driftprint.messages import (
    CAMERA_FAULTS,
    BundleRef,
    ClassStats,
    DeviceMessage,
    DeviceStatus,
    WindowKind,
    WindowMessage,
    WindowStats,
)
from driftprint_server.caps import DEVICE_RESERVE, STRANGERS_BURST_SECONDS, CapSettings, RateLimiter, SeriesCaps
from driftprint_server.counts import Reason
from driftprint_server.fleet import Fleet
from driftprint_server.metrics import DeviceMetrics
from driftprint_server.series import SERIES_OF_DEVICE, SERIES_OF_STREAM, TURN_SECONDS
from tests.server.clocks import FakeClock
from tests.server.messages import NEW, alert, health, state, topic_of, window

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


@given(topic=st.text(st.sampled_from("a/+#"), max_size=12) | st.text(max_size=12))
def test_a_topic_that_is_none_of_ours_is_a_strangers(topic: str) -> None:
    rates = RateLimiter(SETTINGS, known=lambda _site, _device: False)
    assert admitted(rates, topic, 1000, 0.0) == 4 * STRANGERS_BURST_SECONDS + 1
    assert len(rates) == 0


@given(gaps=st.lists(st.floats(0, 30), min_size=1, max_size=300))
def test_no_device_gets_in_more_than_its_burst_and_its_rate(gaps: list[float]) -> None:
    rates, now, admitted_count = limiter(CapSettings(messages_per_second=0.5, message_burst=5)), 0.0, 0
    for gap in gaps:
        now += gap
        admitted_count += rates.admits(WINDOW, now)
        assert admitted_count <= 5 + 0.5 * now + 1e-6


def shown(fleet: Fleet, *, max_classes: int = 20) -> set[str]:
    """The series that are exposed."""
    metrics = DeviceMetrics(fleet, clock=FakeClock(1000), stale_after_seconds=60, max_classes=max_classes)
    lines = "".join(metrics.text()).splitlines()
    return {line.rpartition(" ")[0] for line in lines if not line.startswith("#")}


def with_classes(*names: str, frames: int = 9, **fields: Any) -> WindowMessage:
    classes = {name: ClassStats(frames=1, outlier_ratio=0.0) for name in names}
    stats = WindowStats(kind=WindowKind.COUNT, limit=9, frames=frames, outlier_ratio=0, classes=classes)
    return window(windows=(stats,), **fields)


def grown(count: int, **fields: Any) -> DeviceMessage:
    """A window with so many classes."""
    return with_classes(*(f"class-{number}" for number in range(count)), **fields)


class Capped:
    """A fleet whose series are capped, and every series that it has ever shown."""

    def __init__(self, per_device: int = 4000, overall: int = 1_000_000, *, max_classes: int = 20) -> None:
        settings = CapSettings(series_per_device=per_device, series=overall)
        self.max_classes = max_classes
        self.caps = SeriesCaps(settings, max_classes=max_classes)
        self.fleet = Fleet(max_devices=1000, forget_after_seconds=10**6, caps=self.caps)
        self.ever_shown: set[str] = set()

    def takes(self, message: DeviceMessage) -> bool:
        """Whether it was not refused for its series."""
        return self.refuses(message) is not Reason.TOO_MANY_SERIES

    def refuses(self, message: DeviceMessage) -> Reason | None:
        """For what reason; None where it is let in."""
        try:
            self.fleet.apply(message, 1000.0)
        except MessageError as error:
            return Reason(error.reason)
        self.ever_shown |= shown(self.fleet, max_classes=self.max_classes)
        return None

    def present(self) -> int:
        return sum(self.caps.series(device) for device in self.fleet.devices())


@pytest.mark.parametrize("max_classes", [0, 1, 20])
def test_the_series_of_a_device_are_those_that_are_exposed(max_classes: int) -> None:
    fleet = Fleet(max_devices=10, forget_after_seconds=1000)
    errors = {"belt": "x", "chute": "x", "never-reported": "x"}
    of_device = (health(bundle_errors=errors), state(streams=("belt", "chute")))
    for message in (*of_device, window(1), window(1, stream="chute"), alert(2)):
        fleet.apply(message, 1000.0)
    (device,) = fleet.devices()
    caps = SeriesCaps(CapSettings(), max_classes=max_classes, devices=fleet.devices())
    assert caps.total == caps.series(device) == len(shown(fleet, max_classes=max_classes))


def test_fewer_series_than_expected_are_no_matter() -> None:
    fleet = Fleet(max_devices=10, forget_after_seconds=1000)
    fleet.apply(window(1, windows=(), faults_total={}), 1000.0)
    caps = SeriesCaps(CapSettings(), max_classes=20, devices=fleet.devices())
    assert caps.total >= len(shown(fleet))


def test_a_device_that_would_have_too_many_series_is_refused_and_no_other_is() -> None:
    capped = Capped(per_device=50)
    assert capped.takes(grown(1, seq=1))
    assert not capped.takes(grown(1, seq=2, stream="chute"))
    assert capped.takes(grown(1, seq=1, device="pi-2"))
    assert capped.takes(grown(1, seq=3))


INVENTIONS: dict[str, Callable[[int], DeviceMessage]] = {
    "class": lambda number: with_classes(f"class-{number}", seq=number),
    "class of a late window": lambda number: with_classes(f"class-{number}", seq=1000 - number),
    "fault": lambda number: window(number, faults_total={f"fault-{number}": 1}),
    "quantile": lambda number: window(
        number,
        windows=(
            WindowStats(
                kind=WindowKind.COUNT, limit=9, frames=9, outlier_ratio=0, score_quantiles={f"0.{number:05}1": 1.0}
            ),
        ),
    ),
    "bundle": lambda number: window(number, bundle=BundleRef(name=f"bundle-{number}", version=1)),
    "version of a bundle": lambda number: window(number, bundle=BundleRef(name="digits", version=number)),
    "version of the agent": lambda number: state(agent_version=f"0.{number}"),
    "stream that has a bundle error": lambda number: health(bundle_errors={f"belt-{number}": "no"}),
    "stream": lambda number: window(number, stream=f"belt-{number}", instance=f"{number // 8:016x}"),
    "stream, by alerts": lambda number: alert(number, number=number, stream=f"belt-{number % 60}"),
}
"""What a device can make up, another in each message."""


@pytest.mark.parametrize("what", INVENTIONS)
def test_whatever_a_device_makes_up_the_series_that_it_can_make_in_an_hour_are_limited(what: str) -> None:
    capped = Capped(per_device=200)
    taken = [capped.takes(INVENTIONS[what](number)) for number in range(400)]
    assert taken[0]
    assert not taken[-1]
    assert capped.caps.total <= 200
    assert len(capped.ever_shown) <= 200
    assert capped.takes(window(device="pi-2"))


def test_what_came_too_late_to_be_shown_is_counted_for_it_is_written_to_databases() -> None:
    capped = Capped()
    capped.takes(with_classes("cat", seq=10))
    before = capped.caps.total
    for _ in range(3):
        capped.takes(with_classes("dog", "bird", seq=5))
    assert capped.caps.total == before + 2


def test_a_device_whose_state_is_cleared_again_and_again_makes_no_more_series_than_another() -> None:
    capped = Capped(per_device=200)
    for number in range(100):
        capped.takes(with_classes(f"class-{number}"))
        capped.fleet.forget("north", "pi-1")
    assert capped.caps.total <= 200
    assert len(capped.ever_shown) <= 200


def test_a_device_that_was_forgotten_has_made_what_it_had_made() -> None:
    capped = Capped(per_device=60)
    assert capped.takes(window())
    capped.caps.tick(TURN_SECONDS)
    capped.fleet.forget("north", "pi-1")
    assert not capped.takes(window())
    capped.caps.tick(2 * TURN_SECONDS)
    assert capped.takes(window())


def test_classes_that_come_and_go_are_counted_once() -> None:
    capped = Capped()
    pairs = [("cat", "dog"), ("dog", "bird"), ("bird", "cat"), ()]
    for number in range(1000):
        capped.takes(with_classes(*pairs[number % 4], seq=number, frames=9 * (number % 3 > 0)))
    names = {"cat", "dog", "bird"}
    assert capped.caps.total == SERIES_OF_DEVICE + SERIES_OF_STREAM + 1 + len(names) + 1  # and a bundle, a fault


def test_of_too_many_classes_those_that_are_shown_are_counted() -> None:
    capped = Capped(max_classes=1)
    base = SERIES_OF_DEVICE + SERIES_OF_STREAM + 2
    for number, (cats, dogs) in enumerate([(5, 4), (6, 4), (6, 7), (8, 7)]):
        of = {"cat": ClassStats(frames=cats, outlier_ratio=0), "dog": ClassStats(frames=dogs, outlier_ratio=0)}
        stats = WindowStats(kind=WindowKind.COUNT, limit=9, frames=9, outlier_ratio=0, classes=of)
        capped.takes(window(number, windows=(stats,)))
        assert capped.caps.total == base + (1 if number < 2 else 2)


def test_a_device_that_gets_another_bundle_and_is_installed_anew_makes_hardly_more_series() -> None:
    capped = Capped()
    everything = [state(), health(), grown(10, seq=1)]
    for message in everything:
        capped.takes(message)
    before = capped.caps.total
    capped.takes(grown(10, seq=2, bundle=BundleRef(name="digits", version=2)))
    for message in everything:
        capped.takes(message.model_copy(update={"instance": NEW}))
    assert capped.caps.total == before + 1


def test_nothing_is_remembered_of_devices_that_name_the_same_things_in_all_their_messages() -> None:
    capped = Capped()
    for number in range(100):
        for message in (state(), health(), window(number), alert(number)):
            capped.takes(message)
        capped.fleet.forget_silent(1000.0)
    assert len(capped.caps) == 0


def test_counting_begins_anew_every_hour() -> None:
    capped = Capped(per_device=100)
    flood = [with_classes(f"class-{number}", seq=number) for number in range(300)]
    capped.fleet.forget_silent(0.0)
    taken = [capped.takes(message) for message in flood]
    assert not taken[-1]
    capped.fleet.forget_silent(TURN_SECONDS - 1)
    assert not capped.takes(flood[-1])
    assert len(capped.caps) > 0
    capped.fleet.forget_silent(TURN_SECONDS)
    assert len(capped.caps) == 0
    assert capped.caps.total == capped.present() < 100
    assert capped.takes(flood[-1])


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


def test_an_alert_is_let_in_where_others_have_used_up_all_series_but_not_beyond_its_devices_own() -> None:
    capped = Capped(per_device=150, overall=50)
    while capped.takes(grown(1, device=f"evil-{capped.caps.total}")):
        pass
    assert not capped.takes(window(1))
    assert capped.takes(alert(1))
    assert not capped.takes(window(1))
    taken = [capped.takes(alert(number, number=number, stream=f"belt-{number}")) for number in range(60)]
    assert taken[0]
    assert not taken[-1]


def test_a_device_may_always_have_fewer_series() -> None:
    capped = Capped(per_device=1000)
    assert capped.takes(grown(20, seq=1, faults_total={f"fault-{number}": 1 for number in range(32)}))
    devices = capped.fleet.devices()
    caps = SeriesCaps(CapSettings(series_per_device=50), max_classes=20, devices=devices)
    capped.fleet = Fleet(devices, max_devices=10, forget_after_seconds=1000, caps=caps)
    reasons = {f"fault-{number}": 1 for number in range(20)}
    assert capped.takes(grown(10, seq=2, faults_total=reasons))
    assert capped.takes(grown(11, seq=3, faults_total=reasons))  # it had these before
    assert not capped.takes(with_classes("another", seq=4, faults_total=reasons))


def test_a_device_that_is_forgotten_makes_room_once_the_hour_is_over() -> None:
    capped = Capped()
    capped.fleet.forget_silent(0.0)
    capped.takes(window(1))
    made = capped.caps.total
    capped.fleet.forget("north", "pi-1")
    assert capped.caps.total == made
    capped.fleet.forget_silent(TURN_SECONDS)
    assert capped.caps.total == 0


def test_a_stream_that_is_forgotten_makes_room_once_the_hour_is_over() -> None:
    capped = Capped()
    capped.fleet = Fleet(max_devices=10, forget_after_seconds=5000, caps=capped.caps)
    capped.takes(window(1, stream="chute"))
    capped.fleet.apply(window(1), 6000.0)
    made = capped.caps.total
    capped.fleet.forget_silent(6001.0)
    assert len(capped.fleet.devices()[0].streams) == 1
    capped.fleet.forget_silent(TURN_SECONDS * 3)
    assert capped.caps.total == capped.present() < made


def test_there_are_caps_for_the_largest_honest_device() -> None:
    capped = Capped(per_device=CapSettings().series_per_device)
    for number in range(32):
        reasons = {f"reason-{fault}": 1 for fault in range(11)}
        assert capped.takes(grown(20, stream=f"camera-{number}", faults_total=reasons)), number
    assert len(CAMERA_FAULTS) < 10


LABELS = st.sampled_from("abcdef")
MESSAGES = st.one_of(
    st.builds(
        lambda seq, classes, frames, fault, version, stream, instance: with_classes(
            *classes,
            seq=seq,
            frames=frames,
            faults_total=dict.fromkeys(fault, 1),
            bundle=BundleRef(name="digits", version=version),
            stream=stream,
            instance=instance * 16,
        ),
        *(st.integers(0, 9), st.lists(LABELS, max_size=4), st.integers(0, 1), st.lists(LABELS, max_size=2)),
        *(st.integers(1, 3), LABELS, st.sampled_from("12")),
    ),
    st.builds(lambda errors: health(bundle_errors=dict.fromkeys(errors, "no")), st.lists(LABELS, max_size=3)),
    st.builds(lambda version: state(agent_version=version), LABELS),
    st.builds(lambda stream: alert(stream=stream), LABELS),
    st.just(state(DeviceStatus.OFFLINE)),
)


@given(messages=st.lists(MESSAGES, max_size=40), max_classes=st.integers(0, 3))
def test_no_more_series_are_ever_shown_than_were_counted(messages: list[DeviceMessage], max_classes: int) -> None:
    capped = Capped(max_classes=max_classes)
    for number, message in enumerate(messages):
        capped.takes(message)
        assert len(capped.ever_shown) <= capped.caps.total
        if number % 10 == 9:
            capped.caps.tick(TURN_SECONDS * number)
            assert capped.caps.total == capped.present()
            capped.ever_shown.clear()
