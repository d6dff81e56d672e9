"""Messages over pipes and sockets: four bytes of length, big-endian, then JSON. No pickle, and a size limit."""

from __future__ import annotations

import json
import struct
from typing import Any

# Bytes of one message; a child that sends more is not telling the truth. The largest true one is a result of 256 KiB,
# each byte of which may need a backslash.
LARGEST = 1024 * 1024
HEADER = struct.Struct(">I")


class BadFrame(ValueError):
    """What came is not a message: the sender is broken or hostile, and nothing after it can be trusted."""


def pack(message: dict[str, Any]) -> bytes:
    """Return a message as bytes."""
    body = json.dumps(message, ensure_ascii=False).encode("utf-8", "surrogatepass")
    return HEADER.pack(len(body)) + body


class Unpacker:
    """Collects bytes and gives back whole messages."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[dict[str, Any]]:
        """Return the messages that `data` completes. Raises BadFrame."""
        self._buffer += data
        messages = []
        while len(self._buffer) >= HEADER.size:
            (size,) = HEADER.unpack_from(self._buffer)
            if size > LARGEST:
                raise BadFrame(f"a message of {size} bytes")
            if len(self._buffer) < HEADER.size + size:
                break
            messages.append(_decode(bytes(self._buffer[HEADER.size : HEADER.size + size])))
            del self._buffer[: HEADER.size + size]
        return messages


def _decode(body: bytes) -> dict[str, Any]:
    try:
        message = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise BadFrame("not JSON") from error
    if not isinstance(message, dict):
        raise BadFrame("not an object")
    return message
