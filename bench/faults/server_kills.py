"""``python -m bench.faults.server_kills``: the server killed at random moments, with a fleet talking to it; is anything
lost?

The devices forget a message once the server has acknowledged it, so what was acknowledged must be in its store after
every kill; and in the end its metrics must show the devices' own totals, and its store each alert's last word.
"""

from __future__ import annotations

import json
import secrets
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from random import Random
from typing import Annotated, Any

import typer
from pydantic import BaseModel
from rich.progress import track

from bench.faults.talkers import Talkers
from bench.programs import Broker, Server, free_port
from bench.quoting import quote
from driftprint.mqtt import MqttSettings
from driftprint_server.device import Device
from driftprint_server.store import Store

LONGEST_LIFE = 5.0
"""Seconds from a start of the server to its end, at most; it may be killed before it serves."""

SETTLE_SECONDS = 120.0
"""In the end it may take so long to acknowledge all that the devices still have."""

TOTALS = ("driftprint_frames_total", "driftprint_outlier_frames_total", "driftprint_alerts_total")


class Outcome(BaseModel):
    """What came of it.

    Attributes:
        kills: how often the server was killed.
        failed_starts: starts of the server that ended by themselves.
        devices: that talked to it.
        messages: that they had to say.
        sent_again: that were sent more than once.
        alerts: among them; each with its revisions.
        lost: that were acknowledged and were not in the store after a kill, all kills together.
        unanswered: that were never acknowledged.
        different_alerts: alerts of which the store has another last word, or none.
        different_totals: totals in the metrics that are not the devices'.
    """

    kills: int
    failed_starts: int
    devices: int
    messages: int
    sent_again: int
    alerts: int
    lost: int
    unanswered: int
    different_alerts: int
    different_totals: int


class ServerUnderTest(Server):
    """``driftprint server`` with its store."""

    def stored(self) -> list[Device]:
        """What the store of a server that is dead has of all devices."""
        store = Store(self.store)
        try:
            return store.load()
        finally:
            store.close()

    def totals(self) -> dict[tuple[str, str], float]:
        """What the metrics say: by family and device."""
        lines = self.get("/metrics").decode().splitlines()
        found = {}
        for line in lines:
            name, _, rest = line.partition("{")
            if name in TOTALS:
                labels, _, value = rest.rpartition("} ")
                (device,) = [part[8:-1] for part in labels.split(",") if part.startswith('device="')]
                found[name, device] = float(value)
        return found


def kill_servers(kills: int, devices: int, random: Random, progress: Callable[[range], Iterable[Any]]) -> Outcome:
    """Kill the server at random moments while so many devices talk to it."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        broker = Broker(folder, free_port())
        broker.start()
        server = ServerUnderTest(folder, broker.port)
        lost = 0
        try:
            with Talkers(MqttSettings(host="127.0.0.1", port=broker.port), devices) as talkers:
                for _ in progress(range(kills)):
                    server.start()
                    time.sleep(random.uniform(0, LONGEST_LIFE))
                    server.kill()
                    lost += lost_of(talkers, server.stored())
                server.start_healthy()
                talkers.finish(SETTLE_SECONDS)
                totals = server.totals()
                server.kill()
                return _outcome(kills, server, talkers, totals, lost)
        finally:
            server.kill()
            broker.kill()


def lost_of(talkers: Talkers, stored: Iterable[Device]) -> int:
    """How many devices and alerts the store is behind what has been acknowledged to them."""
    known = {device.name: device for device in stored}
    lost = 0
    for name, seq in talkers.acknowledged_windows().items():
        streams = known[name].streams.values() if name in known else ()
        lost += max((stream.window.message.seq for stream in streams if stream.window is not None), default=0) < seq
    revisions = _revisions(known.values())
    return lost + sum(
        revisions.get(alert_id, -1) < revision for alert_id, revision in talkers.acknowledged_alerts().items()
    )


def _revisions(devices: Iterable[Device]) -> dict[str, int]:
    return {
        alert_id: alert.message.revision
        for device in devices
        for stream in device.streams.values()
        for alert_id, alert in stream.alerts.items()
    }


def _outcome(
    kills: int, server: ServerUnderTest, talkers: Talkers, totals: dict[tuple[str, str], float], lost: int
) -> Outcome:
    expected = {
        (name, device): float(total)
        for device, of_device in talkers.totals().items()
        for name, total in zip(TOTALS, of_device, strict=True)
    }
    revisions, said = _revisions(server.stored()), talkers.alerts()
    return Outcome(
        kills=kills,
        failed_starts=server.failed_starts,
        devices=len(talkers.totals()),
        messages=talkers.messages,
        sent_again=talkers.sent_again,
        alerts=len(said),
        lost=lost,
        unanswered=talkers.unanswered,
        different_alerts=sum(revisions.get(alert_id) != revision for alert_id, revision in said.items()),
        different_totals=sum(totals.get(key) != total for key, total in expected.items()),
    )


def table(one: Outcome) -> str:
    """As Markdown."""
    return "\n".join(
        [
            "| SIGKILL of the server | failed starts | devices | messages | sent again | acknowledged and lost "
            "| never acknowledged | alerts | different alerts | different totals |",
            "|---|---|---|---|---|---|---|---|---|---|",
            f"| {one.kills} | **{one.failed_starts}** | {one.devices} | {one.messages} | {one.sent_again} "
            f"| **{one.lost}** | **{one.unanswered}** | {one.alerts} | **{one.different_alerts}** "
            f"| **{one.different_totals}** |",
            "",
        ]
    )


def main(
    out: Annotated[Path, typer.Option(help="The JSON file to write.")] = Path("bench/results/faults_server_kills.json"),
    kills: Annotated[int, typer.Option(help="How often to kill the server.", min=1)] = 50,
    devices: Annotated[int, typer.Option(help="That talk to it.", min=1)] = 200,
    quoted: Annotated[bool, typer.Option(help="Put the table into docs/reliability.md.")] = True,
    seed: Annotated[int | None, typer.Option(help="Of the moments; without it others each time.")] = None,
) -> None:
    """Kill the server at random moments, under load. About five minutes."""
    random = Random(secrets.randbits(32) if seed is None else seed)
    outcome = kill_servers(kills, devices, random, lambda rounds: track(rounds, "killing the server"))
    out.write_text(json.dumps(outcome.model_dump(), indent=1) + "\n")
    if quoted:
        quote(table(outcome), Path("docs/reliability.md"), "server_kills")
    print(table(outcome))


if __name__ == "__main__":
    typer.run(main)
