"""Writes what the server has taken in to databases of time series."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TypeAlias

from driftprint.clock import Clock
from driftprint_server.remote_write.counts import WriteCounts
from driftprint_server.remote_write.samples import Sample, Sampler
from driftprint_server.remote_write.sender import RefusedError, Sender
from driftprint_server.remote_write.settings import RemoteWriteSettings
from driftprint_server.remote_write.wire import Encoder, compress
from driftprint_server.sinks import Accepted

_Message: TypeAlias = list[Sample]
"""The samples of one message."""


class RemoteWrite:
    """A sink that writes samples at the time at which they were true.

    Prometheus refuses a request as a whole for one sample that it does not like. So what is refused is halved, until
    the messages at fault stand alone: they are dropped and counted, and cost no other device anything. Before that it
    is made sure that something takes remote write there at all.

    Args:
        sender: where to.
        counts: counts samples.
        clock: tells what is fresh, and what would be in the future.
        max_samples: in a request.
        max_classes: at most this many predicted classes a stream, those with the most frames.
    """

    def __init__(
        self, sender: Sender, *, counts: WriteCounts, clock: Clock, max_samples: int, max_classes: int
    ) -> None:
        self._sender = sender
        self._counts = counts
        self._clock = clock
        self._max_samples = max_samples
        self._sampler = Sampler(max_classes)
        self._encoder = Encoder()
        self._reached = False
        """Whether the batch that is being written, or a request without samples after a refusal, was taken."""

    @property
    def problem(self) -> str | None:
        """Why the last write failed; None where it did not."""
        return self._sender.problem

    def write(self, batch: Sequence[Accepted]) -> None:
        """Write a batch.

        Raises:
            StoreError: where the far side does not take it now, or where it is none that takes remote write. Part of it
                may have been taken; written again, it is the same samples.
        """
        now = self._clock.now().wall
        dated = [(round(1000 * accepted.at), accepted) for accepted in batch]
        # A device's messages stand together, for those at fault are often one device's, and in the order of time.
        dated.sort(key=lambda pair: (pair[1].message.site, pair[1].message.device, pair[0]))
        messages = [self._sampler.samples(accepted, at, now) for at, accepted in dated]
        self._reached = False
        for request in _requests(messages, self._max_samples):
            self._send(request)

    def close(self) -> None:
        """Close the connection."""
        self._sender.close()

    def _send(self, messages: Sequence[_Message]) -> None:
        samples = [sample for message in messages for sample in message]
        body = compress(self._encoder.encode(samples))
        try:
            self._sender.send(body)
        except RefusedError as refusal:
            if not self._reached:
                self._sender.check()
                self._reached = True
            if len(messages) == 1:
                self._counts.drop(str(refusal.status), len(samples))
                return
            half = len(messages) // 2
            self._send(messages[:half])
            self._send(messages[half:])
        else:
            self._reached = True
            self._counts.taken(len(samples), len(body))


def _requests(messages: Sequence[_Message], max_samples: int) -> Iterator[list[_Message]]:
    """In order, each with at most so many samples where a single message has no more."""
    request: list[_Message] = []
    size = 0
    for message in messages:
        if request and size + len(message) > max_samples:
            yield request
            request, size = [], 0
        if message:
            request.append(message)
            size += len(message)
    if request:
        yield request


def make_sinks(
    targets: Sequence[RemoteWriteSettings], *, clock: Clock, wait: Callable[[float], bool], max_classes: int
) -> tuple[list[RemoteWrite], dict[str, WriteCounts]]:
    """A sink for each target, and what is counted of it, by the name of the target.

    Args:
        targets: no two of one name.
        clock: times and dates everything.
        wait: sleeps for so many seconds; returns True at once where we are to stop.
        max_classes: at most this many predicted classes a stream, those with the most frames.

    Raises:
        ConfigError: where a certificate file cannot be read.
    """
    counts = {settings.target: WriteCounts() for settings in targets}
    sinks = []
    for settings in targets:
        of_target = counts[settings.target]
        sender = Sender(settings, counts=of_target, clock=clock, wait=wait)
        sinks.append(
            RemoteWrite(
                sender, counts=of_target, clock=clock, max_samples=settings.max_samples, max_classes=max_classes
            )
        )
    return sinks, counts
