"""Frames on a byte stream: a little-endian u32 length, then one msgpack message of that many bytes.

The worker's end reads and writes whole frames; the server's end takes bytes as they come.
Both share `encode` and the decoders, so neither can drift from the other.
"""

from __future__ import annotations

import os
import struct
from typing import Final, TypeVar

import msgspec

from server.errors import EngineError
from server.ipc.messages import FromEngine, ToEngine

MAX_FRAME_BYTES: Final = 256 * 1024 * 1024
"""No message comes near this: it is the size of 16,384 embedding vectors of 4,096 floats."""

TO_ENGINE: Final[msgspec.msgpack.Decoder[ToEngine]] = msgspec.msgpack.Decoder(ToEngine)
"""Decoder of what a worker reads."""

FROM_ENGINE: Final[msgspec.msgpack.Decoder[FromEngine]] = msgspec.msgpack.Decoder(FromEngine)
"""Decoder of what the server reads."""

_HEADER: Final = struct.Struct("<I")
_ENCODER: Final = msgspec.msgpack.Encoder()

T = TypeVar("T")


class BrokenFrame(EngineError):
    """Bytes that are no frame: a length out of bounds, an end in the middle, or an unknown message."""


def encode(message: ToEngine | FromEngine) -> bytes:
    """One message as a whole frame. Raises `BrokenFrame` when it is longer than `MAX_FRAME_BYTES`."""
    frame = bytearray(_HEADER.size)
    _ENCODER.encode_into(message, frame, _HEADER.size)
    _HEADER.pack_into(frame, 0, _checked_length(len(frame) - _HEADER.size))
    return bytes(frame)


def decode(payload: bytes, decoder: msgspec.msgpack.Decoder[T]) -> T:
    """The message in one frame's payload. Raises `BrokenFrame` when it is none that the decoder knows."""
    try:
        return decoder.decode(payload)
    except msgspec.DecodeError as error:
        raise BrokenFrame(f"a message between server and engine cannot be read: {error}") from error


class FrameDecoder:
    """Cuts a byte stream that arrives in any pieces into payloads."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[bytes]:
        """The payloads that `data` completes, in order. Raises `BrokenFrame` for a length out of bounds."""
        if not self._buffer:  # as nearly always: whole frames in one piece
            payloads, n_used = _payloads(data)
            if n_used < len(data):
                self._buffer += data[n_used:]
            return payloads
        self._buffer += data
        payloads, n_used = _payloads(self._buffer)
        del self._buffer[:n_used]
        return payloads

    def finish(self) -> None:
        """The stream has ended. Raises `BrokenFrame` when it ended in the middle of a frame."""
        if self._buffer:
            raise _ended_early()


def read_frame(fd: int) -> bytes | None:
    """The next payload from a blocking descriptor, or None at the end of the stream. Raises `BrokenFrame`."""
    header = _read_exactly(fd, _HEADER.size)
    if not header:
        return None
    if len(header) == _HEADER.size:
        n_bytes = _checked_length(_HEADER.unpack(header)[0])
        payload = _read_exactly(fd, n_bytes)
        if len(payload) == n_bytes:
            return payload
    raise _ended_early()


def write_frame(fd: int, message: ToEngine | FromEngine) -> None:
    """Write one message to a blocking descriptor. Raises `BrokenFrame`, and `OSError` when nobody reads."""
    write_bytes(fd, encode(message))


def write_bytes(fd: int, data: bytes) -> None:
    """Write encoded frames to a blocking descriptor. Raises `OSError` when nobody reads."""
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def _payloads(data: bytes | bytearray) -> tuple[list[bytes], int]:
    """The payloads of the whole frames that `data` begins with, and the bytes that they take."""
    payloads: list[bytes] = []
    start = 0
    while len(data) - start >= _HEADER.size:
        end = start + _HEADER.size + _checked_length(_HEADER.unpack_from(data, start)[0])
        if len(data) < end:
            break
        payloads.append(bytes(data[start + _HEADER.size : end]))
        start = end
    return payloads, start


def _read_exactly(fd: int, n_bytes: int) -> bytes:
    """`n_bytes` bytes, fewer only when the stream ends before."""
    parts: list[bytes] = []
    missing = n_bytes
    while missing:
        part = os.read(fd, min(missing, 1 << 20))
        if not part:
            break
        parts.append(part)
        missing -= len(part)
    return b"".join(parts)


def _checked_length(n_bytes: int) -> int:
    if n_bytes > MAX_FRAME_BYTES:
        raise BrokenFrame(f"a frame of {n_bytes} bytes is longer than the bound of {MAX_FRAME_BYTES} bytes")
    return n_bytes


def _ended_early() -> BrokenFrame:
    return BrokenFrame("the stream between server and engine ended in the middle of a frame")
