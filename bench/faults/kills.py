"""``python -m bench.faults.kills``: the agent killed at random moments, and the broker; is anything lost?

Truth is the agent's log, which speaks of an alert only once it is committed, and its store. What the witness has heard
must come to the same once both have had time, duplicates folded.
"""

from __future__ import annotations

import json
import secrets
import sqlite3
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from enum import Enum
from pathlib import Path
from random import Random
from typing import Annotated, Any

import numpy as np
import typer
from pydantic import BaseModel
from rich.progress import track

from bench.faults.proxy import SlowProxy
from bench.faults.witness import Witness
from bench.programs import Broker, Program, free_port
from bench.quoting import quote
from driftprint.digits import Part, load_digits
from driftprint.mqtt import MqttSettings

LONGEST_LIFE = 3.0
"""Seconds from a start of the agent to its end, at most; it may be killed before it has begun."""

SETTLE_SECONDS = 60.0
"""At the end both may take so long to agree."""


class Link(str, Enum):
    """How the broker is while the agent runs."""

    UP = "up"
    DOWN = "down"
    SLOW = "slow"


class Outcome(BaseModel):
    """What came of it.

    Attributes:
        scenario: what was killed.
        kills: how often.
        failed_starts: starts of the agent that ended by themselves.
        alerts: that were committed, by the log.
        lost: of those, what never came.
        different: alerts of which the witness knows another last status than the log.
        duplicates: messages that came more than once.
        totals_equal: whether the last window that came has the store's totals.
    """

    scenario: str
    kills: int
    failed_starts: int
    alerts: int
    lost: int
    different: int
    duplicates: int
    totals_equal: bool


class Agent(Program):
    """``driftprint agent`` on frames that raise and clear alerts all the time.

    Args:
        folder: for its settings, frames, store and log.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__("agent", folder)
        digits = load_digits(Part.DEMO).frames[:300]
        odd = np.random.default_rng(0).integers(0, 256, (30, *digits.shape[1:]), dtype=np.uint8)
        np.savez(folder / "frames.npz", x=np.concatenate([digits, odd]))

    def report_to(self, port: int) -> None:
        """Start it; it reports to this port."""
        self.config.write_text(
            "device = 'bench'\nhealth_seconds = 1\n"
            f"[mqtt]\nhost = '127.0.0.1'\nport = {port}\nkeepalive_seconds = 5\n"
            f"[store]\npath = '{self.folder}/agent.db'\n[evidence]\nframes = 0\n"
            "[[stream]]\nname = 'camera'\nbundle = 'digits'\nreport_seconds = 0.2\nframes_per_false_alarm = 10000\n"
            f"[stream.source]\npath = '{self.folder}/frames.npz'\nframes_per_second = 500\n"
            "[stream.decision]\nupdate_seconds = 0.5\ncool_down_seconds = 0\n"
        )
        self.start()

    def committed(self) -> dict[str, str]:
        """The alerts that the log speaks of, each with its last status."""
        found = {}
        for line in self.log.read_text().splitlines():
            with suppress(ValueError):  # the line that a kill has cut short
                entry: dict[str, Any] = json.loads(line)
                if entry.get("event") == "alert":
                    found[entry["alert_id"]] = entry["status"]
        return found

    def store(self, query: str) -> list[tuple[Any, ...]]:
        """Ask the store of an agent that has ended."""
        database = sqlite3.connect(f"file:{self.folder}/agent.db?mode=ro", uri=True)
        try:
            return database.execute(query).fetchall()
        finally:
            database.close()


def kill_agents(kills: int, random: Random, progress: Callable[[range], Any]) -> Outcome:
    """Kill the agent at random moments, with the broker up, down and slow in turns."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        broker, agent = Broker(folder, free_port()), Agent(folder)
        broker.start()
        slow = SlowProxy(broker.port)
        with Witness(MqttSettings(host="127.0.0.1", port=broker.port)) as witness:
            for i in progress(range(kills)):
                link = list(Link)[i % len(Link)]
                if link is Link.DOWN:
                    broker.kill()
                agent.report_to(slow.port if link is Link.SLOW else broker.port)
                time.sleep(random.uniform(0, LONGEST_LIFE))
                agent.kill()
                if link is Link.DOWN:
                    broker.start()
            outcome = _settle("SIGKILL of the agent", kills, agent, broker, witness)
        slow.close()
        broker.kill()
        return outcome


def kill_brokers(kills: int, random: Random, progress: Callable[[range], Any]) -> Outcome:
    """Kill the broker at random moments, with messages on their way."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        broker, agent = Broker(folder, free_port()), Agent(folder)
        broker.start()
        with Witness(MqttSettings(host="127.0.0.1", port=broker.port)) as witness:
            agent.report_to(broker.port)
            for _ in progress(range(kills)):
                time.sleep(random.uniform(0.5, LONGEST_LIFE))
                broker.kill()
                broker.start()
            agent.stop()
            outcome = _settle("SIGKILL of the broker", kills, agent, broker, witness)
        broker.kill()
        return outcome


def _settle(scenario: str, kills: int, agent: Agent, broker: Broker, witness: Witness) -> Outcome:
    """Let a last agent send what is left, and hold what came against what was committed."""
    began = time.time()
    agent.report_to(broker.port)
    end = time.monotonic() + SETTLE_SECONDS
    committed = agent.committed()

    def settled() -> bool:
        """It runs, as its own word tells, and what the others had committed has come."""
        last = witness.window
        return last is not None and last.recorded_at > began and committed.keys() <= witness.alerts.keys()

    while time.monotonic() < end and not settled():
        time.sleep(0.2)
    agent.stop()
    # What was on its way when it stopped is in the outbox still; nothing more comes now.
    waiting = [json.loads(payload) for (payload,) in agent.store("SELECT payload FROM outbox ORDER BY seq")]
    unsent = {message["alert_id"] for message in waiting if "alert_id" in message}
    newest = max((message["frames_total"] for message in waiting if "windows" in message), default=0)
    total = max(newest, 0 if witness.window is None else witness.window.frames_total)
    [(state,)] = agent.store("SELECT state FROM stream")
    committed = agent.committed()
    heard = {alert_id: alert.status.value for alert_id, alert in witness.alerts.items()}
    different = [id_ for id_ in committed.keys() & heard.keys() - unsent if heard[id_] != committed[id_]]
    return Outcome(
        scenario=scenario,
        kills=kills,
        failed_starts=agent.failed_starts,
        alerts=len(committed),
        lost=len(committed.keys() - heard.keys() - unsent),
        different=len(different),
        duplicates=sum(count > 1 for count in witness.received.values()),
        totals_equal=json.loads(state)["decider"]["frames_total"] == total,
    )


def table(outcomes: list[Outcome]) -> str:
    """As Markdown."""
    lines = [
        "| what was killed | times | failed starts | alerts committed | lost | different | came twice | totals |",
        "|---|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {one.scenario} | {one.kills} | **{one.failed_starts}** | {one.alerts} | **{one.lost}** "
        f"| **{one.different}** | {one.duplicates} | {'equal' if one.totals_equal else 'not equal'} |"
        for one in outcomes
    ]
    return "\n".join(lines) + "\n"


def main(
    out: Annotated[Path, typer.Option(help="The JSON file to write.")] = Path("bench/results/faults_kills.json"),
    agents: Annotated[int, typer.Option(help="How often to kill the agent.", min=1)] = 200,
    brokers: Annotated[int, typer.Option(help="How often to kill the broker.", min=1)] = 50,
    quoted: Annotated[bool, typer.Option(help="Put the table into docs/reliability.md.")] = True,
    seed: Annotated[int | None, typer.Option(help="Of the moments; without it others each time.")] = None,
) -> None:
    """Kill the agent, then the broker, at random moments. About ten minutes."""
    random = Random(secrets.randbits(32) if seed is None else seed)
    outcomes = [
        kill_agents(agents, random, lambda rounds: track(rounds, "killing the agent")),
        kill_brokers(brokers, random, lambda rounds: track(rounds, "killing the broker")),
    ]
    out.write_text(json.dumps([one.model_dump() for one in outcomes], indent=1) + "\n")
    if quoted:
        quote(table(outcomes), Path("docs/reliability.md"), "kills")
    print(table(outcomes))


if __name__ == "__main__":
    typer.run(main)
