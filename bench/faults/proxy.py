"""A slow network: a TCP proxy that passes little at a time, and late."""

from __future__ import annotations

import asyncio
import threading

CHUNK_BYTES = 512
DELAY_SECONDS = 0.03
"""Before each chunk, either way."""


class SlowProxy:
    """Passes connections on to a port, slowly. It runs until `close`.

    Args:
        to_port: on the loopback interface.
    """

    def __init__(self, to_port: int) -> None:
        self._to_port = to_port
        self._loop = asyncio.new_event_loop()
        ready = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(ready,), daemon=True)
        self._thread.start()
        ready.wait(10)

    def close(self) -> None:
        """End it, and all its connections."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)

    def _run(self, ready: threading.Event) -> None:
        async def listen() -> None:
            server = await asyncio.start_server(self._connection, "127.0.0.1", 0)
            self.port = int(server.sockets[0].getsockname()[1])
            ready.set()

        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(listen())
        self._loop.run_forever()

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            other_reader, other_writer = await asyncio.open_connection("127.0.0.1", self._to_port)
        except OSError:
            writer.close()
            return
        await asyncio.gather(_pass(reader, other_writer), _pass(other_reader, writer))


async def _pass(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while chunk := await reader.read(CHUNK_BYTES):
            await asyncio.sleep(DELAY_SECONDS)
            writer.write(chunk)
            await writer.drain()
    except OSError:
        pass
    finally:
        writer.close()
