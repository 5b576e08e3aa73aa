"""Devices that talk to a real server over a real broker, and run what they are told to."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

from driftprint.messages import (
    AckMessage,
    BundleRef,
    CommandMessage,
    DeviceMessage,
    DeviceStatus,
    WindowMessage,
    decode,
    encode,
)
from driftprint.topics import PREFIX, DeviceTopic, parse
from driftprint_server.rollout.bundles import parse_id
from driftprint_server.rollout.model import BundleId
from tests.brokers import Mosquitto, wait_for
from tests.bundles import make_bundle
from tests.server.messages import health, state, topic_of, window
from tests.server.processes import ServerProcess
from tests.server.rollout.fleets import TOY1, TOY2, TOY3, Totals

DEVICES = tuple(f"pi-{number}" for number in range(10))
_SAID_AGAIN_SECONDS = 1.0


class Devices:
    """Ten devices of one site that run the first version, each with a million frames behind it.

    As real ones do, they go on reporting, and send a window again until the server has acknowledged it.

    Args:
        broker: where they report, and are told.
    """

    def __init__(self, broker: Mosquitto) -> None:
        self.follow = True
        """Whether they run what they are told to."""
        self.alarmed: set[str] = set()
        """Those that are in alarm."""
        self._heard: dict[str, list[str]] = {device: [] for device in DEVICES}
        self._totals = {device: Totals() for device in DEVICES}
        self._unacknowledged: dict[tuple[str, int], WindowMessage] = {}
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._client = paho.Client(CallbackAPIVersion.VERSION2, client_id="devices")
        self._client.on_message = self._on_message
        self._client.connect(broker.host, broker.port)
        self._client.loop_start()
        self._client.subscribe([(f"{PREFIX}/+/+/{kind.value}", 1) for kind in (DeviceTopic.COMMAND, DeviceTopic.ACK)])
        for device in DEVICES:
            self._say(state(DeviceStatus.ONLINE, device=device), retain=True)
            self.report(device)
        self._repeater = threading.Thread(target=self._repeat)
        self._repeater.start()

    def report(self, *devices: str, frames: int = 1000, alarms: int = 0) -> None:
        """Send the next windows, after so many more frames and alarms."""
        for device in devices or DEVICES:
            with self._lock:
                totals = self._totals[device]
                totals.frames += frames
                totals.alarms += alarms
                totals.seq += 1
                bundle = BundleRef(name=totals.bundle.name, version=totals.bundle.version)
                numbers: dict[str, Any] = {"frames_total": totals.frames, "alerts_total": totals.alarms}
                message = window(totals.seq, device=device, bundle=bundle, alarm=device in self.alarmed, **numbers)
                self._unacknowledged[device, totals.seq] = message
            self._say(message)
            self._say(health(device=device, bundle_errors={}))

    def run(self, device: str, bundle: BundleId) -> None:
        """Have a device run a bundle, and say so."""
        self._totals[device].bundle = bundle
        self.report(device)

    def told(self, device: str) -> list[str]:
        """What a device has been told, the same again left out: ``toy-2``, ``back to toy-1``, or ``nothing``."""
        return [said for said, _ in groupby(self._heard[device])]

    def told_anything(self) -> set[str]:
        """The devices that have ever been told something."""
        return {device for device in DEVICES if self._heard[device]}

    def runs(self) -> dict[str, BundleId]:
        """What each runs."""
        return {device: totals.bundle for device, totals in self._totals.items()}

    def close(self) -> None:
        self._closed.set()
        self._repeater.join()
        self._client.disconnect()
        self._client.loop_stop()

    def _say(self, message: DeviceMessage, *, retain: bool = False) -> None:
        self._client.publish(topic_of(message), encode(message), qos=1, retain=retain)

    def _repeat(self) -> None:
        while not self._closed.wait(_SAID_AGAIN_SECONDS):
            with self._lock:
                again = list(self._unacknowledged.values())
            for message in again:
                self._say(message)
            self.report(frames=100)

    def _on_message(self, _client: object, _data: object, received: paho.MQTTMessage) -> None:
        address = parse(received.topic)
        device = address.device
        if address.kind is DeviceTopic.ACK:
            acknowledged = decode(AckMessage, bytes(received.payload), topic=received.topic).seqs
            with self._lock:
                for seq in acknowledged:
                    self._unacknowledged.pop((device, seq), None)
            return
        if not received.payload:
            self._heard[device].append("nothing")
            return
        wanted = decode(CommandMessage, bytes(received.payload), topic=received.topic).wanted["belt"]
        name = f"{wanted.name}-{wanted.version}"
        self._heard[device].append(f"back to {name}" if wanted.back else name)
        bundle = parse_id(name)
        if self.follow and bundle is not None and bundle != self._totals[device].bundle:
            self.run(device, bundle)


@contextmanager
def fleet(
    folder: Path, broker: Mosquitto, *, settings: Mapping[str, str] | None = None, **options: Any
) -> Iterator[tuple[ServerProcess, Devices]]:
    """A running server with three versions of a bundle, which knows ten devices.

    Args:
        folder: for everything.
        broker: between them.
        settings: further ones of the server's.
        options: of `ServerProcess`.
    """
    bundles = folder / "bundles"
    bundles.mkdir()
    for bundle in (TOY1, TOY2, TOY3):
        make_bundle(bundles / f"{bundle}.driftprint", version=bundle.version, zipped=True)
    rollout = f"bundles = '{bundles}'\ntick_seconds = 0.3\nrefused_after_seconds = 1"
    server = ServerProcess(folder, broker.port, settings={**(settings or {}), "rollout": rollout}, **options)
    server.start()
    devices = Devices(broker)
    try:
        wait_for(lambda: server.metric('driftprint_server_devices{state="online"}') == 10, what="all ten devices")
        yield server, devices
    finally:
        server.kill()
        devices.close()
