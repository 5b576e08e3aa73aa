"""Watches a rollout from a terminal, or from a script, until it is over."""

from __future__ import annotations

from collections.abc import Callable

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn
from rich.table import Column

from driftprint_server.rollout.client import AwayError, RolloutClient
from driftprint_server.rollout.model import Status
from driftprint_server.rollout.shown import counts, evidence, following, happened, plain, stage
from driftprint_server.rollout.views import RolloutDetail

PACE_SECONDS = 2.0

_BAR_WIDTH = 16


def watch(
    client: RolloutClient,
    rollout_id: str,
    *,
    console: Console,
    wait: Callable[[float], object],
) -> RolloutDetail:
    """Show how a rollout goes on until it is running no more. A server that is away meanwhile is waited for.

    Args:
        client: asks the server.
        rollout_id: of which.
        console: a terminal gets bars; anything else a line whenever something has changed.
        wait: sleeps for so many seconds.

    Returns:
        The rollout at its end.

    Raises:
        RefusedError: where there is none, or we may not see it.
    """
    shown, told, away = 0, "", False
    with _Bars(console) as bars:
        while True:
            try:
                found = client.get(rollout_id)
            except AwayError as error:
                if not away:
                    console.print(plain(f"{error}; trying again"))
                away = True
                wait(PACE_SECONDS)
                continue
            away = False
            for step in found.history[shown:]:
                console.print(plain(happened(step)))
            shown = len(found.history)
            bars.show(found)
            if (said := _said(found)) != told:
                told = said
                if not console.is_terminal:
                    console.print(plain(told))
            if found.status is not Status.RUNNING:
                return found
            wait(PACE_SECONDS)


def _said(found: RolloutDetail) -> str:
    return f"{counts(found)}; held: {found.held}" if found.held else counts(found)


class _Bars:
    """Stage, streams and evidence, each a bar, at a terminal's foot."""

    def __init__(self, console: Console) -> None:
        self._progress = Progress(
            BarColumn(bar_width=_BAR_WIDTH, table_column=Column(width=_BAR_WIDTH, no_wrap=True)),
            TextColumn("{task.description}", markup=False, table_column=Column(ratio=1, no_wrap=True)),
            console=console,
            expand=True,
            transient=True,
            disable=not console.is_terminal,
        )
        self._tasks = [self._progress.add_task("", total=1.0) for _ in range(3)]

    def __enter__(self) -> _Bars:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def show(self, found: RolloutDetail) -> None:
        against = 0.0 if found.evidence is None else found.evidence.toward_stop
        shares = (found.percent / 100, following(found) / max(1, found.streams), against)
        texts = (stage(found, found.now), counts(found), evidence(found) or "no evidence yet")
        for task, share, text in zip(self._tasks, shares, texts, strict=True):
            self._progress.update(task, completed=share, description=plain(text).plain)
