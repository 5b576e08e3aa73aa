"""What a replica refuses to begin."""

from pathlib import Path
from typing import Any

import pytest

from driftprint.errors import ConfigError
from driftprint_server.config import ServerSettings
from driftprint_server.remote_write.replica import Replica
from tests.server.clocks import FakeClock

REPLICA: dict[str, Any] = {
    "mqtt": {"share": "replicas"},
    "remote_write": [{"url": "http://tsdb.example/api/v1/write"}],
}


def make(**tables: Any) -> Replica:
    return Replica(ServerSettings.model_validate(REPLICA | tables), clock=FakeClock())


def test_it_begins_with_what_it_can_do() -> None:
    replica = make(
        enrolment={"mode": "list", "devices": ["north/*"]},
        caps={"messages_per_second": 5},
        fleet={"max_devices": 1_000_000},
    )
    assert replica.problems() == ["not connected to the broker at localhost:1883"]
    replica.close()


@pytest.mark.parametrize(
    ("tables", "where"),
    [
        ({"enrolment": {"mode": "approve"}}, "enrolment.mode"),
        ({"access": {"metrics": "login"}}, "access.metrics"),
        ({"rollout": {"bundles": "/srv/bundles"}}, "rollout.bundles"),
        ({"webhook": [{"name": "hooks", "url": "https://hooks.example/"}]}, "webhook"),
    ],
)
def test_what_needs_users_or_a_store_is_refused_and_not_silently_left_out(tables: dict[str, Any], where: str) -> None:
    with pytest.raises(ConfigError, match="a replica keeps nothing") as refused:
        make(**tables)
    assert refused.value.where == where
    assert refused.value.fix


def test_a_certificate_that_is_not_there_is_an_error_of_the_configuration(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        make(http={"cert_file": str(tmp_path / "none.pem"), "key_file": str(tmp_path / "none.key")})
