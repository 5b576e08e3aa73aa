"""Rollouts as a terminal shows them. Whatever devices and bundles say is shown as text, and nothing but text."""

from __future__ import annotations

from datetime import datetime, timezone

from rich.console import Console
from rich.table import Table
from rich.text import Text

from driftprint_server.rollout.model import Status
from driftprint_server.rollout.views import (
    Progress,
    RolloutDetail,
    RolloutsView,
    RolloutView,
    StepView,
    StreamProgress,
)

MOST_MEMBERS = 20
"""Streams shown: those in trouble first."""

_STYLES = {Status.RUNNING: "cyan", Status.STOPPED: "bold red", Status.DONE: "green", Status.SUPERSEDED: "dim"}
_WORDS = {
    Progress.REFUSED: "refused it",
    Progress.ALARMED: "alarmed",
    Progress.RUNNING: "run it",
    Progress.RETURNING: "going back",
    Progress.LEFT: "run something else",
}


def print_all(console: Console, found: RolloutsView) -> None:
    """A line for each rollout."""
    if not found.rollouts:
        console.print("no rollouts so far; begin one: driftprint rollout start BUNDLE")
        return
    table = Table("id", "bundle", "status", "for", "stage", "streams", box=None, header_style="bold")
    for one in found.rollouts:
        table.add_row(
            one.id,
            plain(one.bundle),
            Text("held" if one.held else one.status.value, style=_STYLES[one.status]),
            plain(scope(one)),
            f"{one.percent} %",
            plain(counts(one)),
        )
    console.print(table)


def print_one(console: Console, one: RolloutDetail) -> None:
    """All that is to be known of a rollout."""
    title = Text.assemble((f"{one.bundle}", "bold"), "  ", (one.status.value, _STYLES[one.status]), f"  {one.id}")
    console.print(_without_controls(title))
    for line in (
        f"for {scope(one)}, started by {one.created_by} {moment(one.created_at)}",
        stage(one, one.now),
        counts(one),
        evidence(one),
        f"held since {moment(one.held_since)}: {one.held}" if one.held and one.held_since is not None else "",
        f"stopped: {one.reason}" if one.reason else "",
        f"given to nobody else: {one.problem}" if one.problem else "",
        f"not on the server, so that devices may be unable to go back: {', '.join(one.no_way_back)}"
        if one.no_way_back
        else "",
    ):
        if line:
            console.print(plain(line))
    for member in one.members[:MOST_MEMBERS]:
        console.print(plain(f"  {_member(member)}"))
    if len(one.members) > MOST_MEMBERS:
        console.print(f"  and {one.streams - MOST_MEMBERS:,} more")
    for step in one.history:
        console.print(plain(happened(step)))


def plain(text: str) -> Text:
    """Text of others: no markup of ours, no control sequences of a terminal's."""
    return _without_controls(Text(text))


def scope(one: RolloutView) -> str:
    """Whom a rollout is for."""
    where = "/".join(part for part in (one.site, one.device) if part) or "the whole fleet"
    return f"{where}, streams named {one.stream}" if one.stream else where


def stage(one: RolloutView, now: float) -> str:
    """Where a rollout is among its stages."""
    stages = sorted({*one.stages, one.percent})
    text = f"stage {stages.index(one.percent) + 1} of {len(stages)}: {one.percent} % of the devices"
    if one.status is not Status.RUNNING:
        return text
    if one.held:
        return f"{text}, held: {one.held}"
    if one.settled_at is None:
        return f"{text}, waiting for those that are online"
    left = one.settled_at + one.soak_seconds - now
    return f"{text}, {left:.0f} s more" if left > 0 else f"{text}, about to go on"


def counts(one: RolloutView) -> str:
    """How many streams are how far."""
    return ", ".join(f"{number:,} {_WORDS.get(progress, progress.value)}" for progress, number in one.progress.items())


def following(one: RolloutView) -> int:
    """How many streams run the bundle."""
    return sum(one.progress.get(progress, 0) for progress in (Progress.RUNNING, Progress.ALARMED))


def evidence(one: RolloutView) -> str:
    """What speaks against the bundle; empty where nobody has looked yet."""
    if one.evidence is None:
        return ""
    found = one.evidence
    return (
        f"evidence toward a stop: {found.toward_stop:.0%}; {found.new_alarms} alarms in {found.new_frames:,} frames, "
        f"{found.old_alarms} in {found.old_frames:,} with other bundles"
    )


def happened(step: StepView) -> str:
    """A line about something that has happened."""
    return f"{moment(step.at)}  {step.who}: {step.action}{f', {step.detail}' if step.detail else ''}"


def moment(at: float) -> str:
    """A time by the server's clock."""
    return datetime.fromtimestamp(at, timezone.utc).strftime("%Y-%m-%d %H:%M:%S UTC")


def _member(member: StreamProgress) -> str:
    alarms = f", {member.alarms} alarms" if member.alarms else ""
    away = "" if member.online else ", not online"
    error = f": {member.error}" if member.error else ""
    name = f"{member.site}/{member.device}/{member.stream}"
    return f"{member.progress.value:9} {name} runs {member.bundle or 'nothing known'}{alarms}{away}{error}"


def _without_controls(text: Text) -> Text:
    text.plain = "".join(sign if sign.isprintable() else "\ufffd" for sign in text.plain)
    return text
