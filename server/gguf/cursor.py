"""Bounded reads through a binary file, for headers whose lengths cannot be trusted."""

from __future__ import annotations

import struct
from typing import Any, BinaryIO

from server.errors import BadModelFile

MAX_STRING_BYTES = 1 << 24
# All strings outside arrays together; a chat template is the longest, some tens of kilobytes.
MAX_TEXT_BYTES = 1 << 26
# Strings in all arrays together; the largest vocabularies and their merges are about a million.
MAX_ARRAY_STRINGS = 1 << 22

WINDOW_BYTES = 1 << 18
_LENGTH = struct.Struct("<Q")


class Cursor:
    """A position in a file of known size.

    Reads go through a window of a quarter of a megabyte; nothing is mapped, for a file that is cut short
    while it is mapped kills the process that reads it. What one cursor hands out as texts, and how many
    strings it passes over, is bounded.

    Every method raises BadModelFile when the file ends too early.
    """

    def __init__(self, name: str, file: BinaryIO, size: int) -> None:
        """`name` is for error texts; `size` is the file's, in bytes."""
        self._name = name
        self._file = file
        self._window = b""
        self._window_start = 0
        self._text_bytes_left = MAX_TEXT_BYTES
        self._strings_left = MAX_ARRAY_STRINGS
        self.size = size
        self.position = 0

    def bad(self, reason: str) -> BadModelFile:
        """An error that names the file."""
        return BadModelFile(f"model file {self._name} is not usable: {reason}")

    def seek(self, position: int) -> None:
        """Go to an absolute position."""
        if position > self.size:
            raise self.bad("it is truncated")
        self.position = position

    def skip(self, n_bytes: int) -> None:
        """Go forward."""
        self.seek(self.position + n_bytes)

    def take(self, n_bytes: int) -> bytes:
        """The next bytes."""
        start = self._pass(n_bytes)
        return self._window[start : start + n_bytes]

    def unpack(self, layout: str) -> tuple[Any, ...]:
        """The next little-endian numbers, by `struct`'s codes."""
        layout = f"<{layout}"
        start = self._pass(struct.calcsize(layout))
        return struct.unpack_from(layout, self._window, start)

    def text(self) -> str:
        """A string; bytes that are not UTF-8 become U+FFFD.

        Raises: BadModelFile for a string of more than 16 MiB, or when all together are more than 64 MiB.
        """
        (length,) = self.unpack("Q")
        self._check_length(length)
        self._text_bytes_left -= length
        if self._text_bytes_left < 0:
            raise self.bad("its texts are too long")
        return self.take(length).decode("utf-8", "replace")

    def skip_texts(self, count: int) -> None:
        """Go forward over strings.

        A vocabulary has some hundred thousand: the loop looks at lengths only and stays inside one window as
        long as it can.
        """
        self._strings_left -= count
        if self._strings_left < 0:
            raise self.bad(f"it has more than {MAX_ARRAY_STRINGS} strings")
        length_at = _LENGTH.unpack_from
        while count > 0:
            offset = self._require(min(_LENGTH.size, self.size - self.position))
            window, end = self._window, len(self._window) - _LENGTH.size
            if offset > end:
                raise self.bad("it is truncated")
            first = offset
            while count > 0 and offset <= end:
                (length,) = length_at(window, offset)
                if length > MAX_STRING_BYTES:
                    self._check_length(length)
                offset += 8 + length
                count -= 1
            self.skip(offset - first)

    def check_count(self, what: str, count: int, least_bytes: int, limit: int) -> None:
        """Refuse a number of things that the rest of the file cannot hold, each of at least so many bytes."""
        if count > limit:
            raise self.bad(f"it claims {count} {what}, more than {limit}")
        if count * least_bytes > self.size - self.position:
            raise self.bad(f"it is truncated: it claims {count} {what}")

    def _check_length(self, length: int) -> None:
        for limit in ((1 << 63) - 1, MAX_STRING_BYTES):
            if length > limit:
                raise BadModelFile(f"GGUF string length {length} exceeds maximum {limit}")

    def _pass(self, n_bytes: int) -> int:
        """Go behind the next bytes; returns where in the window they begin."""
        if n_bytes > self.size - self.position:
            raise self.bad("it is truncated")
        start = self._require(n_bytes)
        self.position += n_bytes
        return start

    def _require(self, n_bytes: int) -> int:
        """Have the next bytes in the window; returns where in it they begin."""
        start = self.position - self._window_start
        if start < 0 or start + n_bytes > len(self._window):
            self._file.seek(self.position)
            self._window = self._file.read(max(n_bytes, WINDOW_BYTES))
            self._window_start = self.position
            start = 0
            if len(self._window) < n_bytes:
                raise self.bad("it is truncated")
        return start
