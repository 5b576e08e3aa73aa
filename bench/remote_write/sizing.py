"""What a million devices would ask for, reckoned from what was measured of a hundred thousand."""

from __future__ import annotations

import math
from collections.abc import Callable

from bench.remote_write.results import FEW, MANY, Results
from bench.windows import health, window
from driftprint.messages import encode
from driftprint_server.records import FleetMessage, kept
from driftprint_server.remote_write.samples import Sample, Sampler
from driftprint_server.sinks import Accepted

DEVICES = 1_000_000
INTERVALS = (10, 60)
"""Seconds between two windows, and two reports of health, of a device."""
BUSY = 0.5
"""Of a replica's core; the rest is for catching up after an outage."""
DISK_BYTES = (0.4, 1.3)
"""Of a sample, as others have found."""
_DAY_SECONDS = 86_400


def sizing(results: Results) -> str:
    """As Markdown: a line for each thing that is needed, by the interval, and what it is reckoned from."""
    few, many = results.whole(FEW), results.whole(MANY)
    assert few.resident_bytes is not None
    assert many.resident_bytes is not None
    of_window, of_health = _samples(kept(window("bench", 1, recorded_at=0.0))), _samples(kept(health("bench", 1)))
    samples = len(of_window) + len(of_health)
    series = len({(spec.name, labels) for spec, labels, _, _ in of_window + of_health}) + 1  # DEVICE_INFO, of its state
    health_bytes = len(encode(health("bench", 12_345)))
    message_seconds = many.cpu_seconds_per_million / 1e6 * len(of_window)
    device_bytes = (many.resident_bytes - few.resident_bytes) / (MANY - FEW)
    resident = many.resident_bytes + device_bytes * (DEVICES - MANY)

    def line(what: str, value: Callable[[float], str], by: str = "") -> str:
        """A row of the table; `value` is given how often a second all devices report."""
        return f"| {what} | {' | '.join(value(DEVICES / interval) for interval in INTERVALS)} | {by} |"

    def traffic(per_second: float) -> str:
        return f"{_two(per_second / 1e6)} MB/s, {_two(8 * per_second / 1e9)} Gbit/s"

    lines = [
        "| | every 10 s (the default) | every 60 s (`report_seconds`, `health_seconds`) | by |",
        "|---|---|---|---|",
        line("connections", lambda _: f"{DEVICES:,}"),
        line("messages a second, to the broker", lambda rate: _two(2 * rate), "2 a device and interval"),
        line("and again to the replicas", lambda rate: _two(2 * rate), "shared: each to one"),
        line("acknowledgements a second, at most", _two, "one a window; those of one device are gathered"),
        line(
            "bandwidth, to the broker and again from it",
            lambda rate: traffic(rate * (results.window_bytes + health_bytes)),
            f"a window of {results.window_bytes / 1e3:.1f} kB and a health report of {health_bytes / 1e3:.1f} kB "
            "a device and interval",
        ),
        line("active series", lambda _: f"{series * DEVICES / 1e6:.0f} million", f"{series} a device"),
        line(
            "samples a second",
            lambda rate: f"{_two(samples * rate / 1e6)} million",
            f"{samples} a device and interval: {len(of_window)} of a window, {len(of_health)} of its health",
        ),
        line(
            "remote write, to the database",
            lambda rate: traffic(rate * samples * many.bytes_per_sample),
            f"{many.bytes_per_sample:.1f} bytes a sample",
        ),
        line(
            "replicas, a core each",
            lambda rate: f"{math.ceil(2 * rate * message_seconds / BUSY):,}",
            f"{1e6 * message_seconds:.0f} µs a message: {len(of_window)} samples at "
            f"{many.cpu_seconds_per_million:.1f} s a million; a core that is busy for {BUSY:.0%}",
        ),
        line(
            "memory of each",
            lambda _: f"{_two(resident / 1e9)} GB",
            f"{device_bytes / 1e3:.1f} kB a device ({few.resident_bytes / 1e6:.0f} MB with {FEW:,} devices, "
            f"{many.resident_bytes / 1e6:.0f} MB with {MANY:,}): each replica hears all of them",
        ),
        line(
            "disk a day",
            lambda rate: " to ".join(_two(size * samples * rate * _DAY_SECONDS / 1e9) for size in DISK_BYTES) + " GB",
            "{} to {} bytes a sample".format(*DISK_BYTES),
        ),
    ]
    return "\n".join(lines) + "\n"


def _samples(message: FleetMessage) -> list[Sample]:
    return Sampler(max_classes=20).samples(Accepted(message, 0.0), 0, 0.0)


def _two(number: float) -> str:
    """With two significant digits."""
    digits = 1 - math.floor(math.log10(number))
    return f"{round(number, digits):,.{max(digits, 0)}f}"
