"""What is counted of remote write, and how Prometheus is told of it."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator, Mapping

from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from driftprint.exposition import Families, Spec

SAMPLES = Spec("driftprint_remote_write_samples_total", "counter", ("target",), "Samples that the target has taken.")
DROPPED = Spec(
    "driftprint_remote_write_dropped_samples_total",
    "counter",
    ("target", "status"),
    "Samples that the target refuses and that are not sent again, by HTTP status.",
)
REQUESTS = Spec(
    "driftprint_remote_write_requests_total",
    "counter",
    ("target", "status"),
    "Requests made, by the HTTP status of the answer, or unreachable where there was none.",
)
BYTES = Spec(
    "driftprint_remote_write_bytes_total",
    "counter",
    ("target",),
    "Of the samples that the target has taken, compressed.",
)
SECONDS = Spec("driftprint_remote_write_seconds_total", "counter", ("target",), "Time spent waiting for answers.")

CATALOGUE = (SAMPLES, DROPPED, REQUESTS, BYTES, SECONDS)
"""In the order of exposition."""

UNREACHABLE = "unreachable"
"""The status of a request that was not answered."""


class WriteCounts:
    """Totals of one target since the start. Safe to use from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._samples = 0
        self._bytes = 0
        self._dropped: Counter[str] = Counter()
        self._requests: Counter[str] = Counter()
        self._seconds = 0.0

    def request(self, status: str, seconds: float) -> int:
        """A request was answered or failed; returns how many have been so."""
        with self._lock:
            self._requests[status] += 1
            self._seconds += seconds
            return self._requests[status]

    def taken(self, samples: int, size: int) -> None:
        """The target took samples, in so many bytes."""
        with self._lock:
            self._samples += samples
            self._bytes += size

    def drop(self, status: str, samples: int) -> None:
        """The target refused samples for good."""
        with self._lock:
            self._dropped[status] += samples

    @property
    def samples(self) -> int:
        """Samples taken."""
        return self._samples

    @property
    def bytes_taken(self) -> int:
        """Of the samples taken."""
        return self._bytes

    @property
    def dropped(self) -> dict[str, int]:
        """Samples refused for good, by status."""
        with self._lock:
            return dict(self._dropped)

    @property
    def requests(self) -> dict[str, int]:
        """Requests, by status."""
        with self._lock:
            return dict(self._requests)

    @property
    def seconds(self) -> float:
        """Time spent waiting for answers."""
        return self._seconds


class WriteCollector(Collector):
    """Remote write as Prometheus sees it.

    Args:
        targets: the counts of each, by its name.
    """

    def __init__(self, targets: Mapping[str, WriteCounts]) -> None:
        self._targets = targets

    def describe(self) -> list[Metric]:
        """Names are known beforehand; nothing is collected at registration."""
        return []

    def collect(self) -> Iterator[Metric]:
        """All families."""
        families = Families(CATALOGUE)
        for target, counts in self._targets.items():
            families.add(SAMPLES, (target,), counts.samples)
            for spec, by_status in ((DROPPED, counts.dropped), (REQUESTS, counts.requests)):
                for status, total in sorted(by_status.items()):
                    families.add(spec, (target, status), total)
            families.add(BYTES, (target,), counts.bytes_taken)
            families.add(SECONDS, (target,), counts.seconds)
        yield from families.metrics()
