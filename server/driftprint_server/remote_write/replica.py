"""Puts a replica together: shared link -> inbox -> worker -> remote write, and its own metrics beside it.

It knows no fleet and has no store, so there may be as many as there is work for, and any may be killed. What needs
users, or a store, it refuses to begin.
"""

from __future__ import annotations

import threading

from driftprint.clock import Clock
from driftprint.errors import ConfigError
from driftprint_server.access.tls import make_tls
from driftprint_server.caps import RateLimiter
from driftprint_server.config import ServerSettings
from driftprint_server.counts import Counts
from driftprint_server.daemon import Daemon
from driftprint_server.enrolment.settings import Mode
from driftprint_server.inbox import Inbox
from driftprint_server.keepers import Relay
from driftprint_server.link import Link
from driftprint_server.metrics import ServerCollector, exposition
from driftprint_server.remote_write.admission import Admission
from driftprint_server.remote_write.counts import WriteCollector
from driftprint_server.remote_write.sink import make_sinks
from driftprint_server.remote_write.web import make_replica_app
from driftprint_server.worker import Worker


class Replica:
    """One of several that share the work.

    Args:
        settings: server.toml, with `mqtt.share`.
        clock: dates everything.

    Raises:
        ConfigError: where a certificate cannot be used, or where something is asked for that a replica cannot do.
    """

    def __init__(self, settings: ServerSettings, *, clock: Clock) -> None:
        _check(settings)
        self._settings = settings
        ending = threading.Event()
        inbox = Inbox()
        counts = Counts()
        max_classes = settings.fleet.max_classes
        admission = Admission(
            settings.enrolment,
            settings.caps,
            max_devices=settings.fleet.max_devices,
            max_classes=max_classes,
            clock=clock,
        )
        self._link = Link(
            settings.mqtt,
            client_id=settings.mqtt.client_id,
            inbox=inbox,
            counts=counts,
            clock=clock,
            share=settings.mqtt.share,
            admits=RateLimiter(settings.caps, known=admission.knows).admits,
        )
        self._sinks, write_counts = make_sinks(
            settings.remote_write, clock=clock, wait=ending.wait, max_classes=max_classes
        )
        keeper = Relay(self._sinks, admit=admission.check)
        worker = Worker(inbox, keeper=keeper, publish=self._link.publish, counts=counts, clock=clock)
        of_server = ServerCollector(counts=counts, connected=lambda: self._link.connected, queue_length=inbox.qsize)
        app = make_replica_app(
            metrics=lambda: exposition((), of_server, WriteCollector(write_counts)), problems=self.problems
        )
        self._daemon = Daemon(
            link=self._link,
            worker=worker,
            app=app,
            http=settings.http,
            tls=make_tls(settings.http.cert_file, settings.http.key_file),
            ending=ending,
        )

    def run(self, stop: threading.Event) -> None:
        """Work until `stop` is set; what is being written by then is written to its end.

        Raises:
            ConfigError: where the HTTP address cannot be listened on.
            RuntimeError: where a part ended that must not.
        """
        self._daemon.run(stop)
        self.close()

    def close(self) -> None:
        """Close the connections. `run` does so itself."""
        for sink in self._sinks:
            sink.close()

    def problems(self) -> list[str]:
        """What keeps the replica from its work."""
        problems = []
        if not self._link.connected:
            problems.append(f"not connected to the broker at {self._settings.broker}")
        problems += [sink.problem for sink in self._sinks if sink.problem is not None]
        return problems


def _check(settings: ServerSettings) -> None:
    """See to it that nothing is asked for that would then silently not be done."""
    for where, asked, fix in (
        ("enrolment.mode", settings.enrolment.mode is Mode.APPROVE, 'use mode = "list"'),
        ("access.metrics", settings.access.metrics == "login", "put a proxy with a login before it"),
        ("rollout.bundles", settings.rollout.bundles is not None, "let a server without mqtt.share roll bundles out"),
        ("webhook", bool(settings.webhook), "let a server without mqtt.share call them"),
    ):
        if asked:
            raise ConfigError("a replica keeps nothing, so it cannot do this", where=where, fix=fix)
