from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.brokers import Mosquitto
from tests.server.remote_write.databases import Prometheus, VictoriaMetrics
from tests.server.remote_write.receiver import Receiver, receiving
from tests.server.remote_write.replicas import ReplicaProcess, StartReplica


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """A receiver that takes everything."""
    with receiving() as running:
        yield running


@pytest.fixture
def victoria_metrics(tmp_path: Path) -> Iterator[VictoriaMetrics]:
    """A running VictoriaMetrics."""
    database = VictoriaMetrics(tmp_path / "victoria-metrics")
    database.start()
    yield database
    database.kill()


@pytest.fixture
def prometheus(tmp_path: Path) -> Iterator[Prometheus]:
    """A running Prometheus that takes samples of the last hour."""
    database = Prometheus(tmp_path / "prometheus", out_of_order="1h")
    database.start()
    yield database
    database.kill()


@pytest.fixture
def start_replica(mosquitto: Mosquitto, tmp_path: Path) -> Iterator[StartReplica]:
    """Makes running replicas that write to some addresses."""
    replicas: list[ReplicaProcess] = []

    def start(urls: Sequence[str], **options: Any) -> ReplicaProcess:
        replicas.append(ReplicaProcess(tmp_path / f"replica-{len(replicas)}", mosquitto, urls, **options))
        replicas[-1].start()
        return replicas[-1]

    yield start
    for replica in replicas:
        replica.kill()
