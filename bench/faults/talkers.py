"""Devices that talk to a server as fast as it answers: each keeps what it has said until the server has stored it."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from types import TracebackType

import paho.mqtt.client as paho
from typing_extensions import Self

from driftprint.messages import (
    AckMessage,
    AlertMessage,
    AlertStatus,
    BundleRef,
    Cause,
    StreamMessage,
    WindowMessage,
    decode,
    encode,
)
from driftprint.mqtt import MqttSettings, make_client, start
from driftprint.topics import PREFIX, StreamTopic, stream_topic

MOST_UNANSWERED = 40
"""Of a device, as with an agent's own."""

RESEND_SECONDS = 2.0

MOST_ALERTS = 40
"""Of a device: fewer than the server keeps, so that all can be looked up in the end."""

_TALK_SECONDS = 0.05
_SITE, _STREAM = "bench", "camera"
_WINDOWS_PER_ALERT = 7
_REVISIONS = (AlertStatus.RAISED, AlertStatus.UPDATED, AlertStatus.CLEARED)


@dataclass
class Talker:
    """One device.

    Attributes:
        number: its own, from which its name and its instance are made.
        seq: of its last message.
        frames: scored so far.
        alerts: by id, the last revision that was said.
        waiting: what the server has not acknowledged, with the monotonic time at which it was last sent.
        acknowledged_window: the highest number of a window that was.
        acknowledged_alerts: by id, the highest revision that was.
    """

    number: int
    seq: int = 0
    frames: int = 0
    alerts: dict[str, int] = field(default_factory=dict)
    waiting: dict[int, tuple[StreamMessage, float]] = field(default_factory=dict)
    acknowledged_window: int = 0
    acknowledged_alerts: dict[str, int] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Its id."""
        return f"device-{self.number}"

    @property
    def totals(self) -> tuple[int, int, int]:
        """Frames, outliers and alerts, as its last window has them."""
        return self.frames, self.frames // 10, len(self.alerts)

    def say(self) -> list[StreamMessage]:
        """A window, and now and then an alert with all that becomes of it, of which the window after it tells."""
        said: list[StreamMessage] = []
        if self.seq % _WINDOWS_PER_ALERT == 0 and len(self.alerts) < MOST_ALERTS:
            alert_id = f"{self.number * 1000 + len(self.alerts):032x}"
            for revision, status in enumerate(_REVISIONS):
                said.append(self._alert(alert_id, revision, status))
                self.alerts[alert_id] = revision
        self.frames += 100
        return [*said, self._window()]

    def acknowledge(self, seq: int) -> None:
        """The server has stored it."""
        message, _ = self.waiting.pop(seq, (None, 0.0))
        if isinstance(message, WindowMessage):
            self.acknowledged_window = max(self.acknowledged_window, seq)
        elif isinstance(message, AlertMessage):
            known = self.acknowledged_alerts.get(message.alert_id, -1)
            self.acknowledged_alerts[message.alert_id] = max(known, message.revision)

    def _identity(self) -> dict[str, object]:
        self.seq += 1
        return {
            "site": _SITE,
            "device": self.name,
            "stream": _STREAM,
            "instance": f"{self.number:016x}",
            "seq": self.seq,
            "recorded_at": time.time(),
            "bundle": BundleRef(name="parts", version=1),
            "frames_total": self.frames,
        }

    def _window(self) -> WindowMessage:
        frames, outliers, alerts = self.totals
        return WindowMessage.model_validate(
            self._identity()
            | {
                "frames_total": frames,
                "outliers_total": outliers,
                "alerts_total": alerts,
                "frames_per_second": 10.0,
                "alarm": False,
                "evidence": 0.1,
            }
        )

    def _alert(self, alert_id: str, revision: int, status: AlertStatus) -> AlertMessage:
        return AlertMessage.model_validate(
            self._identity()
            | {
                "alert_id": alert_id,
                "revision": revision,
                "status": status,
                "cause": Cause.DRIFT,
                "raised_at": time.time(),
                "summary": "The model sees data it was not trained for.",
            }
        )


class Talkers:
    """Devices that talk for as long as the context lasts, over one connection.

    Args:
        broker: where to.
        count: how many.
    """

    def __init__(self, broker: MqttSettings, count: int) -> None:
        self._broker = broker
        self._devices = {talker.name: talker for talker in map(Talker, range(count))}
        self._lock = threading.Lock()
        self._finishing = threading.Event()
        self._ended = threading.Event()
        self._again: set[tuple[str, int]] = set()
        self._client = make_client(broker, "talkers", clean_session=True)
        self._client.max_inflight_messages_set(1000)
        self._client.on_connect = lambda client, *_: client.subscribe(f"{PREFIX}/{_SITE}/+/ack", qos=1)
        self._client.on_message = self._on_ack
        self._thread = threading.Thread(target=self._talk, name="talkers", daemon=True)

    def __enter__(self) -> Self:
        start(self._client, self._broker)
        self._thread.start()
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()
        self._client.disconnect()
        self._client.loop_stop()

    @property
    def messages(self) -> int:
        """That they had to say."""
        with self._lock:
            return sum(talker.seq for talker in self._devices.values())

    @property
    def sent_again(self) -> int:
        """Messages that were sent more than once."""
        with self._lock:
            return len(self._again)

    @property
    def unanswered(self) -> int:
        """Messages that have not been acknowledged."""
        with self._lock:
            return sum(len(talker.waiting) for talker in self._devices.values())

    def acknowledged_windows(self) -> dict[str, int]:
        """By device, the highest number of a window that was acknowledged."""
        with self._lock:
            return {name: talker.acknowledged_window for name, talker in self._devices.items()}

    def acknowledged_alerts(self) -> dict[str, int]:
        """By alert, the highest revision that was acknowledged."""
        with self._lock:
            return {key: value for one in self._devices.values() for key, value in one.acknowledged_alerts.items()}

    def alerts(self) -> dict[str, int]:
        """By alert, the last revision."""
        with self._lock:
            return {key: value for talker in self._devices.values() for key, value in talker.alerts.items()}

    def totals(self) -> dict[str, tuple[int, int, int]]:
        """By device: frames, outliers and alerts."""
        with self._lock:
            return {name: talker.totals for name, talker in self._devices.items()}

    def finish(self, seconds: float) -> None:
        """Say nothing new, and send what is unanswered until nothing is, for so long at most."""
        self._finishing.set()
        end = time.monotonic() + seconds
        while self.unanswered and time.monotonic() < end:
            time.sleep(0.05)

    def _talk(self) -> None:
        while not self._ended.wait(_TALK_SECONDS):
            with self._lock:
                due = [message for talker in self._devices.values() for message in self._due(talker)]
            for message in due:
                kind = StreamTopic.ALERT if isinstance(message, AlertMessage) else StreamTopic.WINDOW
                topic = stream_topic(message.site, message.device, message.stream, kind)
                self._client.publish(topic, encode(message), qos=1)

    def _due(self, talker: Talker) -> list[StreamMessage]:
        now = time.monotonic()
        again = [message for message, sent_at in talker.waiting.values() if now - sent_at > RESEND_SECONDS]
        self._again.update((talker.name, message.seq) for message in again)
        silent = self._finishing.is_set() or len(talker.waiting) > MOST_UNANSWERED
        due = [*again, *([] if silent else talker.say())]
        talker.waiting.update((message.seq, (message, now)) for message in due)
        return due

    def _on_ack(self, _client: paho.Client, _data: object, received: paho.MQTTMessage) -> None:
        ack = decode(AckMessage, bytes(received.payload), topic=received.topic)
        talker = self._devices[received.topic.split("/")[-2]]
        with self._lock:
            for seq in ack.seqs:
                talker.acknowledge(seq)
