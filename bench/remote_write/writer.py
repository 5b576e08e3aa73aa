"""Run as a script: writes windows as a replica does, for some rounds, and says of each how many samples were taken.

``python -m bench.remote_write.writer URL SITE DEVICES ROUNDS SECONDS``. It writes of each device once, so that no
series is new later, says that it is ready, and begins at a line on its input.
"""

from __future__ import annotations

import json
import sys
import threading
import time

from msgspec.structs import replace

from bench.windows import window
from driftprint.clock import SystemClock
from driftprint_server.records import WindowRecord, of_window
from driftprint_server.remote_write.settings import RemoteWriteSettings
from driftprint_server.remote_write.sink import make_sinks
from driftprint_server.sinks import Accepted

BATCH = 1000
PAST_SECONDS = 3000.0


def windows(site: str, devices: int) -> list[WindowRecord]:
    """One window of each device."""
    return [of_window(window(site, number, recorded_at=0.0)) for number in range(devices)]


def main(url: str, site: str, devices: int, rounds: int, seconds: float) -> None:
    (sink,), counts = make_sinks(
        [RemoteWriteSettings(url=url)], clock=SystemClock(), wait=threading.Event().wait, max_classes=20
    )
    (of_target,) = counts.values()
    fleet = windows(site, devices)
    first = time.time() - PAST_SECONDS
    seq = 0

    def write() -> None:
        nonlocal seq
        at = first + seq
        for start in range(0, devices, BATCH):
            batch = fleet[start : start + BATCH]
            sink.write([Accepted(replace(window, seq=seq, recorded_at=at), at) for window in batch])
        seq += 1

    write()
    print(json.dumps({"ready": of_target.samples}), flush=True)
    sys.stdin.readline()
    said = []
    for _ in range(rounds):
        begin, began, before, size = time.monotonic(), time.process_time(), of_target.samples, of_target.bytes_taken
        while time.monotonic() - begin < seconds:
            write()
        said.append(
            {
                "samples": of_target.samples - before,
                "bytes": of_target.bytes_taken - size,
                "seconds": time.monotonic() - begin,
                "busy_seconds": time.process_time() - began,
            }
        )
    print(json.dumps(said))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), float(sys.argv[5]))
