"""What the agent tells systemd: that it is ready, that it stops, and, while it does its work, that it lives.

The protocol is that of sd_notify(3): datagrams to the Unix socket that ``NOTIFY_SOCKET`` names.
"""

from __future__ import annotations

import socket
from collections.abc import Mapping

import structlog

from driftprint.clock import Clock
from driftprint_edge.progress import Progress


class Supervisor:
    """Whoever started the agent. One that gives no socket is told nothing.

    The watchdog is fed only while every part moves: then a restart can help, and systemd is left to do it.

    Args:
        environment: has ``NOTIFY_SOCKET`` and ``WATCHDOG_USEC``, if the supervisor wants to be told.
        progress: says whether all parts move.
        clock: paces the watchdog's food.
    """

    def __init__(self, environment: Mapping[str, str], *, progress: Progress, clock: Clock) -> None:
        address = environment.get("NOTIFY_SOCKET", "")
        self._address = f"\0{address[1:]}" if address.startswith("@") else address
        self._watchdog_seconds = int(environment.get("WATCHDOG_USEC", "0")) / 1e6
        self._progress = progress
        self._clock = clock
        self._next_food = float("-inf")
        self._stalled: tuple[str, ...] = ()

    def ready(self) -> None:
        """The agent has started, or has reloaded its settings."""
        self._say("READY=1")

    def reloading(self) -> None:
        """The agent reloads its settings."""
        self._say(f"RELOADING=1\nMONOTONIC_USEC={int(self._clock.now().monotonic * 1e6)}")

    def stopping(self) -> None:
        """The agent stops."""
        self._say("STOPPING=1")

    def tick(self) -> None:
        """Feed the watchdog when it is time, unless a part stands still. Called several times a second."""
        if not self._watchdog_seconds or self._clock.now().monotonic < self._next_food:
            return
        stalled = self._progress.stalled()
        if stalled and not self._stalled:
            structlog.get_logger().error("the watchdog is not fed", stalled=list(stalled))
        self._stalled = stalled
        if stalled:
            self._say(f"STATUS=standing still: {', '.join(stalled)}")
        else:
            self._say("WATCHDOG=1\nSTATUS=watching")
        self._next_food = self._clock.now().monotonic + self._watchdog_seconds / 4

    def _say(self, message: str) -> None:
        if not self._address:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as line:
                line.connect(self._address)
                line.sendall(message.encode())
        except OSError as error:  # a supervisor that does not listen must not end the watch
            structlog.get_logger().warning("the supervisor cannot be told", what=str(error))
