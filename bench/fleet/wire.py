"""The little of MQTT 3.1.1 that a publisher of very many messages needs: a real client would be the bottleneck.

Source: https://docs.oasis-open.org/mqtt/mqtt/v3.1.1/, section 3.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator

_CONNECT, _PUBLISH, _SUBSCRIBE = 0x10, 0x30, 0x82
_AT_LEAST_ONCE = 0x02
_CHUNK = 1 << 18


class Wire:
    """A connection with a clean session.

    Args:
        port: of a broker on this machine.
        client_id: this client's name.
    """

    def __init__(self, port: int, client_id: str) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._buffer = bytearray()
        # Protocol name and level, clean session, no keep-alive (3.1.2).
        self.send(_packet(_CONNECT, _text("MQTT") + bytes([4, 2, 0, 0]) + _text(client_id)))

    def subscribe(self, pattern: str) -> None:
        """Subscribe at QoS 0 (3.8)."""
        self.send(_packet(_SUBSCRIBE, b"\x00\x01" + _text(pattern) + b"\x00"))

    def send(self, packets: bytes) -> None:
        """Send packets, as many as are given."""
        self._socket.sendall(packets)

    def packets(self) -> Iterator[tuple[int, bytes]]:
        """What comes, until the connection ends: the first byte of each packet, and what follows its length (2.2)."""
        while chunk := self._socket.recv(_CHUNK):
            self._buffer += chunk
            begin = 0
            while (found := self._packet_at(begin)) is not None:
                kind, body, begin = found
                yield kind, body
            del self._buffer[:begin]

    def _packet_at(self, begin: int) -> tuple[int, bytes, int] | None:
        length, shift, at = 0, 0, begin + 1
        while True:
            if at >= len(self._buffer):
                return None
            length |= (self._buffer[at] & 0x7F) << shift
            at, shift, more = at + 1, shift + 7, self._buffer[at] & 0x80
            if not more:
                break
        if at + length > len(self._buffer):
            return None
        return self._buffer[begin], bytes(self._buffer[at : at + length]), at + length


def publish(topic: str, payload: bytes, number: int) -> bytes:
    """A message at QoS 1, with its packet identifier from 1 to 65535 (3.3)."""
    return _packet(_PUBLISH | _AT_LEAST_ONCE, _text(topic) + number.to_bytes(2, "big") + payload)


def published(kind: int, body: bytes) -> bytes | None:
    """The payload of a message at QoS 0; None for another packet."""
    return body[2 + int.from_bytes(body[:2], "big") :] if kind & 0xF0 == _PUBLISH else None


def _packet(kind: int, body: bytes) -> bytes:
    length, rest = bytearray(), len(body)
    while rest > 0x7F:
        length.append(rest & 0x7F | 0x80)
        rest >>= 7
    return bytes([kind, *length, rest]) + body


def _text(text: str) -> bytes:
    encoded = text.encode()
    return len(encoded).to_bytes(2, "big") + encoded
