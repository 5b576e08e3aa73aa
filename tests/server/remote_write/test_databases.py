import time
from pathlib import Path

import pytest
import trustme

from driftprint.errors import StoreError
from driftprint.messages import DeviceStatus, WindowMessage
from driftprint_server.remote_write.sender import LONGEST_RETRY_SECONDS
from driftprint_server.times import EventTimes
from tests.brokers import wait_for
from tests.server.clocks import FakeClock
from tests.server.messages import health, state, window
from tests.server.remote_write.databases import Database, Prometheus
from tests.server.remote_write.writers import accept, dated, make_sink

TOTALS = "driftprint_frames_total"
SILENT_FOR = "time() - max by (site, device) (last_over_time(driftprint_last_seen_timestamp_seconds[1d]))"


@pytest.fixture(params=["victoria_metrics", "prometheus"])
def database(request: pytest.FixtureRequest) -> Database:
    """Each of the two."""
    found = request.getfixturevalue(request.param)
    assert isinstance(found, Database)
    return found


def wait_for_value(database: Database, expression: str, value: float, *, at: float | None = None) -> None:
    wait_for(
        lambda: database.value(expression, at=at) == value,
        what=lambda: f"{expression} to be {value}, it is {database.value(expression, at=at)}\n{database.log[-2000:]}",
    )


def test_what_a_device_has_kept_lands_at_its_time_and_leaves_the_present_alone(database: Database) -> None:
    clock = FakeClock(time.time())
    sink, _ = make_sink(database.write_url, clock)
    now = clock.wall
    sink.write([accept(window(9, recorded_at=now, ratio=0.1), now), accept(state(), now)])

    sink.write([accept(window(seq, recorded_at=0.0, ratio=0.9), now - 1800 + seq) for seq in (3, 1, 2)])

    ratio = 'driftprint_outlier_ratio{window="count"}'
    wait_for_value(database, TOTALS, 900, at=now + 1)
    wait_for_value(database, TOTALS, 100, at=now - 1800 + 1.5)
    wait_for_value(database, TOTALS, 300, at=now - 1800 + 60)
    wait_for_value(database, ratio, 0.9, at=now - 1800 + 60)
    wait_for_value(database, ratio, 0.1, at=now + 1)
    assert database.value("driftprint_device_up", at=now + 1) == 1
    assert database.value("driftprint_device_up", at=now - 1800 + 60) is None


def test_a_batch_that_comes_twice_leaves_each_sample_once(database: Database) -> None:
    clock = FakeClock(time.time())
    batch: list[WindowMessage] = [window(seq, recorded_at=clock.wall - 100 + seq) for seq in range(1, 21)]
    for late in (0.0, 0.25):  # to another replica, the second time
        sink, counts = make_sink(database.write_url, clock)
        times = EventTimes()
        sink.write([dated(times, message, message.recorded_at + late, clock.wall) for message in batch])
        assert counts.dropped == {}

    wait_for_value(database, f"count_over_time({TOTALS}[5m])", 20)
    assert database.value(f"resets({TOTALS}[5m])") == 0


def test_a_device_with_its_clock_in_2037_shuts_out_no_other(database: Database) -> None:
    clock = FakeClock(time.time())
    sink, counts = make_sink(database.write_url, clock)

    ahead = window(1, device="pi-2037", recorded_at=2_114_380_800.0)
    sink.write([dated(EventTimes(), ahead, clock.wall + 7200, clock.wall)])
    sink.write([accept(window(1, recorded_at=clock.wall - 5), clock.wall - 5)])

    assert counts.dropped == {}
    wait_for_value(database, f'{TOTALS}{{device="pi-1"}}', 100)
    wait_for_value(database, f'{TOTALS}{{device="pi-2037"}}', 100)


def test_samples_that_prometheus_finds_too_old_are_dropped_alone(prometheus: Prometheus) -> None:
    clock = FakeClock(time.time())
    sink, counts = make_sink(prometheus.write_url, clock)
    sink.write([accept(health(device="pi-0"), clock.wall)])  # from now on it knows what is old

    old = [accept(window(seq, device="pi-1", recorded_at=0.0), clock.wall - 86_400) for seq in (1, 2)]
    sink.write([*old, *(accept(window(1, device=f"pi-{number}"), clock.wall) for number in range(2, 30))])

    wait_for_value(prometheus, f"count({TOTALS})", 28)
    assert set(counts.dropped) <= {"400", "500"}
    assert sum(counts.dropped.values()) > 0


@pytest.mark.parametrize("path", ["/insert/0/prometheus/api/v1/write", "/api/v1/wrote", "/"])
def test_at_a_wrong_path_nothing_is_taken_for_written(database: Database, path: str) -> None:
    sink, counts = make_sink(database.url + path, FakeClock(time.time()))

    with pytest.raises(StoreError, match=r"answers 40[045]"):
        sink.write([accept(window(seq), time.time()) for seq in range(1, 10)])

    assert (counts.samples, counts.dropped) == (0, {})
    assert sink.problem is not None


def test_http_at_a_port_that_speaks_https_is_an_error_that_says_so(tmp_path: Path) -> None:
    authority, certificate = trustme.CA(), tmp_path / "prometheus.pem"
    authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(certificate)
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    prometheus = Prometheus(tmp_path / "prometheus", certificate=certificate)
    prometheus.start()
    try:
        clock = FakeClock(time.time())
        batch = [accept(window(), clock.wall)]
        wrong, counts = make_sink(prometheus.write_url.replace("https:", "http:"), clock, give_up_after_seconds=0)

        def told() -> bool:
            """Its answer is at times lost, since it closes the connection."""
            clock.wall += LONGEST_RETRY_SECONDS
            with pytest.raises(StoreError):
                wrong.write(batch)
            return "http or https" in (wrong.problem or "")

        wait_for(told, what=lambda: f"the problem, in place of {wrong.problem}")
        assert (counts.samples, counts.dropped) == (0, {})

        right, counts = make_sink(prometheus.write_url, clock, ca_file=tmp_path / "ca.pem")
        right.write(batch)
        assert counts.samples > 0
    finally:
        prometheus.kill()


def test_what_prometheus_has_taken_outlasts_its_kill(prometheus: Prometheus) -> None:
    now = time.time()
    sink, _ = make_sink(prometheus.write_url, FakeClock(now))
    sink.write([accept(window(seq), now - 20 + seq) for seq in range(1, 21)])

    prometheus.kill()
    prometheus.start()

    assert prometheus.value(f"count_over_time({TOTALS}[5m])", at=now + 1) == 20


def test_a_device_that_goes_silent_is_found_by_when_it_was_last_seen(database: Database) -> None:
    clock = FakeClock(time.time() - 1200)
    sink, _ = make_sink(database.write_url, clock)
    sink.write([accept(health(), clock.wall)])
    clock.wall += 600
    sink.write([accept(state(DeviceStatus.OFFLINE, device="pi-2"), clock.wall)])

    silent = f"({SILENT_FOR}) > 60"
    wait_for(lambda: database.value(silent) is not None, what="the silent device")
    assert database.value(silent) == pytest.approx(1200, abs=60)
    assert database.value('last_over_time(driftprint_device_up{device="pi-2"}[1d])') == 0
