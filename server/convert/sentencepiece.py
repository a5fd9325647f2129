"""The vocabulary of a SentencePiece model, `tokenizer.model`.

The file is a protocol buffer: field 1, repeated, is a piece with 1 text, 2 score (32-bit float) and 3 type.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple

from server.errors import BadModelFile

MAX_PIECES = 1 << 21


class Piece(NamedTuple):
    """`kind`: 1 normal, 2 unknown, 3 control, 4 user-defined, 5 unused, 6 byte; llama.cpp counts alike."""

    text: str
    score: float
    kind: int


def read_pieces(raw: bytes) -> list[Piece]:
    """All pieces in their order. Raises: BadModelFile."""
    try:
        found = [_piece(value) for number, value in _fields(raw) if number == 1 and isinstance(value, bytes)]
    except (ValueError, IndexError, struct.error) as error:
        raise BadModelFile("tokenizer.model is no SentencePiece model") from error
    if not 0 < len(found) <= MAX_PIECES:
        raise BadModelFile("tokenizer.model is no SentencePiece model")
    return found


def _piece(raw: bytes) -> Piece:
    text, score, kind = "", 0.0, 1
    for number, value in _fields(raw):
        if number == 1 and isinstance(value, bytes):
            text = value.decode("utf-8", "replace")
        elif number == 2 and isinstance(value, float):
            score = value
        elif number == 3 and isinstance(value, int):
            kind = value
    return Piece(text, score, kind)


def _fields(raw: bytes) -> Iterator[tuple[int, int | float | bytes]]:
    position = 0
    while position < len(raw):
        tag, position = _varint(raw, position)
        number, wire = tag >> 3, tag & 7
        if wire == 0:
            value, position = _varint(raw, position)
            yield number, value
        elif wire == 5:
            yield number, struct.unpack_from("<f", raw, position)[0]
            position += 4
        elif wire == 1:
            yield number, struct.unpack_from("<d", raw, position)[0]
            position += 8
        elif wire == 2:
            length, position = _varint(raw, position)
            if length > len(raw) - position:
                raise ValueError("truncated")
            yield number, raw[position : position + length]
            position += length
        else:
            raise ValueError("unknown wire type")


def _varint(raw: bytes, position: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = raw[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if not byte & 0x80:
            return value, position
        shift += 7
        if shift > 63:
            raise ValueError("number too long")
