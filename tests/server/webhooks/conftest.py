from collections.abc import Iterator

import pytest

from tests.server.webhooks.receiver import HttpReceiver


@pytest.fixture
def receiver() -> Iterator[HttpReceiver]:
    """Somebody who is told."""
    receiver = HttpReceiver()
    receiver.start()
    yield receiver
    receiver.stop()
