"""Two servers hear the same fleet, and one of them alone acknowledges."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from driftprint.errors import ConfigError
from driftprint_server.config import read_settings
from tests.brokers import Mosquitto, wait_for
from tests.server.messages import window
from tests.server.processes import DeviceClient, ServerProcess

WINDOWS = 'driftprint_server_messages_total{kind="window"}'
ACKNOWLEDGED = "driftprint_server_acknowledged_total"


@pytest.fixture
def beside(mosquitto: Mosquitto, tmp_path: Path) -> Iterator[ServerProcess]:
    """A server that leaves the acknowledging to others."""
    folder = tmp_path / "beside"
    folder.mkdir()
    process = ServerProcess(folder, mosquitto.port, settings={"mqtt": "client_id = 'beside'\nacknowledge = false"})
    process.start()
    yield process
    process.kill()


def wait_to_take_in(server: ServerProcess, *, windows: int) -> None:
    wait_for(lambda: server.metric(WINDOWS) == windows, what=f"{windows} windows")


def test_a_server_beside_others_takes_in_and_shows_and_leaves_the_acknowledging_to_them(
    beside: ServerProcess, server: ServerProcess, device: DeviceClient
) -> None:
    server.stop()
    for number in (1, 2):  # the first is done with when the second has been taken in
        device.send(window(number))
        wait_to_take_in(beside, windows=number)
    assert device.acked == []

    server.start()
    device.wait_for_acks([1, 2])  # which were waiting for it
    device.send(window(3))
    device.wait_for_acks([3])
    wait_to_take_in(beside, windows=3)
    assert device.acked == [1, 2, 3]
    assert beside.metric(ACKNOWLEDGED) == 0
    assert [(one.site, one.device) for one in beside.fleet().devices] == [("north", "pi-1")]


def test_a_replica_must_acknowledge(tmp_path: Path) -> None:
    path = tmp_path / "server.toml"
    path.write_text("[mqtt]\nshare = 'group'\nacknowledge = false\n[[remote_write]]\nurl = 'http://localhost/'\n")
    with pytest.raises(ConfigError, match="must acknowledge"):
        read_settings(path)
