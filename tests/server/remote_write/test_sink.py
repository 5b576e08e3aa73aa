import pytest
from structlog.testing import capture_logs

from driftprint.errors import StoreError
from driftprint.exposition import FRAMES
from driftprint_server.remote_write.counts import WriteCollector
from driftprint_server.remote_write.sender import LONGEST_RETRY_SECONDS
from driftprint_server.sinks import Accepted
from driftprint_server.times import EventTimes
from tests.server.clocks import FakeClock
from tests.server.messages import health, window
from tests.server.remote_write.receiver import Answer, Receiver, Request
from tests.server.remote_write.writers import accept, dated, make_sink

NOW = 1_700_000_000.0


def windows(count: int, *, age: float = 0.0) -> list[Accepted]:
    return [
        accept(window(device=f"pi-{number}", recorded_at=NOW - age), NOW - age + 0.001 * number)
        for number in range(count)
    ]


def refuse(receiver: Receiver, *devices: str) -> None:
    """As Prometheus does: a request with a sample of these devices is refused as a whole."""

    def answer(request: Request) -> Answer:
        return Answer(400, "out of order sample") if request.devices & set(devices) else Answer()

    receiver.answer = answer


def test_a_batch_is_split_by_samples_and_no_message_is_torn(receiver: Receiver) -> None:
    sink, counts = make_sink(receiver.url, FakeClock(NOW), max_samples=100)

    sink.write(windows(20))

    assert len(receiver.requests) > 4
    assert all(len(request.samples) <= 100 for request in receiver.requests)
    assert sum(len(request.samples) for request in receiver.requests) == counts.samples == len(receiver.taken)
    devices = [device for request in receiver.requests for device in request.devices]
    assert len(devices) == len(set(devices)) == 20


def test_samples_of_a_series_are_written_in_the_order_of_time(receiver: Receiver) -> None:
    sink, _ = make_sink(receiver.url, FakeClock(NOW), max_samples=100)
    backlog = [accept(window(seq, recorded_at=NOW - age), NOW - age) for seq, age in ((9, 1), (1, 3600), (5, 60))]

    sink.write(backlog)

    times = [
        at
        for request in receiver.requests
        for labels, samples in request.series
        if dict(labels)["__name__"] == FRAMES.name
        for at, _ in samples
    ]
    assert times == [int((NOW - age) * 1000) for age in (3600, 60, 1)]


def test_a_batch_that_comes_again_with_other_times_writes_the_same_samples(receiver: Receiver) -> None:
    clock = FakeClock(NOW)
    sink, _ = make_sink(receiver.url, clock)
    times = EventTimes()
    right, wrong = window(1, recorded_at=NOW - 600), window(2, device="pi-2", recorded_at=0.0)

    sink.write([dated(times, message, NOW - 600.2, NOW) for message in (right, wrong)])
    clock.wall += 30
    sink.write([dated(times, message, NOW - 599.9, NOW + 30) for message in (right, wrong)])

    first, second = receiver.requests
    assert first.samples == second.samples


def test_one_devices_samples_that_are_refused_cost_no_other_device_anything(receiver: Receiver) -> None:
    sink, counts = make_sink(receiver.url, FakeClock(NOW))
    batch = windows(40)
    refuse(receiver, "pi-7", "pi-31")

    sink.write(batch)

    taken = {dict(labels)["device"] for labels, _ in receiver.taken}
    assert taken == {f"pi-{number}" for number in range(40)} - {"pi-7", "pi-31"}
    assert counts.samples == len(receiver.taken)
    assert counts.dropped == {"400": 2 * counts.samples // 38}
    assert len(receiver.requests) < 30


def test_a_message_that_is_refused_is_not_sent_again(receiver: Receiver) -> None:
    sink, counts = make_sink(receiver.url, FakeClock(NOW))
    refuse(receiver, "pi-0")

    sink.write(windows(1))

    assert [request.devices for request in receiver.requests] == [{"pi-0"}, set()]
    assert counts.samples == 0
    assert counts.dropped
    assert sink.problem is None


def test_a_refusal_is_made_sure_of_once_in_a_batch(receiver: Receiver) -> None:
    sink, _ = make_sink(receiver.url, FakeClock(NOW), max_samples=100)
    refuse(receiver, *(f"pi-{number}" for number in range(20)))

    sink.write(windows(20))

    assert sum(not request.series for request in receiver.requests) == 1


def test_where_even_a_request_without_samples_is_refused_nothing_is_dropped_and_the_problem_says_what_to_do(
    receiver: Receiver,
) -> None:
    clock = FakeClock(NOW)
    sink, counts = make_sink(receiver.url, clock)
    receiver.answer = lambda _request: Answer(400, "unsupported path requested")

    for tries in range(1, 4):
        with pytest.raises(StoreError, match="unsupported path requested"), capture_logs() as logged:
            sink.write(windows(40))
        assert any("see to the path" in line["what"] for line in logged) == (tries == 1)
        assert len(receiver.requests) == 2 * tries
        assert "see to the path of url" in (sink.problem or "")
        clock.wall += LONGEST_RETRY_SECONDS
    assert (counts.samples, counts.dropped) == (0, {})

    receiver.answer = lambda _request: Answer()
    sink.write(windows(40))
    assert counts.samples > 0
    assert sink.problem is None


def test_a_target_that_goes_wrong_in_the_middle_of_its_life_loses_nothing_either(receiver: Receiver) -> None:
    sink, counts = make_sink(receiver.url, FakeClock(NOW))
    sink.write(windows(1))

    receiver.answer = lambda _request: Answer(400, "Client sent an HTTP request to an HTTPS server.")
    with pytest.raises(StoreError, match="http or https"):
        sink.write(windows(1))
    assert counts.dropped == {}


def test_a_batch_that_is_not_taken_is_an_error_and_can_be_written_later(receiver: Receiver) -> None:
    clock = FakeClock(NOW)
    sink, counts = make_sink(receiver.url, clock, give_up_after_seconds=0)
    receiver.answer = lambda _request: Answer(503)

    with pytest.raises(StoreError, match="503"):
        sink.write(windows(3))
    assert counts.samples == 0
    assert sink.problem is not None

    receiver.answer = lambda _request: Answer()
    clock.wall += 60
    sink.write(windows(3))
    assert counts.samples > 0
    assert sink.problem is None


def test_messages_that_say_nothing_make_no_request(receiver: Receiver) -> None:
    sink, _ = make_sink(receiver.url, FakeClock(NOW))

    sink.write([accept(health(), NOW, retained=True)])

    assert receiver.requests == []


def test_what_is_counted_is_exposed(receiver: Receiver) -> None:
    sink, counts = make_sink(receiver.url, FakeClock(NOW))
    batch = windows(2)
    refuse(receiver, "pi-1")
    sink.write(batch)

    exposed = {
        (one.name, *one.labels.values()): one.value
        for metric in WriteCollector({"tsdb": counts}).collect()
        for one in metric.samples
    }

    assert exposed["driftprint_remote_write_samples_total", "tsdb"] == counts.samples > 0
    assert exposed["driftprint_remote_write_dropped_samples_total", "tsdb", "400"] == counts.samples
    assert exposed["driftprint_remote_write_requests_total", "tsdb", "204"] == 2
    assert exposed["driftprint_remote_write_bytes_total", "tsdb"] == receiver.sizes[-2]
    assert exposed["driftprint_remote_write_requests_total", "tsdb", "400"] == 2
    assert exposed["driftprint_remote_write_seconds_total", "tsdb"] >= 0
