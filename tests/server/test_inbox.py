from driftprint_server.inbox import Inbox, Received


def received(number: int, size: int = 10) -> Received:
    return Received(f"topic {number}", bytes(size), False, 0.0)


def topics(inbox: Inbox, most: int = 1000) -> list[str]:
    return [one.topic for one in inbox.take(most, timeout=0)]


def test_what_waits_is_taken_the_oldest_first_and_so_many_at_once() -> None:
    inbox = Inbox()
    for number in range(5):
        assert inbox.put(received(number))
    assert inbox.qsize() == 5
    assert topics(inbox, most=3) == ["topic 0", "topic 1", "topic 2"]
    assert topics(inbox, most=3) == ["topic 3", "topic 4"]
    assert topics(inbox) == []


def test_no_more_messages_wait_than_there_is_room_for() -> None:
    inbox = Inbox(most_messages=2)
    assert [inbox.put(received(number, size=0)) for number in range(3)] == [True, True, False]
    topics(inbox, most=1)
    assert inbox.put(received(3, size=0))
    assert topics(inbox) == ["topic 1", "topic 3"]


def test_no_more_bytes_wait_or_are_worked_on_than_there_is_room_for() -> None:
    inbox = Inbox(most_bytes=100)
    assert inbox.put(received(1, size=60))
    assert not inbox.put(received(2, size=41))
    assert inbox.put(received(3, size=40))
    assert topics(inbox) == ["topic 1", "topic 3"]
    assert not inbox.put(received(4, size=1))  # what was taken is not done with yet
    assert topics(inbox) == []
    assert inbox.put(received(5, size=100))


def test_over_a_long_time_the_room_stays_the_same() -> None:
    inbox = Inbox(most_bytes=100)
    for number in range(0, 1000, 2):
        assert inbox.put(received(number, size=30))
        assert inbox.put(received(number + 1, size=70))
        assert not inbox.put(received(0, size=1))
        assert topics(inbox, most=1) == [f"topic {number}"]
        assert topics(inbox, most=1) == [f"topic {number + 1}"]
        assert not inbox.put(received(0, size=31))
        assert topics(inbox) == []
