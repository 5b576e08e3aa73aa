from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.brokers import Mosquitto, free_port
from tests.server.processes import DeviceClient, ServerProcess


@pytest.fixture
def server(mosquitto: Mosquitto, tmp_path: Path) -> Iterator[ServerProcess]:
    """A running server over the running broker."""
    process = ServerProcess(tmp_path, mosquitto.port)
    process.start()
    yield process
    process.kill()


@pytest.fixture
def lonely_server(tmp_path: Path) -> Iterator[ServerProcess]:
    """A server, not yet started, whose broker is not there."""
    process = ServerProcess(tmp_path, free_port())
    yield process
    process.kill()


@pytest.fixture
def connect(mosquitto: Mosquitto) -> Iterator[Callable[..., DeviceClient]]:
    """Connects devices to the broker."""
    clients: list[DeviceClient] = []

    def connect_device(**identity: str) -> DeviceClient:
        clients.append(DeviceClient(mosquitto, **identity))
        return clients[-1]

    yield connect_device
    for client in clients:
        client.close()


@pytest.fixture
def device(connect: Callable[..., DeviceClient]) -> DeviceClient:
    """A device connected to the broker."""
    return connect()
