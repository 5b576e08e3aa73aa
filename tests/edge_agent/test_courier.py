"""What is sent when: the flight window, sending again, and messages that are never acknowledged."""

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest

from driftprint.errors import StoreError
from driftprint_edge.courier import BACKLOG, FIRST_RESEND_SECONDS, IN_FLIGHT, LONGEST_RESEND_SECONDS, WINDOWS, Courier
from driftprint_edge.store import Pending, Store
from tests.edge_agent.stores import put_alerts, put_windows, seqs_of, state, waiting
from tests.server.clocks import FakeClock
from tests.server.messages import OLD, window

HOUR = 3600


def send(courier: Courier, now: float) -> list[int]:
    return seqs_of(courier.due(now))


def test_what_is_new_is_sent_once_and_alerts_go_first(store: Store) -> None:
    windows = put_windows(store, 3)
    alerts = put_alerts(store, 2)
    courier = Courier(store)
    assert send(courier, 0) == [*alerts, *windows]
    assert send(courier, 1) == []
    [later] = put_windows(store, 1)
    assert send(courier, 1) == [later]


def test_a_limited_number_is_on_its_way_and_acknowledgements_let_others_follow(store: Store) -> None:
    windows = put_windows(store, 2 * IN_FLIGHT)
    courier = Courier(store)
    first = send(courier, 0)
    assert first == windows[: WINDOWS.new]
    courier.acknowledged(first[:7])
    assert send(courier, 1) == windows[WINDOWS.new : WINDOWS.new + 7]
    assert send(courier, 2) == []


def test_a_backlog_does_not_hold_up_an_alert(store: Store) -> None:
    put_windows(store, 2 * IN_FLIGHT)
    courier = Courier(store)
    send(courier, 0)
    [alert] = put_alerts(store, 1)
    assert send(courier, 1) == [alert]


def test_what_stays_unanswered_is_sent_again_ever_more_slowly(store: Store) -> None:
    [seq] = put_windows(store, 1)
    courier = Courier(store)
    sent_at = [now for now in range(600) if send(courier, now) == [seq]]
    gaps = [after - before for before, after in pairwise(sent_at)]
    assert gaps[0] == FIRST_RESEND_SECONDS
    assert gaps == sorted(gaps)
    assert set(gaps[3:]) == {LONGEST_RESEND_SECONDS}


def test_a_server_that_answers_again_ends_the_back_off(store: Store) -> None:
    put_windows(store, 2)
    courier = Courier(store)
    now = 0.0
    while now < 300:
        send(courier, now)
        now += 1
    courier.acknowledged([1])
    sent_at = [now + second for second in range(25) if send(courier, now + second) == [2]]
    assert len(sent_at) == 2


def test_what_was_on_its_way_when_the_connection_broke_is_sent_at_once(store: Store) -> None:
    windows, alerts = put_windows(store, 3), put_alerts(store, 2)
    courier = Courier(store)
    send(courier, 0)
    courier.connected()
    assert send(courier, 1) == [*alerts, windows[-1], *windows[:-1]]
    assert send(courier, 2) == []


def test_after_a_connection_the_newest_window_of_each_stream_goes_first_then_the_oldest(store: Store) -> None:
    belt = put_windows(store, 2 * BACKLOG.new)
    chute = [store.commit(state(), window(stream="chute")).seq for _ in range(3)]
    belt += put_windows(store, 2)
    courier = Courier(store)
    courier.connected()
    oldest = belt[: BACKLOG.new - 2]
    assert send(courier, 0) == [chute[-1], belt[-1], *oldest]
    courier.acknowledged([chute[-1], *oldest])
    rest = [seq for seq in [*belt, *chute] if seq not in (belt[-1], chute[-1], *oldest)]
    assert send(courier, 1) == sorted(rest)[: BACKLOG.new - 1]


def test_what_is_new_does_not_wait_for_the_backlog(store: Store) -> None:
    backlog = put_windows(store, 3 * BACKLOG.new)
    courier = Courier(store)
    courier.connected()
    assert len(send(courier, 0)) == BACKLOG.new
    [alert], [live] = put_alerts(store, 1), put_windows(store, 1)
    assert send(courier, 1) == [alert, live]
    courier.acknowledged(backlog[:5])
    [later] = put_windows(store, 1)
    assert send(courier, 2) == [later, *backlog[BACKLOG.new - 1 : BACKLOG.new + 4]]


def test_the_whole_backlog_is_sent_once_while_it_is_acknowledged(store: Store) -> None:
    backlog = put_windows(store, 450)
    courier = Courier(store)
    courier.connected()
    sendings: list[int] = []
    for now in range(30):
        live = put_windows(store, 1)
        due = send(courier, now)
        assert due[0] == live[0]
        sendings += due
        courier.acknowledged(due)
    assert sorted(seq for seq in sendings if seq <= backlog[-1]) == backlog
    assert waiting(store) == []


def test_a_connection_that_breaks_in_the_middle_of_a_backlog_leaves_none_of_it_out(store: Store) -> None:
    put_windows(store, 450)
    courier = Courier(store)
    for start in range(0, 500, 5):
        courier.connected()
        for now in range(start, start + 5):
            put_windows(store, 1)
            due = send(courier, now)
            courier.acknowledged(due[::2] if now % 5 < 4 else [])
        if len(waiting(store)) < 20:
            break
    assert len(waiting(store)) < 20, "only what came last"


def test_an_acknowledged_message_is_gone_for_good(store: Store, make_store: Callable[..., Store]) -> None:
    windows = put_windows(store, 3)
    courier = Courier(store)
    send(courier, 0)
    courier.acknowledged([windows[1], 999])
    courier.connected()
    assert send(courier, HOUR) == [windows[2], windows[0]]
    store.close()
    assert send(Courier(make_store()), 0) == [windows[0], windows[2]]


@pytest.mark.parametrize("put_refused", [put_windows, put_alerts])
def test_messages_that_are_never_acknowledged_hold_up_no_others(
    store: Store, put_refused: Callable[[Store, int], list[int]]
) -> None:
    """The server acknowledges all but what it rejects, and says so after each sending."""
    refused = put_refused(store, 150)
    courier = Courier(store)
    later: list[int] = []
    for now in range(HOUR):
        if now % 60 == 30:
            later += put_windows(store, 1) + put_alerts(store, 1)
        due = send(courier, now)
        assert len(due) <= IN_FLIGHT
        courier.acknowledged([seq for seq in due if seq not in refused])
        if now > 60 and now % 60 == 59:
            assert not set(waiting(store)) & set(later), f"waiting since half a minute, at {now} s"
    assert sorted(waiting(store)) == sorted(refused), "none of them is dropped"


@pytest.mark.parametrize("put_refused", [put_windows, put_alerts])
def test_a_message_lost_among_refused_ones_is_sent_again(
    store: Store, put_refused: Callable[[Store, int], list[int]]
) -> None:
    refused = put_refused(store, 150)
    courier = Courier(store)
    for now in range(HOUR):
        send(courier, now)
    lost = put_windows(store, 1) + put_alerts(store, 1)
    assert set(lost) <= set(send(courier, HOUR))
    again: set[int] = set()
    for now in range(HOUR + 1, 2 * HOUR):
        due = send(courier, now)
        again |= set(due) & set(lost)
        courier.acknowledged([seq for seq in due if seq not in refused])
    assert again == set(lost)


def test_what_is_refused_is_tried_now_and_then_in_turn(store: Store) -> None:
    refused = put_windows(store, 150)
    courier = Courier(store)
    sendings = [seq for now in range(HOUR) for seq in send(courier, now)]
    assert {seq for seq in refused if sendings.count(seq) < 3} == set()
    # No more than the share of what is sent again, once per resend period.
    assert len(sendings) < 150 + WINDOWS.again * HOUR / LONGEST_RESEND_SECONDS * 1.5


def test_what_the_full_outbox_has_dropped_frees_its_place(make_store: Callable[..., Store]) -> None:
    store = make_store(max_messages=100)
    put_windows(store, 100)
    courier = Courier(store)
    send(courier, 0)
    kept = put_windows(store, 100)
    for now in range(1, 300):
        courier.acknowledged(send(courier, now))
    assert waiting(store) == []
    assert store.dropped_total == len(kept)


class FailingStore(Store):
    """A store whose disk cannot read windows while it is `broken`."""

    broken = True

    def pending(self, *, urgent: bool, after: int, limit: int, up_to: int | None = None) -> list[Pending]:
        if self.broken and not urgent:
            raise StoreError("disk I/O error")
        return super().pending(urgent=urgent, after=after, limit=limit, up_to=up_to)


def test_a_disk_that_fails_leaves_nothing_half_sent(tmp_path: Path, clock: FakeClock) -> None:
    store = FailingStore(tmp_path / "agent.db", clock=clock, new_id=lambda: OLD, max_messages=100, group_seconds=0)
    alerts, windows = put_alerts(store, 1), put_windows(store, 1)
    courier = Courier(store)
    with pytest.raises(StoreError):
        courier.due(0)
    store.broken = False
    assert send(courier, 1) == [*alerts, *windows]
    store.close()
