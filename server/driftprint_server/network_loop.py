"""The network traffic of an MQTT client with very many messages."""

from __future__ import annotations

import selectors
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from random import Random

import paho.mqtt.client as paho
import structlog
from paho.mqtt.enums import MQTTErrorCode

from driftprint.logs import is_news

_PACKETS_AT_ONCE = 256
_TIMEOUT_SECONDS = 1.0  # for the client's own pings
_STOP_SECONDS = 2.0  # a broker that does not read gets no goodbye
_FIRST_RETRY_SECONDS = 1.0
_LONGEST_RETRY_SECONDS = 30.0


class NetworkLoop:
    """A thread that keeps a client connected, reads what it receives, and sends what it is to send.

    It reads all that has arrived before it waits again. paho's own thread waits anew before each packet, and is woken
    for each one to be sent, which takes as long again as all the rest (`python -m bench.fleet`).

    Args:
        client: with its callbacks set, and told by `connect_async` where to connect to. They are called in the thread.
        received: how many messages the client has received, by its callbacks' count.
        on_fault: told in the thread of what nobody foresaw: that a callback raised, or the client. The connection is
            then made anew. If this raises as well, the thread ends.
        random: scatters the attempts at a broker that is away.
    """

    def __init__(
        self,
        client: paho.Client,
        *,
        received: Callable[[], int],
        on_fault: Callable[[Exception], None],
        random: Random | None = None,
    ) -> None:
        self._client = client
        self._received = received
        self._on_fault = on_fault
        self._random = random or Random()
        self._stop = threading.Event()
        self._serving = False
        self._woken = False
        self._wake_receiver, self._wake_sender = socket.socketpair()
        self._thread = threading.Thread(target=self._run, name="mqtt", daemon=True)
        client.on_socket_register_write = _nothing  # so that `publish` leaves the sending to us

    @property
    def serving(self) -> bool:
        """Whether there is a connection whose traffic is seen to."""
        return self._serving

    @property
    def ended(self) -> bool:
        """Whether it was started and does nothing any more."""
        return self._thread.ident is not None and not self._thread.is_alive()

    def start(self) -> None:
        """Connect, in the background; a broker that is away is tried again for ever."""
        self._thread.start()

    def wake(self) -> None:
        """There is something to be sent. From any thread."""
        if not self._woken:
            self._woken = True
            self._wake_sender.send(b"\0")

    def stop(self) -> None:
        """Disconnect, and end the thread."""
        self._stop.set()
        self.wake()
        if self._thread.ident is not None:
            self._thread.join(_STOP_SECONDS)

    def _run(self) -> None:
        failures = 0
        while not self._stop.is_set():
            before = self._received()
            try:
                if self._connect(failures + 1):
                    self._serve()
            except Exception as fault:  # it may end a connection, and never the thread
                self._hang_up()
                self._on_fault(fault)
            failures = 0 if self._received() > before else failures + 1
            longest = min(_LONGEST_RETRY_SECONDS, _FIRST_RETRY_SECONDS * 2 ** min(failures, 10))
            self._stop.wait(longest * self._random.uniform(0.5, 1))

    def _connect(self, attempt: int) -> bool:
        try:
            self._client.reconnect()
        except (OSError, ValueError) as error:  # the latter where TLS cannot check the host's name
            if is_news(attempt):
                structlog.get_logger().warning("cannot connect", what=str(error), attempts=attempt)
            return False
        return True

    def _hang_up(self) -> None:
        """After a fault, when all that the client is relied on for is that `reconnect` begins anew."""
        with suppress(Exception):  # a callback may raise again
            self._client.disconnect()
            self._client.loop_write()
        connection = self._client.socket()
        if connection is not None:
            connection.close()

    def _serve(self) -> None:
        """Until the connection ends."""
        connection = self._client.socket()
        if connection is None:
            return
        self._serving = True
        try:
            self._see_to(connection)
        finally:
            self._serving = False

    def _see_to(self, connection: paho.SocketLike) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(self._wake_receiver, selectors.EVENT_READ)
            selector.register(connection, selectors.EVENT_READ)
            while self._client.socket() is connection:
                if self._stop.is_set() and not self._client.want_write():
                    self._client.disconnect()
                writing = selectors.EVENT_WRITE if self._client.want_write() else 0
                selector.modify(connection, selectors.EVENT_READ | writing)
                for key, _ in selector.select(0 if _pending(connection) else _TIMEOUT_SECONDS):
                    if key.fileobj is self._wake_receiver:
                        self._wake_receiver.recv(64)
                        self._woken = False
                self._read()
                if self._client.want_write():
                    self._client.loop_write()
                self._client.loop_misc()

    def _read(self) -> None:
        for _ in range(_PACKETS_AT_ONCE):
            before = self._received()
            if self._client.loop_read() is not MQTTErrorCode.MQTT_ERR_SUCCESS or self._received() == before:
                return


def _pending(connection: paho.SocketLike) -> int:
    """Bytes that have arrived and that no selector sees: TLS has them decrypted already."""
    pending: Callable[[], int] | None = getattr(connection, "pending", None)
    return pending() if pending is not None else 0


def _nothing(*_: object) -> None: ...
