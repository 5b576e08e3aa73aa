"""What the bench found, as JSON and as Markdown."""

from __future__ import annotations

from pydantic import BaseModel

FEW, MANY = 1_000, 100_000
"""Devices."""
FAKE, REAL = "windows, to a receiver that looks at nothing", "windows, to VictoriaMetrics"
WHOLE = "messages over mosquitto, to a receiver that looks at nothing"


class Row(BaseModel):
    """What so many replicas wrote, in some rounds."""

    what: str
    replicas: int
    devices: int
    """Of each replica where it is given windows; of all where devices share them over a broker."""
    samples: int
    """In all rounds."""
    per_second: float
    """Of all replicas together, in the middle one of the rounds."""
    cpu_seconds_per_million: float
    """For how long a core works for a replica that writes a million samples; the middle one of the rounds."""
    bytes_per_sample: float
    """On the way to the target, compressed; the middle one of the rounds."""
    resident_bytes: int | None = None
    """Of a replica, at most; None where the process is the bench's own."""
    lost: int | None = None
    """Of the samples taken, those that a query did not find; None where nothing can be asked."""


class Results(BaseModel):
    """All of it."""

    window_bytes: int
    """Of a window as a device sends it."""
    rows: list[Row]

    def whole(self, devices: int) -> Row:
        """The row of one whole replica that hears so many devices."""
        return next(row for row in self.rows if (row.what, row.replicas, row.devices) == (WHOLE, 1, devices))


def table(results: Results) -> str:
    """As Markdown."""
    head = (
        *("what is written", "replicas", "devices", "samples", "a second", "CPU seconds a million", "bytes a sample"),
        *("MB resident, each", "lost"),
    )
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for row in results.rows:
        cells = (
            row.what,
            str(row.replicas),
            f"{row.devices:,}",
            f"{row.samples:,}",
            f"**{row.per_second:,.0f}**",
            f"{row.cpu_seconds_per_million:.1f}",
            f"{row.bytes_per_sample:.1f}",
            "-" if row.resident_bytes is None else f"{row.resident_bytes / 1e6:,.0f}",
            "-" if row.lost is None else str(row.lost),
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"
