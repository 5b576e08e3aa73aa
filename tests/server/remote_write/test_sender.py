import ssl
from pathlib import Path

import pytest
import trustme
from pydantic import ValidationError

from driftprint.errors import ConfigError, StoreError
from driftprint.exposition import FRAMES
from driftprint_server.remote_write.sender import LONGEST_RETRY_SECONDS, RefusedError
from driftprint_server.remote_write.settings import RemoteWriteSettings
from driftprint_server.remote_write.wire import Encoder, compress
from tests.brokers import free_port
from tests.server.clocks import FakeClock
from tests.server.remote_write.receiver import Answer, Receiver, Request, basic, receiving
from tests.server.remote_write.writers import make_sender

BODY = compress(Encoder().encode([(FRAMES, ("north", "pi-1", "belt"), 1.0, 1_000)]))


def answers(receiver: Receiver, *given: Answer) -> None:
    """Have the receiver give these answers, and take everything after."""
    left = list(given)

    def answer(_request: Request) -> Answer:
        return left.pop(0) if left else Answer()

    receiver.answer = answer


def test_a_request_has_the_headers_of_the_specification_and_uses_one_connection(receiver: Receiver) -> None:
    sender, counts, _ = make_sender(receiver.url, FakeClock())

    sender.send(BODY)
    sender.send(BODY)

    first, second = receiver.requests
    assert first.headers["content-encoding"] == "snappy"
    assert first.headers["content-type"] == "application/x-protobuf"
    assert first.headers["x-prometheus-remote-write-version"] == "0.1.0"
    assert first.headers["user-agent"].startswith("driftprint/")
    assert first.connection == second.connection
    assert counts.requests == {"204": 2}


@pytest.mark.parametrize("status", [500, 503, 429])
def test_what_may_pass_is_tried_again(receiver: Receiver, status: int) -> None:
    answers(receiver, Answer(status), Answer(status))
    sender, counts, waits = make_sender(receiver.url, FakeClock())

    sender.send(BODY)

    assert len(receiver.requests) == 3
    assert counts.requests == {str(status): 2, "204": 1}
    assert 0 < waits.seconds[0] < waits.seconds[1] * 2.1
    assert sender.problem is None


@pytest.mark.parametrize("status", [400, 409, 413, 422])
def test_what_is_refused_is_not_tried_again(receiver: Receiver, status: int) -> None:
    answers(receiver, Answer(status, "out of order sample"))
    sender, counts, waits = make_sender(receiver.url, FakeClock())

    with pytest.raises(RefusedError, match="out of order sample"):
        sender.send(BODY)

    assert len(receiver.requests) == 1
    assert counts.requests == {str(status): 1}
    assert waits.seconds == []


def test_samples_that_prometheus_finds_too_old_are_refused_whatever_its_status(receiver: Receiver) -> None:
    answers(receiver, Answer(500, "too old sample"))
    sender, _, _ = make_sender(receiver.url, FakeClock())

    with pytest.raises(RefusedError):
        sender.send(BODY)
    assert len(receiver.requests) == 1


@pytest.mark.parametrize("status", [301, 401, 403, 404])
def test_what_is_said_of_our_settings_is_not_tried_again_and_loses_no_samples(receiver: Receiver, status: int) -> None:
    answers(receiver, Answer(status, headers={"Location": receiver.url}))
    sender, _, waits = make_sender(receiver.url, FakeClock())

    with pytest.raises(StoreError, match=str(status)):
        sender.send(BODY)
    assert len(receiver.requests) == 1
    assert waits.seconds == []


def test_retry_after_is_heeded(receiver: Receiver) -> None:
    answers(receiver, Answer(429, headers={"Retry-After": "3"}))
    sender, _, waits = make_sender(receiver.url, FakeClock())

    sender.send(BODY)

    assert waits.seconds == [3.0]


def test_a_retry_after_that_is_neither_number_nor_date_is_ignored(receiver: Receiver) -> None:
    answers(receiver, Answer(503, headers={"Retry-After": "soon"}))
    sender, _, waits = make_sender(receiver.url, FakeClock())

    sender.send(BODY)

    assert len(waits.seconds) == 1


def test_a_receiver_that_stays_away_is_given_up_then_tried_ever_more_rarely_and_found_again() -> None:
    clock = FakeClock()
    sender, counts, waits = make_sender(f"http://127.0.0.1:{free_port()}/", clock, give_up_after_seconds=5)

    with pytest.raises(StoreError):
        sender.send(BODY)
    assert sum(waits.seconds) <= 5
    tried = counts.requests["unreachable"]
    assert tried > 3

    with pytest.raises(StoreError):  # at once, and without a request
        sender.send(BODY)
    assert counts.requests["unreachable"] == tried
    clock.wall += LONGEST_RETRY_SECONDS
    with pytest.raises(StoreError):
        sender.send(BODY)
    assert counts.requests["unreachable"] > tried  # and perhaps once more, as chance has it


def test_a_receiver_that_was_given_up_is_used_again_once_it_answers(receiver: Receiver) -> None:
    clock = FakeClock()
    sender, _, _ = make_sender(receiver.url, clock, give_up_after_seconds=0)
    answers(receiver, Answer(503))
    with pytest.raises(StoreError, match="503"):
        sender.send(BODY)
    assert sender.problem is not None

    clock.wall += LONGEST_RETRY_SECONDS
    sender.send(BODY)

    assert sender.problem is None


def test_nobody_waits_for_a_retry_while_the_server_stops(receiver: Receiver) -> None:
    answers(receiver, Answer(503))
    sender, _, waits = make_sender(receiver.url, FakeClock())
    waits.stopping = True

    with pytest.raises(StoreError):
        sender.send(BODY)
    assert len(receiver.requests) == 1


def test_logins_and_headers_are_sent(receiver: Receiver) -> None:
    make_sender(receiver.url, FakeClock(), username="writer", password="s:cret")[0].send(BODY)
    make_sender(receiver.url, FakeClock(), bearer_token="abc", headers={"X-Scope-OrgID": "fleet"})[0].send(BODY)

    first, second = receiver.requests
    assert first.headers["authorization"] == basic("writer:s:cret")
    assert second.headers["authorization"] == "Bearer abc"
    assert second.headers["x-scope-orgid"] == "fleet"


def test_a_receiver_with_a_certificate_of_ones_own_authority_is_trusted_and_a_foreign_one_is_not(
    tmp_path: Path,
) -> None:
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    trustme.CA().cert_pem.write_to_path(tmp_path / "foreign.pem")

    with receiving(context) as receiver:
        make_sender(receiver.url, FakeClock(), ca_file=tmp_path / "ca.pem")[0].send(BODY)
        assert len(receiver.requests) == 1

        foreign, _, _ = make_sender(
            receiver.url, FakeClock(), ca_file=tmp_path / "foreign.pem", give_up_after_seconds=0
        )
        with pytest.raises(StoreError, match="certificate"):
            foreign.send(BODY)


def test_a_certificate_authority_that_is_not_there_is_an_error_of_the_configuration(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="certificates"):
        make_sender("https://localhost/", FakeClock(), ca_file=tmp_path / "none.pem")


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"url": "ftp://host/"}, "url"),
        ({"url": "http://user:secret@host/"}, "no user name in url"),
        ({"username": "writer"}, "go together"),
        ({"username": "writer", "password": "s", "bearer_token": "t"}, "either"),
        ({"headers": {"content-type": "text/plain"}}, "set by us"),
        ({"headers": {"X-Bad\nName": "1"}}, "headers"),
        ({"cert_file": "client.pem"}, "go together"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(wrong: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        RemoteWriteSettings.model_validate({"url": "http://localhost:8428/api/v1/write", **wrong})
