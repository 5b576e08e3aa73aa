"""Runs the score command and the agent somewhere, over the same frames."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from pydantic import BaseModel

from bench.arm.frames import write_frames
from bench.arm.listener import Listener
from bench.arm.places import Place
from bench.arm.programs import call
from bench.arm.scores import Scored, read_scores
from driftprint.errors import DriftprintError
from driftprint.messages import AlertMessage, AlertStatus, Cause, WindowMessage
from driftprint.mqtt import MqttSettings

BUNDLE = "digits"
FRAMES_PER_FALSE_ALARM = 10_000

_FRAMES, _SCORES, _CONFIG, _STORE = "frames.npz", "scores.csv", "agent.toml", "agent.db"


class AgentRun(BaseModel):
    """What an agent has said by the time it ended.

    Attributes:
        frames: scored.
        outliers: of these.
        faults: frames that could not be scored.
        alarm_at: the frame, counted from 1, that raised the alert of drift; None where there was none.
        unacknowledged: messages that it still had when it ended.
        seconds_per_frame: of its loop, start-up left out.
    """

    frames: int
    outliers: int
    faults: int
    alarm_at: int | None
    unacknowledged: int
    seconds_per_frame: float


def run(place: Place, broker: MqttSettings, log: Path) -> tuple[list[Scored], AgentRun]:
    """Score the frames, then let a new agent see them once, to its own end.

    Both load the bundle, which replays its golden frames and is refused where one differs.

    Args:
        place: where they run.
        broker: where the agent reports to.
        log: takes what they write.

    Raises:
        DriftprintError: where one of them fails, or the agent says nothing.
    """
    place.folder.mkdir(parents=True, exist_ok=True)
    write_frames(place.folder / _FRAMES)
    return _score(place, log), _run_agent(place, broker, log)


def _score(place: Place, log: Path) -> list[Scored]:
    out = ("--out", str(place.inside / _SCORES))
    call((*place.driftprint, "score", BUNDLE, str(place.inside / _FRAMES), *out), log, environment=place.environment)
    with (place.folder / _SCORES).open(newline="") as lines:
        return read_scores(lines)


def _run_agent(place: Place, broker: MqttSettings, log: Path) -> AgentRun:
    for old in place.folder.glob(f"{_STORE}*"):
        old.unlink()
    (place.folder / _CONFIG).write_text(_config(place.inside, broker))
    with Listener(broker) as listener:
        call((*place.driftprint, "agent", "--config", str(place.inside / _CONFIG)), log, environment=place.environment)
        return summarise(listener.windows, listener.alerts, unacknowledged=_outbox(place.folder / _STORE))


def summarise(windows: Sequence[WindowMessage], alerts: Sequence[AlertMessage], *, unacknowledged: int) -> AgentRun:
    """An agent's run, by its messages.

    Args:
        windows: all of them, in any order, any number of times.
        alerts: all of them, likewise.
        unacknowledged: messages left in its outbox.

    Raises:
        DriftprintError: where there is no window.
    """
    if not windows:
        raise DriftprintError("sent no window", where="the agent")
    in_order = sorted(windows, key=lambda window: window.seq)
    last = in_order[-1]
    raised = [
        alert.frames_total for alert in alerts if (alert.cause, alert.status) == (Cause.DRIFT, AlertStatus.RAISED)
    ]
    seconds, before = 0.0, 0
    for window in in_order:
        if window.frames_per_second:
            seconds += (window.frames_total - before) / window.frames_per_second
        before = window.frames_total
    return AgentRun(
        frames=last.frames_total,
        outliers=last.outliers_total,
        faults=sum(last.faults_total.values()),
        alarm_at=min(raised, default=None),
        unacknowledged=unacknowledged,
        seconds_per_frame=round(seconds / max(last.frames_total, 1), 4),
    )


def _config(folder: Path, broker: MqttSettings) -> str:
    return (
        'site = "bench"\ndevice = "arm"\n\n'
        f'[mqtt]\nhost = "{broker.host}"\nport = {broker.port}\n\n'
        f'[store]\npath = "{folder / _STORE}"\n\n'
        f'[[stream]]\nname = "camera"\nbundle = "{BUNDLE}"\nreport_seconds = 0.5\n'
        f"frames_per_false_alarm = {FRAMES_PER_FALSE_ALARM}\n\n"
        f'[stream.source]\nkind = "replay"\npath = "{folder / _FRAMES}"\nrepeat = false\nframes_per_second = 1000\n'
    )


def _outbox(store: Path) -> int:
    with closing(sqlite3.connect(store)) as database:
        return int(database.execute("SELECT count(*) FROM outbox").fetchone()[0])
