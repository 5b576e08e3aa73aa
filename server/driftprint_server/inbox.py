"""Where messages wait, from the network's thread to the worker's."""

from __future__ import annotations

import queue
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Received:
    """A message as it came from the broker.

    Attributes:
        topic: where it was published.
        payload: at most `MAX_MESSAGE_BYTES`.
        retained: whether the broker had kept it from before we subscribed.
        received_at: Unix time in seconds, by the server's clock.
    """

    topic: str
    payload: bytes
    retained: bool
    received_at: float


class Inbox:
    """A queue of bounded size, for one thread that puts and one that takes.

    Args:
        most_messages: that wait.
        most_bytes: of payloads, of what waits and of what was taken last.
    """

    def __init__(self, *, most_messages: int = 4096, most_bytes: int = 64 * 2**20) -> None:
        self._most_messages = most_messages
        self._most_bytes = most_bytes
        self._queue: queue.SimpleQueue[Received] = queue.SimpleQueue()
        # Totals that one thread writes each, so that they need no lock.
        self._bytes_put = 0
        self._bytes_taken = 0
        self._bytes_done = 0

    def qsize(self) -> int:
        """How many messages wait."""
        return self._queue.qsize()

    def put(self, received: Received) -> bool:
        """Let a message wait; False where there is no room for it."""
        size = len(received.payload)
        if self._queue.qsize() >= self._most_messages or self._bytes_put - self._bytes_done + size > self._most_bytes:
            return False
        self._bytes_put += size
        self._queue.put(received)
        return True

    def take(self, most: int, *, timeout: float) -> list[Received]:
        """What waits, the oldest first; what was taken before is done with.

        Args:
            most: so many messages.
            timeout: of the wait for the first, in seconds. Without one the list is empty.
        """
        self._bytes_done = self._bytes_taken
        batch: list[Received] = []
        try:
            batch.append(self._queue.get(timeout=timeout))
            while len(batch) < most:
                batch.append(self._queue.get_nowait())
        except queue.Empty:
            pass
        self._bytes_taken += sum(len(received.payload) for received in batch)
        return batch
