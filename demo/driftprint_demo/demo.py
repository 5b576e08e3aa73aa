"""Puts the demo together: broker, server and agents as processes, and a terminal that watches them."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.live import Live

from driftprint.clock import Clock
from driftprint.errors import MissingExtraError
from driftprint.messages import AlertMessage, AlertStatus
from driftprint.mqtt import MqttSettings
from driftprint_demo import screen
from driftprint_demo.processes import Process, free_port
from driftprint_demo.scenes import FRAMES_PER_SECOND, Scene, make_scenes, write_frames
from driftprint_demo.verdict import conclude, judge
from driftprint_demo.watch import AlertSubscriber, DeviceRow, read_fleet

BUNDLE = "digits"
_HTTP_PORT = 8466
_LOOK_SECONDS = 0.25
_SEED = 1


class Demo:
    """The demo.

    Args:
        folder: takes frames, settings, stores and logs.
        http_port: of the server's page; None for 8466, or any where that is taken.
        mqtt_port: of the broker; None for any.
        console: where to show it.
        clock: times it.

    Raises:
        DriftprintError: where a port is taken, or a package is missing.
    """

    def __init__(
        self, folder: Path, *, http_port: int | None, mqtt_port: int | None, console: Console, clock: Clock
    ) -> None:
        self._folder = folder
        self._console = console
        self._clock = clock
        self._http_port = free_port(http_port or _HTTP_PORT, else_any=http_port is None)
        self._mqtt = MqttSettings(host="127.0.0.1", port=free_port(mqtt_port, else_any=mqtt_port is None))
        self._page = f"http://127.0.0.1:{self._http_port}"

    def run(self, *, once: bool) -> str | None:
        """Show it.

        Args:
            once: end by itself, when all was shown or the time is up. Otherwise it goes on until Ctrl-C.

        Returns:
            Why the demo has failed, or None.
        """
        start = self._clock.now().monotonic
        with self._console.status("cutting the frames ..."):
            scenes = make_scenes(np.random.default_rng(_SEED))
            for scene in scenes:
                write_frames(scene.frames, self._folder / "frames" / scene.device)
        with self._parts(scenes) as (processes, subscriber):
            screen.welcome(self._console, page=self._page, mqtt_port=self._mqtt.port, once=once)
            try:
                return self._watch(scenes, processes, subscriber, start=start, once=once)
            except KeyboardInterrupt:
                if once:
                    raise
                return None

    def _watch(
        self,
        scenes: tuple[Scene, ...],
        processes: list[Process],
        subscriber: AlertSubscriber,
        *,
        start: float,
        once: bool,
    ) -> str | None:
        alerts: list[AlertMessage] = []
        fleet: dict[str, DeviceRow] = {}
        running = list(processes)
        pause = threading.Event()
        with Live(console=self._console, auto_refresh=False) as live:
            while True:
                fleet = read_fleet(self._page) or fleet
                seconds = self._clock.now().monotonic - start
                for alert in subscriber.take():
                    alerts.append(alert.message)
                    if alert.message.status is not AlertStatus.UPDATED:
                        self._console.print(screen.alert_panel(alert))
                live.update(screen.fleet_table(scenes, fleet, seconds), refresh=True)
                ended = {process: process.failure for process in running if process.failure is not None}
                for process, failure in ended.items():
                    self._console.print(f"[yellow]{failure}[/]")
                    running.remove(process)
                if once and (
                    conclusion := conclude(
                        judge(scenes, alerts, fleet), ended=next(iter(ended.values()), None), seconds=seconds
                    )
                ):
                    if conclusion.failure is None:
                        self._console.print("[bold green]Both changes were reported, and there was no false alarm.[/]")
                    return conclusion.failure
                pause.wait(_LOOK_SECONDS)

    @contextlib.contextmanager
    def _parts(self, scenes: tuple[Scene, ...]) -> Iterator[tuple[list[Process], AlertSubscriber]]:
        """Broker, server, agents and a subscriber, for as long as the context lasts."""
        with contextlib.ExitStack() as stack:
            stack.enter_context(self._broker())
            subscriber = AlertSubscriber(self._mqtt)
            subscriber.start()
            stack.callback(subscriber.stop)
            processes = [self._server(), *(self._agent(scene) for scene in scenes)]
            for process in processes:
                stack.callback(process.end)
            for process in processes:
                stack.callback(process.ask_to_end)
            yield processes, subscriber

    def _broker(self) -> contextlib.AbstractContextManager[object]:
        try:
            from iotcore import Broker
        except ImportError:
            raise MissingExtraError("the demo's MQTT broker comes with the package iotcore", extra="demo") from None
        broker: contextlib.AbstractContextManager[object] = Broker(
            port=self._mqtt.port, listen=self._mqtt.host, max_payload_size=2**20
        )
        return broker

    def _server(self) -> Process:
        config = self._folder / "server.toml"
        config.write_text(
            f'[mqtt]\nhost = "{self._mqtt.host}"\nport = {self._mqtt.port}\n\n'
            f"[http]\nport = {self._http_port}\n\n"
            f'[store]\npath = "{self._folder / "server.db"}"\n\n'
            "[access]\nlogin = false\n"
        )
        return Process("the server", ["server", "--config", str(config)], self._folder / "server.log")

    def _agent(self, scene: Scene) -> Process:
        config = self._folder / f"agent-{scene.device}.toml"
        config.write_text(
            f'site = "demo"\ndevice = "{scene.device}"\n\n'
            f'[mqtt]\nhost = "{self._mqtt.host}"\nport = {self._mqtt.port}\n\n'
            f'[store]\npath = "{self._folder / f"agent-{scene.device}.db"}"\n\n'
            f'[[stream]]\nname = "camera"\nbundle = "{BUNDLE}"\nreport_seconds = 0.5\n\n'
            "[stream.source]\n"
            f'path = "{self._folder / "frames" / scene.device}"\n'
            f"frames_per_second = {FRAMES_PER_SECOND}\n\n"
            "[stream.decision]\ncool_down_seconds = 5\n"
        )
        name = f"the agent of {scene.device}"
        return Process(name, ["agent", "--config", str(config)], self._folder / f"agent-{scene.device}.log")
