"""Run as a script: speaks for many devices at once, and says how many of their windows the server has acknowledged.

``python -m bench.fleet.publisher PORT DEVICES SECONDS [EVERY]``: each device speaks every so many seconds; without it,
as often as it can. As devices do, they keep a limited number of messages unacknowledged.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Callable

from bench.fleet.wire import Wire, publish, published
from bench.windows import window
from driftprint.messages import encode
from driftprint.topics import PREFIX, StreamTopic, stream_topic

MOST_UNACKNOWLEDGED = 3000
AT_ONCE = 50
_SEQ, _NOW = 123_456_789, 1_700_000_000.5  # stand for others


class Devices:
    """So many devices, each with a stream.

    Args:
        port: of the broker.
        count: how many.
    """

    def __init__(self, port: int, count: int) -> None:
        self.acknowledged = 0
        self.longest_silence = 0.0
        """Seconds between two acknowledgements."""
        self._heard_at: float | None = None
        self._changed = threading.Condition()
        self._messages = [_message(number) for number in range(count)]
        self._wire = Wire(port, "bench")
        self._wire.subscribe(f"{PREFIX}/bench/+/ack")
        self._sent = 0
        threading.Thread(target=self._hear, daemon=True).start()

    def speak(self, seconds: float, every: float) -> int:
        """Send one window after another, device by device, for so long, and one of each at full speed; how many.

        Args:
            seconds: how long.
            every: how often each device speaks, in seconds; 0 for as often as the server hears them.
        """
        begin = time.monotonic()
        least = 0 if every else len(self._messages)
        while (passed := time.monotonic() - begin) < seconds or self._sent < least:
            if every and self._sent * every > passed * len(self._messages):
                time.sleep(0.002)
                continue
            self._wait_for(lambda: self._sent - self.acknowledged <= MOST_UNACKNOWLEDGED - AT_ONCE, 1)
            numbers = range(self._sent, self._sent + AT_ONCE)
            self._wire.send(b"".join(map(self._packet, numbers)))
            self._sent += AT_ONCE
        return self._sent

    def wait(self, count: int, seconds: float) -> None:
        """Until so many are acknowledged, or so long."""
        self._wait_for(lambda: self.acknowledged >= count, seconds)

    def _wait_for(self, condition: Callable[[], bool], seconds: float) -> None:
        with self._changed:
            self._changed.wait_for(condition, seconds)

    def _packet(self, number: int) -> bytes:
        topic, before, between, after = self._messages[number % len(self._messages)]
        payload = b"%b%d%b%.3f%b" % (before, number + 1, between, time.time(), after)
        return publish(topic, payload, number % 65535 + 1)

    def _hear(self) -> None:
        for kind, body in self._wire.packets():
            payload = published(kind, body)
            if payload is not None:
                now = time.monotonic()
                if self._heard_at is not None:
                    self.longest_silence = max(self.longest_silence, now - self._heard_at)
                self._heard_at = now
                with self._changed:
                    self.acknowledged += len(json.loads(payload)["seqs"])
                    self._changed.notify()


def _message(number: int) -> tuple[str, bytes, bytes, bytes]:
    """A topic, and a window before, between and after its number and the time."""
    message = window("bench", number, seq=_SEQ, recorded_at=_NOW)
    before, rest = encode(message).split(str(_SEQ).encode())
    between, after = rest.split(str(_NOW).encode())
    return stream_topic(message.site, message.device, message.stream, StreamTopic.WINDOW), before, between, after


def main(port: int, count: int, seconds: float, every: float = 0.0) -> None:
    devices = Devices(port, count)
    begin = time.monotonic()
    sent = devices.speak(seconds, every)
    devices.wait(sent, 30)
    said = {
        "sent": sent,
        "acknowledged": devices.acknowledged,
        "seconds": time.monotonic() - begin,
        "longest_silence": devices.longest_silence,
    }
    print(json.dumps(said))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), *map(float, sys.argv[3:]))
