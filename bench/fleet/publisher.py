"""Run as a script: speaks for many devices at once, and says how many of their windows the server has acknowledged.

``python -m bench.fleet.publisher PORT DEVICES SECONDS``. As devices do, it keeps a limited number unacknowledged.
"""

from __future__ import annotations

import json
import sys
import threading
import time

import paho.mqtt.client as paho

from driftprint.messages import (
    AckMessage,
    BundleRef,
    ClassStats,
    WindowKind,
    WindowMessage,
    WindowStats,
    decode,
    encode,
)
from driftprint.mqtt import MqttSettings, make_client, start
from driftprint.topics import PREFIX, StreamTopic, stream_topic

MOST_UNACKNOWLEDGED = 3000
_SEQ = 123_456_789


class Devices:
    """So many devices, each with a stream.

    Args:
        broker: where to speak.
        count: how many.
    """

    def __init__(self, broker: MqttSettings, count: int) -> None:
        self.acknowledged = 0
        self._room = threading.Semaphore(MOST_UNACKNOWLEDGED)
        self._messages = [_message(number) for number in range(count)]
        self._client = make_client(broker, "bench", clean_session=True)
        self._client.max_inflight_messages_set(MOST_UNACKNOWLEDGED)
        subscribed = threading.Event()
        self._client.on_connect = lambda client, *_: client.subscribe(f"{PREFIX}/bench/+/ack", qos=1)
        self._client.on_subscribe = lambda *_: subscribed.set()
        self._client.on_message = self._on_ack
        start(self._client, broker)
        if not subscribed.wait(10):
            raise TimeoutError("no answer from the broker")

    def speak(self, seconds: float) -> int:
        """Send one window after another, device by device, for so long; how many."""
        end = time.monotonic() + seconds
        sent = 0
        while time.monotonic() < end:
            topic, before, after = self._messages[sent % len(self._messages)]
            if not self._room.acquire(timeout=1):
                continue
            self._client.publish(topic, before + str(sent + 1).encode() + after, qos=1)
            sent += 1
        return sent

    def wait(self, count: int, seconds: float) -> None:
        """Until so many are acknowledged, or so long."""
        end = time.monotonic() + seconds
        while self.acknowledged < count and time.monotonic() < end:
            time.sleep(0.05)

    def _on_ack(self, _client: paho.Client, _data: object, message: paho.MQTTMessage) -> None:
        ack = decode(AckMessage, bytes(message.payload), topic=message.topic)
        self.acknowledged += len(ack.seqs)
        self._room.release(len(ack.seqs))


def _message(number: int) -> tuple[str, bytes, bytes]:
    """A topic, and a window before and after its number."""
    device = f"device-{number}"
    classes = {str(digit): ClassStats(frames=10, outlier_ratio=0.1) for digit in range(10)}
    quantiles = {"0.5": 1.0, "0.9": 2.0, "0.99": 3.0}
    windows = tuple(
        WindowStats(kind=kind, limit=100, frames=100, outlier_ratio=0.05, score_quantiles=quantiles, classes=classes)
        for kind in WindowKind
    )
    window = WindowMessage(
        site="bench",
        device=device,
        stream="camera",
        instance=f"{number:016x}",
        seq=_SEQ,
        recorded_at=time.time(),
        bundle=BundleRef(name="parts", version=1),
        frames_total=100_000,
        outliers_total=5_000,
        alerts_total=0,
        frames_per_second=10.0,
        windows=windows,
        alarm=False,
        evidence=0.1,
    )
    before, after = encode(window).split(str(_SEQ).encode())
    return stream_topic("bench", device, "camera", StreamTopic.WINDOW), before, after


def main(port: int, count: int, seconds: float) -> None:
    devices = Devices(MqttSettings(host="127.0.0.1", port=port), count)
    begin = time.monotonic()
    sent = devices.speak(seconds)
    devices.wait(sent, 30)
    passed = time.monotonic() - begin
    print(json.dumps({"sent": sent, "acknowledged": devices.acknowledged, "seconds": passed}))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]))
