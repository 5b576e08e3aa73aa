"""What the demo shows in the terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.console import Console, Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from driftprint.messages import AlertStatus
from driftprint_demo.scenes import Scene
from driftprint_demo.watch import DeviceRow, ReceivedAlert

_BAR_CELLS = 8
_ALERT_STYLES = {AlertStatus.RAISED: "bold red", AlertStatus.UPDATED: "yellow", AlertStatus.CLEARED: "bold green"}


def welcome(console: Console, *, page: str, mqtt_port: int, once: bool) -> None:
    """Say where to look."""
    console.print(f"[bold]page[/]      {page}/")
    console.print(f"[bold]metrics[/]   {page}/metrics")
    console.print(f"[bold]MQTT[/]      mosquitto_sub -h 127.0.0.1 -p {mqtt_port} -v -t 'driftprint/v1/#'")
    if not once:
        console.print("[dim]Ctrl-C ends the demo.[/]")
    console.print()


def fleet_table(scenes: Sequence[Scene], fleet: Mapping[str, DeviceRow], seconds: float) -> RenderableType:
    """The devices as the server knows them.

    Args:
        scenes: what the devices see.
        fleet: the server's view, by device.
        seconds: since the start.
    """
    table = Table(
        title=f"the fleet after {seconds:.0f} s",
        title_justify="left",
        caption="outlier ratio of the last 100 frames; inliers stay near 5 %",
        caption_justify="left",
    )
    for heading in ("device", "sees", "state"):
        table.add_column(heading)
    for heading in ("frames", "per s"):
        table.add_column(heading, justify="right")
    table.add_column("outlier ratio")
    for scene in scenes:
        row = fleet.get(scene.device)
        stream = row.stream if row else None
        table.add_row(
            scene.device,
            scene.about,
            _state(row),
            str(stream.frames_total) if stream else "",
            f"{stream.frames_per_second:.0f}" if stream and stream.frames_per_second is not None else "",
            _bar(stream.outlier_ratio) if stream and stream.outlier_ratio is not None else "",
        )
    return table


def alert_panel(alert: ReceivedAlert) -> RenderableType:
    """An alert as a subscriber receives it."""
    message = alert.message
    payload = Text(alert.payload, style="dim", overflow="fold")
    return Panel(
        Group(Text(message.summary), payload),
        title=Text(f"{message.device}: alert {message.status.value}", style=_ALERT_STYLES[message.status]),
        subtitle=Text(alert.topic, style="dim"),
        title_align="left",
        subtitle_align="left",
        border_style=_ALERT_STYLES[message.status],
    )


def _state(row: DeviceRow | None) -> Text:
    if row is None:
        return Text("starting", style="dim")
    if row.stream is not None and row.stream.alarm:
        return Text(f"{row.state}, ALERT", style="bold red")
    return Text(row.state, style="green" if row.state == "online" else "yellow")


def _bar(ratio: float) -> Text:
    cells = round(ratio * _BAR_CELLS)
    style = "red" if ratio > 0.2 else "green"
    return Text("█" * cells, style=style) + Text("·" * (_BAR_CELLS - cells), style="dim") + Text(f" {ratio:4.0%}")
