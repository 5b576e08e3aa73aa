import tracemalloc
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from driftprint.errors import MessageError
from driftprint.messages import BundleRef, ClassStats, DeviceMessage, DeviceStatus, WindowKind, WindowStats, encode
from driftprint_server.caps import CapSettings
from driftprint_server.counts import Reason
from driftprint_server.device import MOST_STREAMS
from driftprint_server.enrolment.settings import EnrolmentSettings, Mode
from driftprint_server.records import kept, read_health, read_window
from driftprint_server.remote_write.admission import Admission
from driftprint_server.remote_write.samples import Sampler
from driftprint_server.series import SERIES_OF_DEVICE, TURN_SECONDS
from tests.server.clocks import FakeClock
from tests.server.messages import alert, health, state, window
from tests.server.remote_write.writers import accept

MAX_CLASSES = 20


class Door:
    """An admission, and the clock that it looks at."""

    def __init__(
        self,
        *,
        enrolment: EnrolmentSettings | None = None,
        max_devices: int = 1000,
        max_classes: int = MAX_CLASSES,
        **caps: Any,
    ) -> None:
        self.clock = FakeClock()
        self.admission = Admission(
            enrolment or EnrolmentSettings(),
            CapSettings(**caps),
            max_devices=max_devices,
            max_classes=max_classes,
            clock=self.clock,
        )

    def refuses(self, message: DeviceMessage) -> Reason | None:
        """For what reason; None where it is let in."""
        try:
            self.admission.check(kept(message))
        except MessageError as error:
            return Reason(error.reason)
        return None

    def admits(self, message: DeviceMessage) -> bool:
        return self.refuses(message) is None


def written(messages: Sequence[DeviceMessage], *, max_classes: int = MAX_CLASSES) -> int:
    """How many series are made of messages."""
    sampler = Sampler(max_classes)
    return len(
        {
            (spec.name, labels)
            for message in messages
            for spec, labels, _, _ in sampler.samples(accept(message, 1000.0), 1_000_000, 1000.0)
        }
    )


def with_classes(*names: str, **fields: Any) -> DeviceMessage:
    classes = {name: ClassStats(frames=1, outlier_ratio=0.0) for name in names}
    stats = WindowStats(kind=WindowKind.COUNT, limit=9, frames=9, outlier_ratio=0, classes=classes)
    return window(windows=(stats,), **fields)


def inventions(count: int, **fields: Any) -> list[DeviceMessage]:
    """Windows, each with a class that none before it had."""
    return [with_classes(f"class-{number}", seq=number, **fields) for number in range(count)]


SOME = (
    state(),
    health(),
    window(1),
    window(2, ratio=0.5),
    window(3, stream="chute", bundle=BundleRef(name="parts", version=2)),
    alert(4),
    state(DeviceStatus.OFFLINE),
    window(1, device="pi-2"),
)


@pytest.mark.parametrize("max_classes", [0, 1, 20])
def test_all_series_that_are_written_are_counted_and_hardly_more(max_classes: int) -> None:
    door = Door(max_classes=max_classes)
    for message in SOME:
        assert door.admits(message)
    of_one = [message for message in SOME if message.device == "pi-1"]
    of_another = [message for message in SOME if message.device == "pi-2"]
    unsaid = SERIES_OF_DEVICE - 2  # of a device that has told nothing of its health
    assert (
        door.admission.series
        == written(of_one, max_classes=max_classes) + written(of_another, max_classes=max_classes) + unsaid
    )
    assert door.admission.devices == 2


def test_a_device_that_is_not_on_the_list_is_refused() -> None:
    door = Door(enrolment=EnrolmentSettings(mode=Mode.LIST, devices=("north/pi-*", "south/gate")))
    assert door.admits(window(1))
    assert door.admits(window(1, site="south", device="gate"))
    assert door.refuses(window(1, site="south")) is Reason.NOT_ENROLLED
    assert not door.admission.knows("south", "pi-1")


def test_without_a_list_everybody_is_let_in_until_there_are_too_many() -> None:
    door = Door(max_devices=2)
    assert [door.refuses(window(1, device=f"pi-{number}")) for number in range(3)] == [
        None,
        None,
        Reason.TOO_MANY_DEVICES,
    ]
    assert door.admits(window(2, device="pi-0"))
    assert not door.admission.knows("north", "pi-2")


def test_a_device_has_as_many_streams_as_an_agent_may_have() -> None:
    door = Door(series_per_device=1_000_000)
    assert all(door.admits(alert(stream=f"belt-{number}")) for number in range(MOST_STREAMS))
    assert door.refuses(alert(stream="one-more")) is Reason.TOO_MANY_STREAMS
    assert door.admits(alert(stream="belt-0"))
    assert door.admits(alert(stream="one-more", device="pi-2"))


@pytest.mark.parametrize(
    "invent",
    [
        lambda number: with_classes(f"class-{number}"),
        lambda number: window(bundle=BundleRef(name=f"bundle-{number}", version=1)),
        lambda number: window(bundle=BundleRef(name="digits", version=number)),
        lambda number: window(faults_total={f"fault-{number}": 1}),
        lambda number: state(agent_version=f"0.{number}"),
        lambda number: health(bundle_errors={f"belt-{number}": "no"}),
        lambda number: window(
            windows=(
                WindowStats(
                    kind=WindowKind.COUNT,
                    limit=9,
                    frames=9,
                    outlier_ratio=0,
                    score_quantiles={f"0.{number:05}1": 1.0},
                ),
            )
        ),
    ],
)
def test_whatever_a_device_makes_up_the_series_that_it_can_make_are_limited(invent: Any) -> None:
    door = Door(series_per_device=100)
    reasons = [door.refuses(invent(number)) for number in range(200)]
    assert reasons[0] is None
    assert reasons[-1] is Reason.TOO_MANY_SERIES
    assert door.admission.series <= 100


def test_a_device_with_too_many_series_goes_on_with_those_that_it_has_and_costs_no_other_anything() -> None:
    door = Door(series_per_device=100)
    flood = inventions(1000)
    admitted = [message for message in flood if door.admits(message)]
    assert 0 < len(admitted) < 100
    assert all(door.admits(message) for message in admitted)
    assert door.admits(window(1, device="pi-2"))


def test_all_devices_together_have_a_limited_number_of_series() -> None:
    door = Door(series=200)
    reasons = [door.refuses(window(1, device=f"pi-{number}")) for number in range(20)]
    assert reasons[0] is None
    assert reasons[-1] is Reason.TOO_MANY_SERIES
    assert door.admission.series <= 200
    assert door.admits(window(2, device="pi-0"))
    assert not door.admission.knows("north", "pi-19")


def test_counting_begins_anew_every_hour() -> None:
    door = Door(series_per_device=100)
    for message in inventions(1000):
        door.refuses(message)
    fresh = with_classes("another")
    door.clock.wall += TURN_SECONDS - 1
    assert door.refuses(fresh) is Reason.TOO_MANY_SERIES
    door.clock.wall += 1
    assert door.admits(fresh)


def test_classes_that_come_and_go_are_counted_once() -> None:
    door = Door()
    assert door.admits(with_classes("cat", "dog"))
    before = door.admission.series
    for names in [("dog", "bird"), ("bird", "cat"), (), ("cat", "dog")] * 100:
        assert door.admits(with_classes(*names))
    assert door.admission.series == before + 1


def test_series_that_are_written_again_and_again_are_counted_once_however_long_it_goes_on() -> None:
    door = Door(series_per_device=100)
    for _ in range(10):
        counts = set()
        for message in (*SOME, *SOME):
            assert door.admits(message)
            counts.add(door.admission.series)
        door.clock.wall += TURN_SECONDS
    assert counts == {max(counts)}
    assert max(counts) < written(SOME) + SERIES_OF_DEVICE


def test_devices_that_are_silent_for_two_hours_are_no_longer_known() -> None:
    door = Door(max_devices=1)
    assert door.admits(window(1))
    counted = door.admission.series
    door.clock.wall += TURN_SECONDS
    assert door.refuses(window(1, device="pi-2")) is Reason.TOO_MANY_DEVICES
    door.clock.wall += TURN_SECONDS
    assert door.admits(window(1, device="pi-2"))
    assert not door.admission.knows("north", "pi-1")
    assert door.admission.series == counted


def test_an_alert_is_let_in_where_others_have_used_up_all_series_but_not_beyond_its_devices_own() -> None:
    door = Door(series=50, series_per_device=150)
    while door.admits(window(1, device=f"evil-{door.admission.devices}")):
        pass
    assert door.refuses(window(1)) is Reason.TOO_MANY_SERIES
    assert door.admits(alert(1))
    assert door.refuses(window(1)) is Reason.TOO_MANY_SERIES
    reasons = [door.refuses(alert(stream=f"belt-{number}")) for number in range(60)]
    assert reasons[0] is None
    assert reasons[-1] is Reason.TOO_MANY_SERIES


def test_streams_that_are_silent_for_two_hours_make_room_for_others() -> None:
    door = Door()
    for number in range(MOST_STREAMS):
        door.refuses(alert(stream=f"belt-{number}"))
    door.clock.wall += TURN_SECONDS
    assert door.admits(alert(stream="belt-0"))
    assert door.refuses(alert(stream="one-more")) is Reason.TOO_MANY_STREAMS
    door.clock.wall += TURN_SECONDS
    others = [door.admits(alert(stream=f"other-{number}")) for number in range(MOST_STREAMS)]
    assert sum(others) == MOST_STREAMS - 1
    assert door.admits(alert(stream="belt-0"))


def test_of_a_device_less_than_a_kilobyte_is_remembered() -> None:
    devices = 2000
    door = Door(max_devices=devices)
    reports = encode(with_classes(*map(str, range(10)))), encode(health())
    tracemalloc.start()
    for _ in range(3):
        for number in range(devices):
            a_window, a_health = (report.replace(b"pi-1", b"pi-%d" % number) for report in reports)
            door.admission.check(read_window(a_window, topic=""))
            door.admission.check(read_health(a_health, topic=""))
        door.clock.wall += TURN_SECONDS
    remembered, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert door.admission.devices == devices
    assert remembered < 1000 * devices


def test_a_hundred_thousand_made_up_devices_leave_as_many_as_there_may_be() -> None:
    door = Door(max_devices=100)
    for number in range(100_000):
        door.refuses(kept_alert(number))
    assert door.admission.devices == 100


def kept_alert(number: int) -> DeviceMessage:
    return alert().model_copy(update={"device": f"x{number}"})


@given(
    steps=st.lists(
        st.tuples(st.integers(0, 2), st.sampled_from("abcdefghij"), st.integers(0, int(TURN_SECONDS))), max_size=60
    )
)
def test_neither_cap_is_ever_passed(steps: list[tuple[int, str, int]]) -> None:
    door = Door(series_per_device=120, series=300)
    this_hour: list[DeviceMessage] = []
    began = door.clock.wall
    for device, name, pause in steps:
        door.clock.wall += pause
        if door.clock.wall - began >= TURN_SECONDS:
            began = door.clock.wall
            this_hour.clear()
        message = with_classes(*(f"{name}-{number}" for number in range(MAX_CLASSES)), device=f"pi-{device}")
        if door.admits(message):
            this_hour.append(message)
        assert written(this_hour) <= door.admission.series <= 300
        for number in range(3):
            assert written([message for message in this_hour if message.device == f"pi-{number}"]) <= 120
